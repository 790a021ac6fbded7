"""Fetches a video file from a web server, and from nowhere that the person who asks has no business with."""

from __future__ import annotations

import http.client
import ipaddress
import re
import shutil
import socket
import ssl
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from vidmem.errors import BadInput, SourceLost, StorageFull

_MAX_REDIRECTS = 5
_PIECE_BYTES = 1 << 18
_SECONDS = 20.0
"""Without a byte."""


def fetch(
    url: str,
    folder: Path,
    *,
    max_bytes: int,
    allow_private: bool = False,
    progress: Callable[[int, int | None], object] | None = None,
) -> Path:
    """Fetch a file by HTTP or HTTPS into a new folder within `folder`; nothing is left of one that fails.

    The connection goes to an address that was checked, so that a name can't point elsewhere the second time it is
    asked for; so does that of each redirect.

    Args:
        max_bytes: a larger file is refused, whatever its server says of its length.
        allow_private: whether the server may be on this machine or in its network.
        progress: called with the bytes so far and the bytes there are, None while unknown; what it raises ends this.

    Raises:
        BadInput: no web address, a private one, a file that is too large, or the server refuses.
        SourceLost: nothing answers, or it stops answering.
        StorageFull: the disk is full.
    """
    with ExitStack() as stack:
        response, reached = _opened(stack, url, allow_private)
        size = response.length
        if size is not None and size > max_bytes:
            raise _too_large(url, max_bytes)
        inside = Path(mkdtemp(dir=folder))
        stack.push(lambda kind, *_: shutil.rmtree(inside, ignore_errors=True) if kind else None)
        target = inside / _file_name(reached)
        try:
            _copy(response, target, url, max_bytes, size, progress)
        except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            raise SourceLost(f"{url} stopped in the middle ({_reason(error)}): try again.") from error
        except OSError as error:
            raise StorageFull(f"{url} can't be kept ({error.strerror}): make room on the disk.") from error
        return target


def _opened(stack: ExitStack, url: str, allow_private: bool) -> tuple[http.client.HTTPResponse, str]:
    """The response to a request, behind all redirects, and the address that gave it."""
    at = url
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _parts(at)
        connection = _connection(parts, address_of(parts, url, allow_private=allow_private))
        stack.callback(connection.close)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request("GET", path, headers={"User-Agent": "vidmem", "Accept": "video/*,*/*;q=0.5"})
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise SourceLost(f"{parts.hostname} does not answer ({_reason(error)}): check the address.") from error
        if response.status in (301, 302, 303, 307, 308) and (there := response.getheader("Location")):
            at = urljoin(at, there)
            continue
        if response.status != 200:
            raise BadInput(f"{url} can't be fetched: its server says {response.status} {response.reason}.")
        return response, at
    raise BadInput(f"{url} leads from one address to the next without an end: give that of the file itself.")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        parts = SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadInput(f"{url} is no web address: it should begin with https:// or http://.")
    if re.search(r"[\x00-\x20]", url.strip()):
        raise BadInput(f"{url!r} has spaces in it: write them as %20.")
    return parts


def address_of(parts: SplitResult, shown: str, *, allow_private: bool) -> tuple[Any, ...]:
    """Family and socket address of a URL's host, the first one.

    Raises:
        BadInput: one of its addresses is private. Names the URL as it is `shown`.
        SourceLost: there is no such host.
    """
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise SourceLost(f"There is no server called {parts.hostname}: check the address.") from error
    for *_, where in found:
        if not allow_private and not _is_public(str(where[0])):
            raise BadInput(
                f"{shown} is an address inside this network, which this page may not reach: start vidmem ui with"
                " --allow-private."
            )
    family, _, _, _, where = found[0]
    return family, where


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    # An IPv4 address may hide in one of IPv6.
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return ip.is_global and not ip.is_multicast and (inner is None or inner.is_global)


def _connection(parts: SplitResult, address: tuple[Any, ...]) -> http.client.HTTPConnection:
    """A connection that goes to this address, whatever the name says by then."""
    family, where = address

    def connect(*_: Any, **__: Any) -> socket.socket:
        with ExitStack() as stack:
            made = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            made.settimeout(_SECONDS)
            made.connect(where)
            stack.pop_all()
        return made

    assert parts.hostname is not None
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_SECONDS)
    connection._create_connection = connect  # type: ignore[attr-defined]
    return connection


def _copy(
    response: http.client.HTTPResponse,
    target: Path,
    url: str,
    max_bytes: int,
    size: int | None,
    progress: Callable[[int, int | None], object] | None,
) -> None:
    done = 0
    with target.open("wb") as file:
        while piece := response.read(_PIECE_BYTES):
            done += len(piece)
            if done > max_bytes:
                raise _too_large(url, max_bytes)
            file.write(piece)
            if progress is not None:
                progress(done, size)
    if size is not None and done < size:
        raise SourceLost(f"{url} ended after {done} of {size} bytes: try again.")


def _file_name(url: str) -> str:
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    return re.sub(r"[^\w.() -]", "_", name).lstrip(".")[-120:] or "video"


def _too_large(url: str, max_bytes: int) -> BadInput:
    return BadInput(f"{url} is larger than the {max_bytes / 1024**3:.1f} GB that this page may fetch.")


def _reason(error: BaseException) -> str:
    with suppress(AttributeError):
        if error.strerror:  # type: ignore[attr-defined]
            return str(error.strerror)  # type: ignore[attr-defined]
    return str(error) or type(error).__name__
