"""Files from the web: fetched whole, from public addresses alone, no larger than allowed; else nothing stays."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from vidmem.errors import BadInput, SourceLost
from vidmem.ingest.fetching import fetch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "live"))
import served

BODY = bytes(range(256)) * 5000


def whole(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(BODY)))
    request.end_headers()
    request.wfile.write(BODY)


def fetched(url: str, folder: Path, **options: object) -> Path:
    return fetch(url, folder, **{"max_bytes": 10**7, "allow_private": True, **options})  # type: ignore[arg-type]


def test_a_file_comes_whole_under_its_own_name(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with served.http(whole) as port:
        path = fetched(
            f"http://127.0.0.1:{port}/videos/my%20kitchen.mp4?x=1",
            tmp_path,
            progress=lambda done, size: told.append((done, size)),
        )
    assert path.name == "my kitchen.mp4" and path.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY)) and len(told) > 1


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/a.mp4",
        "http://localhost:{port}/a.mp4",
        "http://[::ffff:127.0.0.1]:{port}/a.mp4",
        "http://0.0.0.0:{port}/a.mp4",
        "http://2130706433:{port}/a.mp4",
        "http://10.0.0.1/a.mp4",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]:{port}/a.mp4",
        "http://[fe80::1]/a.mp4",
    ],
)
def test_private_addresses_are_refused_before_anybody_is_asked(tmp_path: Path, url: str) -> None:
    asked = []
    with (
        served.http(lambda request: asked.append(request.path)) as port,
        pytest.raises(BadInput, match="--allow-private"),
    ):
        fetch(url.format(port=port), tmp_path, max_bytes=10**7)
    assert asked == [] and list(tmp_path.iterdir()) == []


def test_a_redirect_is_followed_and_checked_like_the_first_address(tmp_path: Path) -> None:
    def elsewhere(request: BaseHTTPRequestHandler) -> None:
        if request.path == "/first":
            request.send_response(302)
            request.send_header("Location", "/second/b.mp4")
            request.end_headers()
        else:
            whole(request)

    with served.http(elsewhere) as port:
        path = fetched(f"http://127.0.0.1:{port}/first", tmp_path)
        assert path.name == "b.mp4" and path.read_bytes() == BODY


def test_a_circle_of_redirects_ends(tmp_path: Path) -> None:
    def round_and_round(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "/again")
        request.end_headers()

    with served.http(round_and_round) as port, pytest.raises(BadInput, match="without an end"):
        fetched(f"http://127.0.0.1:{port}/", tmp_path)


def test_a_file_that_is_too_large_is_refused_whatever_is_said_of_its_length(tmp_path: Path) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        for _ in range(1000):
            request.wfile.write(BODY)

    for answer in (whole, endless):
        with served.http(answer) as port, pytest.raises(BadInput, match="larger than"):
            fetched(f"http://127.0.0.1:{port}/a.mp4", tmp_path, max_bytes=10**6)
        assert list(tmp_path.iterdir()) == []


def test_a_file_that_ends_too_soon_is_not_taken(tmp_path: Path) -> None:
    def short(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(2 * len(BODY)))
        request.end_headers()
        request.wfile.write(BODY)

    with served.http(short) as port, pytest.raises(SourceLost):
        fetched(f"http://127.0.0.1:{port}/a.mp4", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_server_refuses_is_said(tmp_path: Path) -> None:
    with served.folder(tmp_path) as port, pytest.raises(BadInput, match="404"):
        fetched(f"http://127.0.0.1:{port}/gone.mp4", tmp_path)


def test_nobody_answering_is_said(tmp_path: Path) -> None:
    with served.folder(tmp_path) as port:
        pass
    with pytest.raises(SourceLost, match="127.0.0.1"):
        fetched(f"http://127.0.0.1:{port}/a.mp4", tmp_path)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a.mp4", "file:///etc/passwd", "https://", "http://a b/c", "http://[x/"]
)
def test_only_the_web_is_fetched_from(tmp_path: Path, url: str) -> None:
    with pytest.raises(BadInput):
        fetch(url, tmp_path, max_bytes=10)


def test_what_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, size: int | None) -> None:
        raise KeyboardInterrupt

    with served.http(whole) as port, pytest.raises(KeyboardInterrupt):
        fetched(f"http://127.0.0.1:{port}/a.mp4", tmp_path, progress=stop)
    assert list(tmp_path.iterdir()) == []
