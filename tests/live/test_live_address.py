"""What is typed to name a stream is understood, and nothing of it that is secret is ever shown."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidmem.errors import BadInput, NotFound
from vidmem.ingest.live.address import parse_address

SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=255, categories=("L", "N", "P", "S")), min_size=4)


@pytest.mark.parametrize(
    ("text", "kind", "name"),
    [
        ("rtsp://cam/1", "rtsp", "cam/1"),
        ("RTSPS://10.0.0.7:8322/h264?channel=1", "rtsp", "10.0.0.7:8322/h264"),
        ("rtmp://host/app/name", "rtmp", "host/app/name"),
        ("https://host/live/index.m3u8", "http", "host/live/index.m3u8"),
        ("rtsp://[::1]:8554/x", "rtsp", "[::1]:8554/x"),
        ("webcam:0", "camera", "webcam:0"),
        ("webcam:Integrated Camera", "camera", "webcam:Integrated Camera"),
    ],
)
def test_an_address_is_taken_apart(text: str, kind: str, name: str) -> None:
    address = parse_address(text)
    assert (address.kind, address.name) == (kind, name)


def test_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    address = parse_address(str(tmp_path / "a.mp4"))
    assert (address.kind, address.url, address.name) == ("file", str(tmp_path / "a.mp4"), "a.mp4")
    with pytest.raises(NotFound, match="check the spelling"):
        parse_address(str(tmp_path / "b.mp4"))
    with pytest.raises(BadInput, match="folder"):
        parse_address(str(tmp_path))


@pytest.mark.parametrize("text", ["ftp://host/x", "rstp://host/x", "udp://@:1234", "file:///etc/passwd", "s e://x"])
def test_an_unknown_scheme_is_told_from_the_known(text: str) -> None:
    with pytest.raises(BadInput, match="rtsp://, rtsps://"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["rtsp://", "rtsp:///x", "rtsp://host:port/x", "http://[::1/x", "rtsp://a b/", "webcam:"]
)
def test_a_broken_address_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_address(text)


@pytest.mark.parametrize("text", ["rtsp://root:pa/ss@cam/1", "rtsp://root:12/ss@cam/1", "rtsp://root:p?a#ss@cam/1"])
def test_a_password_with_a_bare_slash_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(BadInput, match="%2F") as caught:
        parse_address(text)
    assert "root" not in str(caught.value) and "ss" not in str(caught.value).replace("password", "").replace(
        "address", ""
    )
    assert caught.value.__cause__ is None and caught.value.__suppress_context__ or caught.value.__context__ is None


@given(user=SECRETS, password=SECRETS)
def test_user_and_password_reach_the_server_and_nothing_else(user: str, password: str) -> None:
    in_url = parse_address(f"rtsp://{quote(user, safe='')}:{quote(password, safe='')}@cam:99/one")
    apart = parse_address("rtsp://other:word@cam:99/one", user=user, password=password)
    for address in (in_url, apart):
        info = urlsplit(address.url).netloc.rpartition("@")[0]
        assert [unquote(part) for part in info.split(":")] == [user, password]
        assert address.shown == "rtsp://cam:99/one" and address.name == "cam:99/one"
        assert "url" not in repr(address)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://cam/Streaming/101?channel=1&subtype=0", "rtsp://cam/Streaming/101?channel=1&subtype=0"),
        ("https://cdn/x.m3u8?token=5ecr3t&stream=2", "https://cdn/x.m3u8?token=***&stream=2"),
        ("https://cdn/x.m3u8?5ecr3t", "https://cdn/x.m3u8?***"),
        ("rtsp://cam/user=5ecr3t_password=5ecr3t_channel=1.sdp", "rtsp://cam/user=***_password=***_channel=1.sdp"),
        ("http://u:5ecr3t@cam/video#5ecr3t", "http://cam/video"),
        ("https://root:12/5ecr3t@cam/1", "https://root:12/***"),
    ],
)
def test_what_may_be_secret_is_blotted_out(text: str, shown: str) -> None:
    assert parse_address(text).shown == shown
