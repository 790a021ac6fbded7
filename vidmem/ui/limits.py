"""What people at the page may do: which folders they may name, how much they may upload, where files are fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vidmem.errors import BadInput


@dataclass(frozen=True, slots=True)
class Limits:
    """Set by who starts the page, not by who uses it."""

    roots: tuple[Path, ...] = field(default_factory=lambda: (Path.cwd(),))
    """Folders in which videos and stores may be named; resolved."""
    max_bytes: int = 2 * 1024**3
    """Of one upload, and of one file that is fetched."""
    allow_private: bool = False
    """Whether files may be fetched from addresses inside this network, and streams of it watched."""

    def path(self, text: str) -> Path:
        """The path that somebody names, resolved. A relative one starts from the first root.

        Raises:
            BadInput: it is empty, or outside of the roots, wherever its links lead.
        """
        text = text.strip()
        if not text or "\0" in text:
            raise BadInput("there is no path in the field: type where the file or folder lies")
        path = (self.roots[0] / Path(text)).resolve()
        if not any(path.is_relative_to(root) for root in self.roots):
            allowed = ", ".join(str(root) for root in self.roots)
            raise BadInput(f"{text} is outside of the folders that this page may use ({allowed}): start it with --root")
        return path
