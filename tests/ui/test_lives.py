"""The streams that a page watches, without the page: over small random models."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import av
import numpy as np
import pytest

from vidmem.errors import BadInput
from vidmem.ui.limits import Limits
from vidmem.ui.lives import Lives
from vidmem.ui.previews import Previews
from vidmem.ui.session import Opened, Session
from vidmem.world.video import render_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from random_models import write_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


@pytest.fixture
def session(tmp_path: Path, preset: Path) -> Iterator[Session]:
    limits = Limits(roots=(tmp_path,), allow_private=True)
    session = Session([tmp_path / "a.vidmem"], preset=str(preset), limits=limits)
    yield session
    session.close()


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def shaded(shade: int) -> np.ndarray:
    return np.full((90, 160, 3), shade, np.uint8)


def test_a_page_may_watch_files_of_its_folders_only(session: Session, tmp_path: Path) -> None:
    lives, store = Lives(session), session.stores()[0]
    with pytest.raises(BadInput, match="outside of the folders"):
        lives.connect(store, "/etc/hostname", fps=1.0, user=None, password=None)
    with pytest.raises(BadInput, match="no kind of stream"):
        lives.connect(store, "gopher://nowhere/", fps=1.0, user=None, password=None)
    assert not lives.jobs() and not lives.streams() and lives.chosen(None) == ""
    render_file(tmp_path / "street.mp4", seed=3, duration=20, fps=5, size=(160, 90))
    lives.connect(store, "street.mp4", fps=2.0, user=None, password=None)
    until(lambda: any(stream.state.committed and stream.thumbnail for stream in lives.streams()))
    (stream,) = lives.streams()
    assert stream.state.address == str(tmp_path / "street.mp4") and Path(str(stream.thumbnail)).is_file()
    assert lives.chosen(None) == stream.key
    opened = lives.opened(stream.key)
    assert opened is not None and session.video(opened) is not None and lives.chosen(opened) == stream.key
    lives.dismiss(stream.key)
    assert lives.streams(), "what runs is not put away"
    lives.stop(stream.key)
    until(lambda: not lives.streams()[0].state.is_running)
    lives.dismiss(stream.key)
    assert not lives.streams()


def test_what_can_not_be_reached_is_told_without_its_secrets(session: Session) -> None:
    lives = Lives(session)
    lives.connect(session.stores()[0], "rtsp://user:secret@127.0.0.1:9/x", fps=1.0, user=None, password=None)
    until(lambda: [job.phase for job in lives.jobs()] == ["failed"])
    (job,) = lives.jobs()
    assert "refused the connection" in job.message and "secret" not in job.message + job.subject


@pytest.mark.parametrize("address", ["rtsp://user:secret@127.0.0.1:9/x", "http://localhost:9/x?token=secret"])
def test_an_address_inside_the_network_is_refused_as_it_is_to_fetches(
    tmp_path: Path, preset: Path, address: str
) -> None:
    session = Session([tmp_path / "a.vidmem"], preset=str(preset), limits=Limits(roots=(tmp_path,)))
    lives = Lives(session)
    lives.connect(session.stores()[0], address, fps=1.0, user=None, password=None)
    until(lambda: [job.phase for job in lives.jobs()] == ["failed"])
    (job,) = lives.jobs()
    assert "--allow-private" in job.message and "secret" not in job.message + job.subject
    session.close()


@pytest.fixture
def watch_more(session: Session) -> Callable[[int], Opened]:
    """Watch a page's camera, which shows something else all the time, until so many frames more are in memory."""
    lives, shade = Lives(session), itertools.cycle(range(256))

    def num_committed() -> int:
        return sum(video.num_frames for video in session.stores()[0].videos())

    def push() -> None:
        lives.push(session.stores()[0], "my camera", shaded(next(shade)), fps=10.0)

    def watch(num_frames: int) -> Opened:
        wanted = num_committed() + num_frames
        lives.await_camera("my camera")
        push()
        until(lambda: any(stream.state.is_running for stream in lives.streams()))
        while num_committed() < wanted:
            push()
            time.sleep(0.05)
        lives.stop(key := lives.chosen(None))
        until(lambda: not any(stream.state.is_running for stream in lives.streams()))
        opened = lives.opened(key)
        assert opened is not None
        return opened

    return watch


def copies_told(session: Session) -> list[tuple[int, str]]:
    """The jobs that make, or made, something to play: their numbers and phases."""
    return [(job.job_id, job.phase) for job in session.jobs.states() if job.kind == "preview"]


def test_a_copy_that_could_not_be_made_is_said_and_tried_again_for_who_goes_beyond_or_once_there_is_more(
    session: Session, watch_more: Callable[[int], Opened]
) -> None:
    previews, opened = Previews(session), watch_more(12)
    pictures = session.stores()[0].path / "thumbs"
    pictures.rename(away := pictures.with_name("away"))
    until(lambda: "can be read" in previews.of(opened)["message"])
    failed = copies_told(session)
    assert "can be read" in previews.of(opened)["message"], "nothing more is there: it is not tried again"
    assert copies_told(session) == failed and [phase for _, phase in failed] == ["failed"]
    away.rename(pictures)
    previews.renew(opened)
    until(lambda: "src" in previews.of(opened))
    until(lambda: [phase for _, phase in copies_told(session)] == ["done"])
    first = previews.of(opened)

    watch_more(1)
    pictures.rename(away)
    previews.renew(opened)
    previews.of(opened)
    until(lambda: [phase for _, phase in copies_told(session)] == ["done", "failed"])
    away.rename(pictures)
    assert previews.of(opened) == first, "the one before is shown, and not what went wrong"
    (before,) = session.stores()[0].videos()
    watch_more(1)
    while (after := session.stores()[0].videos()[0]).num_frames < 1.1 * before.num_frames:
        watch_more(1)
    assert after.num_frames < 2 * before.num_frames, "too little for another copy if none had failed"
    until(lambda: previews.of(opened) != first)
    assert "src" in previews.of(opened)
    until(lambda: [phase for _, phase in copies_told(session)] == ["done", "done"])


def test_of_the_copies_of_a_stream_the_newest_two_are_kept(
    session: Session, watch_more: Callable[[int], Opened]
) -> None:
    previews, shown = Previews(session), list[Path]()

    def newest() -> Path | None:
        told = previews.of(opened)
        return Path(unquote(told["src"].removeprefix("gradio_api/file="))) if "src" in told else None

    for number in range(3):
        opened = watch_more(2)
        previews.renew(opened)
        until(lambda: newest() not in (None, *shown))
        shown.append(Path(str(newest())))
        until(lambda: all(phase == "done" for _, phase in copies_told(session)))
        assert newest() == shown[-1]
        there = sorted(session.folder("previews").iterdir())
        assert there == sorted(shown[-2:]), f"after {number + 1} copies: a browser may be playing the one before"


def test_what_is_asked_of_a_stream_stands_there_until_it_is_removed(session: Session, tmp_path: Path) -> None:
    lives, store = Lives(session), session.stores()[0]
    with pytest.raises(BadInput, match="not being watched"):
        lives.alert(lives.chosen(None), "a dog appears")
    render_file(tmp_path / "street.mp4", seed=3, duration=60, fps=5, size=(160, 90))
    lives.connect(store, "street.mp4", fps=2.0, user=None, password=None)
    until(lambda: any(stream.state.committed for stream in lives.streams()))
    key = lives.chosen(None)
    with pytest.raises(BadInput, match="names nothing"):
        lives.alert(key, "?")
    lives.alert(key, "a dog appears")
    (alert,) = lives.streams()[0].alerts
    assert alert.asked.text == "a dog appears" and alert.asked.source == str(tmp_path / "street.mp4")
    lives.remove_alert(key, alert.asked.alert_id)
    until(lambda: not lives.streams()[0].alerts)
    assert lives.streams()[0].state.alerts.asked == ()
    lives.stop(key)
    until(lambda: not lives.streams()[0].state.is_running)
    with pytest.raises(BadInput, match="not being watched"):
        lives.alert(key, "a dog appears")


def test_what_is_shown_of_a_stream_reaches_to_its_end_once_somebody_goes_beyond(
    session: Session, tmp_path: Path
) -> None:
    lives, previews = Lives(session), Previews(session)
    render_file(tmp_path / "street.mp4", seed=3, duration=60, fps=5, size=(160, 90))
    lives.connect(session.stores()[0], "street.mp4", fps=4.0, user=None, password=None)
    until(lambda: any(stream.state.committed >= 8 for stream in lives.streams()))
    opened = lives.opened(lives.chosen(None))
    assert opened is not None
    (tmp_path / "street.mp4").unlink()  # a file that is there would be shown itself

    def seconds_shown() -> float:
        until(lambda: "src" in previews.of(opened))
        with av.open(unquote(previews.of(opened)["src"].removeprefix("gradio_api/file="))) as copy:
            return float((copy.duration or 0) / av.time_base)

    assert seconds_shown() > 0
    until(lambda: lives.streams()[0].state.committed >= 12)
    lives.stop(lives.chosen(None))
    until(lambda: not lives.streams()[0].state.is_running)
    with session.stores()[0].look() as memory:
        newest = memory.newest_picture(lives.streams()[0].state.video_id)
    assert newest is not None
    previews.renew(opened)
    until(lambda: seconds_shown() >= newest.seconds)


def test_a_pages_camera_is_watched_once_that_is_asked_for_and_not_after_it_was_stopped(session: Session) -> None:
    lives, store, shade = Lives(session), session.stores()[0], iter(range(256))

    def push() -> None:
        lives.push(store, "my camera", shaded(next(shade)), fps=None)

    push()
    assert not lives.jobs() and not lives.streams(), "nobody asked for it"
    lives.await_camera("my camera")
    push()
    until(lambda: bool(lives.streams()))
    with pytest.raises(BadInput, match="watched already"):
        lives.await_camera("my camera")
    for _ in range(20):
        push()
        time.sleep(0.1)
    until(lambda: lives.streams()[0].state.committed > 0)
    (first,) = lives.streams()
    assert first.state.address == "pushed:my camera"
    lives.stop(first.key)
    until(lambda: not lives.streams()[0].state.is_running)
    push()
    assert len(lives.streams()) == 1 and not lives.jobs()
    lives.await_camera("my camera")
    push()
    until(lambda: len(lives.streams()) == 2)
    again = lives.streams()[1]
    assert again.state.video_id == first.state.video_id, "the same camera is one video, with a gap"
