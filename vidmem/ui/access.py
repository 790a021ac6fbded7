"""Who may come to the page: on this machine alone, or by name and password."""

from __future__ import annotations

import hmac
import stat
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from vidmem.errors import BadInput, NotFound


@dataclass(frozen=True, slots=True)
class Access:
    """Where the page is served, and to whom."""

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    """Whether Gradio's servers lead the whole internet here."""
    passwords: dict[str, str] | None = None
    """By name; None asks nobody who they are."""

    def __post_init__(self) -> None:
        if self.passwords is None and (self.share or not _is_loopback(self.host)):
            where = "the whole internet" if self.share else f"everyone who reaches {self.host}"
            raise BadInput(f"this would open the page, and its files, to {where}: add --auth FILE with who may come in")

    def lets_in(self, name: str, password: str) -> bool:
        """Takes as long for a wrong name as for a wrong password."""
        known = (self.passwords or {}).get(name)
        is_same = hmac.compare_digest((known or "").encode(), password.encode())
        return known is not None and is_same


def read_passwords(path: Path) -> dict[str, str]:
    """Who may come in, from a file with a line `NAME:PASSWORD` for each; empty lines and those with # do not count.

    Raises:
        NotFound: there is no such file.
        BadInput: it can't be read, or by others than its owner, or says something else.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"{path} does not exist: write a line NAME:PASSWORD for each person into it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} can't be read: it should be a text file with lines NAME:PASSWORD") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise BadInput(f"{path} can be read by others, and there are passwords in it: run chmod 600 {path}")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    pairs = [line.partition(":") for line in lines]
    if not pairs or not all(name and password for name, _, password in pairs):
        raise BadInput(f"{path} should hold a line NAME:PASSWORD for each person, and at least one")
    return {name: password for name, _, password in pairs}


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
