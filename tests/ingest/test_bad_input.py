"""What can't be read ends in the right typed error, in one sentence that names the input and the cure."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from awkward import ffmpeg
from PIL import Image

from vidmem.errors import BadInput, CorruptMedia, NotFound, NoVideoStream, SourceLost, UnsupportedCodec, VidmemError
from vidmem.ingest import open_source
from vidmem.ingest.content import content_id
from vidmem.types import View

Video = Callable[[str], Path]


def _empty_folder(path: Path, video: Video) -> None:
    path.mkdir()


def _audio(path: Path, video: Video) -> None:
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setparams((1, 2, 8000, 800, "NONE", ""))
        file.writeframes(bytes(1600))
    ffmpeg("-i", path.with_suffix(".wav"), "-f", "mp4", path)


def _cover_only(path: Path, video: Video) -> None:
    cover, sound = path.with_suffix(".png"), path.with_suffix(".m4a")
    Image.new("RGB", (32, 32)).save(cover)
    _audio(sound, video)
    ffmpeg("-i", sound, "-i", cover, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic",
           "-f", "mp4", path)  # fmt: skip


def _without_index(path: Path, video: Video) -> None:
    data = video("plain.mp4").read_bytes()
    path.write_bytes(data[: data.find(b"moov") - 100])


def _unknown_codec(path: Path, video: Video) -> None:
    path.write_bytes(video("plain.mp4").read_bytes().replace(b"avc1", b"zzzz").replace(b"avcC", b"zzzC"))


def _garbled(path: Path, video: Video) -> None:
    data = video("plain.mp4").read_bytes()
    start, end = data.find(b"mdat") + 4, data.find(b"moov") - 4
    path.write_bytes(data[:start] + bytes(end - start) + data[end:])


def _list_of_files(path: Path, video: Video) -> None:
    path.write_text(f"ffconcat version 1.0\nfile '{video('plain.mp4')}'\n")


def _playlist(path: Path, video: Video) -> None:
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video('late.ts')}\n#EXT-X-ENDLIST\n")


BAD: dict[str, tuple[type[VidmemError], Callable[[Path, Video], object], str]] = {
    "missing": (NotFound, lambda path, _: None, "check the spelling"),
    "folder without pictures": (BadInput, _empty_folder, "video file"),
    "zero bytes": (CorruptMedia, lambda path, _: path.touch(), "copy or download"),
    "index cut off": (CorruptMedia, _without_index, "again"),
    "audio only": (NoVideoStream, _audio, "video track"),
    "cover picture only": (NoVideoStream, _cover_only, "video track"),
    "text": (BadInput, lambda path, _: path.write_text("Dear diary\n" * 400), "convert"),
    "unknown codec": (UnsupportedCodec, _unknown_codec, "convert"),
    "garbled pictures": (CorruptMedia, _garbled, "again"),
    "list of files": (BadInput, _list_of_files, "convert"),
    "playlist": (BadInput, _playlist, "convert"),
    "pipe": (BadInput, lambda path, _: os.mkfifo(path), "file first"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_input_has_its_error(kind: str, tmp_path: Path, video: Video) -> None:
    error, make, cure = BAD[kind]
    path = tmp_path / "holiday.mp4"
    make(path, video)
    with pytest.raises(error) as caught:
        open_source(path)
    message = str(caught.value)
    assert type(caught.value) is error
    assert "holiday" in message
    assert cure in message
    assert "\n" not in message
    if isinstance(caught.value, CorruptMedia):
        assert caught.value.decoded_until == 0.0


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.mp4", "file:///etc/passwd", "rtsp://camera/1"])
def test_urls_are_not_followed(url: str) -> None:
    with pytest.raises(BadInput, match="URL"):
        open_source(url)


@pytest.mark.parametrize("text", ["concat:a.mp4|b.mp4", "pipe:0", "lavfi:testsrc"])
def test_names_that_ffmpeg_would_obey_are_names(text: str) -> None:
    with pytest.raises(NotFound):
        open_source(text)


def test_a_tilde_may_begin_a_name(video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~plain.mp4").write_bytes(video("plain.mp4").read_bytes())
    with open_source("~plain.mp4") as source:
        assert source.info.name == "~plain.mp4"
    with pytest.raises(NotFound, match="check the spelling"):
        open_source("~nobody-of-this-name/holiday.mp4")


def test_a_device_is_no_file() -> None:
    with pytest.raises(BadInput, match="device"):
        open_source("/dev/zero")


@pytest.mark.parametrize("given", [7, b"abc", np.zeros((4, 4, 3), np.uint8)])
def test_other_things_are_no_video(given: object) -> None:
    with pytest.raises(BadInput):
        open_source(given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pictures",
    [
        [(0.0, np.zeros((4, 4), np.uint8))],
        [(0.0, np.zeros((4, 4, 3), np.float32))],
        [(float("nan"), np.zeros((4, 4, 3), np.uint8))],
        ["ab"],
    ],
)
def test_wrong_pictures_are_refused(pictures: list) -> None:
    with pytest.raises(BadInput, match="The iterable"):
        open_source(pictures)


def test_times_that_do_not_rise_are_refused() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    with open_source([(1.0, picture), (1.0, picture)]) as source, pytest.raises(BadInput, match="must rise"):
        list(source.frames(fps=None, views=[]))


def test_a_generator_may_draw_every_picture_into_the_same_array() -> None:
    canvas = np.empty((8, 8, 3), np.uint8)

    def drawn() -> Iterator[tuple[float, np.ndarray]]:
        for index in range(5):
            canvas[:] = index * 40
            yield float(index), canvas

    frames = open_source(drawn()).frames(fps=1.0, views=[View(8, 8)])
    assert [int(frame.views[0][0, 0, 0]) for frame in frames] == [0, 40, 80, 120, 160]


def test_an_empty_iterable_and_a_spent_generator_are_refused() -> None:
    with pytest.raises(CorruptMedia):
        open_source([])
    picture = np.zeros((4, 4, 3), np.uint8)
    with open_source((float(i), picture) for i in range(3)) as source:
        assert len(list(source.frames(fps=None, views=[]))) == 3
        with pytest.raises(BadInput, match="only once"):
            source.frames(fps=None, views=[])


def test_pictures_come_in_the_natural_order_of_whatever_names(tmp_path: Path) -> None:
    for shade, name in enumerate(("1.png", "1²2.png", "2.png", "10.png")):
        Image.new("RGB", (8, 8), (shade * 50,) * 3).save(tmp_path / name)
    frames = open_source(tmp_path).frames(fps=None, views=[View(8, 8)])
    assert [int(frame.views[0][0, 0, 0]) // 50 for frame in frames] == [0, 1, 2, 3]


def test_damaged_pictures_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "10.png"):
        Image.new("RGB", (16, 12), "red").save(tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"no picture")
    (tmp_path / "elsewhere.png").symlink_to("/dev/null")
    with open_source(tmp_path) as source:
        frames = list(source.frames(fps=1.0, views=[View(8, 6)]))
        assert [frame.pts_seconds for frame in frames] == [0.0, 2.0]
        assert source.num_skipped == 1


@pytest.mark.parametrize("name", ["late.ts", "windows.wmv", "edit-list.mp4"])
def test_decord_is_kept_from_what_it_gets_wrong(name: str, video: Video) -> None:
    pytest.importorskip("decord")
    with pytest.raises(BadInput, match="--decoder auto"):
        open_source(video(name), decoder="decord")


def test_a_decord_that_hangs_is_stopped(video: Video) -> None:
    pytest.importorskip("decord")
    import signal

    from vidmem.ingest.decord import DecordSource

    with DecordSource(video("short-gop.mkv")) as source:
        frames = source.frames(fps=None, views=[View(1024, 1024)])
        next(frames)
        worker = source.worker
        assert worker is not None
        worker.deadline_seconds = 0.5
        os.kill(worker.pid, signal.SIGSTOP)
        with pytest.raises(SourceLost, match="--decoder pyav"):
            list(frames)
        with pytest.raises(ProcessLookupError):
            os.kill(worker.pid, 0)


def test_the_id_is_of_the_content(video: Video, tmp_path: Path) -> None:
    original = video("plain.mp4")
    copy, other = tmp_path / "copy.mp4", tmp_path / "other.mp4"
    copy.write_bytes(original.read_bytes())
    other.write_bytes(original.read_bytes() + b"\0" * 8)
    ids = [open_source(path).info.content_id for path in (original, copy, other)]
    assert ids[0] == ids[1] != ids[2]


def test_the_id_follows_a_file_that_was_overwritten_with_its_old_date(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    ids = []
    for content in (b"first", b"later"):
        path.write_bytes(content)
        os.utime(path, ns=(10**18, 10**18))
        ids.append(content_id(path))
    assert ids[0] != ids[1]
