"""What can't be watched ends in the right error, in one sentence that names the stream and the cure."""

from __future__ import annotations

import socket
import traceback
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from served import Answer, free_port, http, says

from vidmem.bench.live_camera import held
from vidmem.errors import BadInput, NotFound, NoVideoStream, SourceLost, VidmemError
from vidmem.ingest.live import LiveConfig, Patience, open_live
from vidmem.types import View

SECRET = "5ecr3t"
"""Its own words stand in no line of a traceback."""
PATIENT = LiveConfig(patience=Patience(connect_seconds=60.0))


def _sound() -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, 8000, 8000, "NONE", ""))
        written.writeframes(bytes(16000))
    return file.getvalue()


PAGE = b"<!doctype html><html><body>Welcome to your camera</body></html>"
SERVED: dict[str, tuple[Answer, type[VidmemError], str]] = {
    "web page": (says(200, "text/html; charset=utf-8", PAGE), BadInput, "web page"),
    "sound only": (says(200, "audio/x-wav", _sound()), NoVideoStream, "no moving pictures"),
    "junk": (says(200, "video/mp2t", b"no stream of anything " * 5000), BadInput, "nothing that vidmem can read"),
    "empty playlist": (says(200, "application/vnd.apple.mpegurl", b"#EXTM3U\n"), VidmemError, "http://127.0.0.1"),
    "nothing": (says(200, "video/mp2t"), VidmemError, "http://127.0.0.1"),
    "wrong password": (says(401, WWW_Authenticate='Basic realm="camera"'), BadInput, "user or password"),
    "no right": (says(403), BadInput, "denies access"),
    "no such stream": (says(404), NotFound, "no stream of this name"),
    "broken server": (says(503), SourceLost, "an error of its own"),
}


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("name", ["live.ts"])
def test_what_a_server_sends_instead_of_a_stream_is_told(kind: str, name: str) -> None:
    answer, error, words = SERVED[kind]
    before = held()
    with http(answer) as port, pytest.raises(error) as caught:
        open_live(f"http://root:{SECRET}@127.0.0.1:{port}/{name}?key={SECRET}", config=PATIENT)
    _check(caught.value, f"http://127.0.0.1:{port}/{name}?key=***", words)
    assert held() == before


def _check(error: VidmemError, shown: str, words: str) -> None:
    message = str(error)
    assert message.startswith(shown + " ")
    assert words in message and "\n" not in message and message.endswith((".", "?"))
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "https"])
def test_a_port_at_which_nobody_listens(scheme: str) -> None:
    port = free_port()
    with pytest.raises(SourceLost) as caught:
        open_live(f"{scheme}://root:{SECRET}@127.0.0.1:{port}/live", config=PATIENT)
    _check(caught.value, f"{scheme}://127.0.0.1:{port}/live", "refused the connection")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_a_name_that_does_not_resolve(scheme: str) -> None:
    with pytest.raises(SourceLost) as caught:
        open_live(f"{scheme}://root:{SECRET}@no-such-host.invalid/live", config=PATIENT)
    _check(caught.value, f"{scheme}://no-such-host.invalid/live", "does not resolve")


@contextmanager
def _mute() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_a_server_that_takes_the_call_and_says_nothing(scheme: str) -> None:
    before = held()
    with _mute() as port, pytest.raises(SourceLost) as caught:
        open_live(f"{scheme}://127.0.0.1:{port}/live", config=LiveConfig(patience=Patience(connect_seconds=1.0)))
    _check(caught.value, f"{scheme}://127.0.0.1:{port}/live", "does not answer")
    assert held() == before


@pytest.mark.parametrize("name", ["webcam:77", "webcam:No Such Camera"])
def test_a_camera_that_is_not_there(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        open_live(name, config=PATIENT)
    _check(caught.value, name, "no camera of this machine")


@pytest.mark.parametrize(
    "changes",
    [{"transport": "sctp"}, {"policy": "random"}, {"queue_frames": 0}, {"speed": 0.0}, {"speed": float("nan")}],
)
def test_settings_that_make_no_sense(changes: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        LiveConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [{"fps": 0.0}, {"fps": float("nan")}, {"views": [View(0, 5)]}])
def test_a_request_that_makes_no_sense_connects_to_nothing(wanted: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        open_live(f"rtsp://127.0.0.1:{free_port()}/live", **wanted)  # type: ignore[arg-type]
