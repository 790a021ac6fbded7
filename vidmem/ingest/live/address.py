"""What a person types to name a stream: taken apart, and written without its secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, quote, urlsplit

from vidmem.errors import BadInput
from vidmem.ingest.probe import check_path

Kind = Literal["rtsp", "rtmp", "http", "camera", "file", "pushed"]

_KINDS: dict[str, Kind] = {
    "rtsp": "rtsp", "rtsps": "rtsp", "rtmp": "rtmp", "rtmps": "rtmp", "http": "http", "https": "http",
}  # fmt: skip
_KNOWN = "rtsp://, rtsps://, rtmp://, rtmps://, http://, https://, webcam:0, or a file"
_PLAIN_KEYS = frozenset({"camera", "channel", "profile", "proto", "stream", "subtype", "unicast"})
"""Whatever else stands in a query may be a key, a token or a password."""
_SECRET_IN_PATH = re.compile(r"(?i)((?:pass\w*|pwd|token|auth|key|user\w*)=)[^_&/;]*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a stream comes from. `url` holds the secrets; no other field does, nor does `repr`."""

    kind: Kind
    url: str = field(repr=False)
    """What FFmpeg opens; for a camera what follows `webcam:`, for a file its resolved path, for pictures that are
    handed over their name."""
    shown: str
    """To be stored and printed."""
    name: str
    """Short name to show to people."""


def parse_address(text: str, *, user: str | None = None, password: str | None = None) -> Address:
    """Take an address apart: a URL, `webcam:0`, `webcam:NAME` or the path of a file. Opens nothing.

    Args:
        user, password: take the place of those in the URL, as they are, not percent-encoded.

    Raises:
        BadInput: no such scheme, or no sense in the rest of it.
        NotFound, CorruptMedia: what `check_path` raises for a file.
    """
    scheme, separator, rest = text.partition(":")
    if scheme.lower() == "webcam" and separator:
        return _camera(rest)
    if "://" not in text:
        path = check_path(text)
        if path.is_dir():
            raise BadInput(f"{text} is a folder, and only a video file can be played as if it were live.")
        return Address("file", str(path), str(path), path.name)
    kind = _KINDS.get(scheme.lower())
    if kind is None:
        named = scheme if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) else "This"
        raise BadInput(f"{named}:// is no kind of stream that vidmem watches: give {_KNOWN}.")
    return _remote(kind, text, user, password)


def _camera(which: str) -> Address:
    if not which or re.search(r"[\0-\x1f]", which) or (not which.isdecimal() and Path(which).is_absolute()):
        raise BadInput(f"webcam:{which!r} names no camera: give webcam:0, or webcam: and the camera's name.")
    return Address("camera", which, f"webcam:{which}", f"webcam:{which}")


def _remote(kind: Kind, text: str, user: str | None, password: str | None) -> Address:
    scheme = text.partition(":")[0].lower()
    unclear = BadInput(
        f"The {scheme}:// address can't be read: it must be {scheme}://HOST[:PORT]/PATH, and in a user's name or"
        " password write @ as %40, / as %2F, : as %3A, # as %23 and ? as %3F."
    )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        # Not chained: its words may hold a piece of the password.
        raise unclear from None
    # An @ behind the host is most likely the end of a password with a bare slash in it.
    if not host or re.search(r"[\0-\x20\x7f]", text) or (kind != "http" and "@" in parts.path + parts.query):
        raise unclear
    shown_path = "/***" if "@" in parts.path else _SECRET_IN_PATH.sub(r"\1***", parts.path)
    where = f"[{host}]" if ":" in host else host
    where += f":{port}" if port is not None else ""
    return Address(
        kind,
        _with_user(parts, where, user, password),
        f"{scheme}://{where}{shown_path}{_shown_query(parts.query)}",
        f"{where}{shown_path}".rstrip("/"),
    )


def _with_user(parts: SplitResult, where: str, user: str | None, password: str | None) -> str:
    info = parts.netloc.rpartition("@")[0]
    if user is not None:
        info = quote(user, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
    return parts._replace(netloc=f"{info}@{where}" if info else where, fragment="").geturl()


def _shown_query(query: str) -> str:
    shown = []
    for part in query.split("&") if query else []:
        key, has_value, value = part.partition("=")
        shown.append("***" if not has_value else f"{key}={value if key.lower() in _PLAIN_KEYS else '***'}")
    return "?" + "&".join(shown) if shown else ""
