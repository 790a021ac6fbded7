"""What all pages share, without a page: stores, jobs and answers, over small random models."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event

import pytest
import served
from random_models import write_preset

import vidmem
from vidmem.errors import BadInput, StoreLocked
from vidmem.pipelines import VideoMemory
from vidmem.types import Answer
from vidmem.ui import bringing
from vidmem.ui.jobs import JobState, Tell
from vidmem.ui.limits import Limits
from vidmem.ui.previews import Previews
from vidmem.ui.session import Opened, Session
from vidmem.ui.stores import OpenStore
from vidmem.ui.watched import stamp_of, watched
from vidmem.world.video import render_file


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(2):
        render_file(folder / f"{number}.mp4", seed=number, duration=20, fps=2, size=(160, 90))
    return sorted(folder.glob("*.mp4"))


@pytest.fixture
def session(tmp_path: Path, preset: Path) -> Iterator[Session]:
    session = Session([tmp_path / "a.vidmem"], preset=str(preset), limits=Limits((tmp_path,)))
    yield session
    session.close()


def store_of(session: Session) -> OpenStore:
    return session.stores()[0]


def asked(store: OpenStore, video_id: str, question: str = "Was there a dog?") -> list[object]:
    return list(store.ask(question, [video_id], Event()))


def until_over(session: Session) -> list[JobState]:
    """All jobs, once none goes on, nor is one that follows them on its way."""
    while not all(state.is_over for state in session.jobs.states()):
        Event().wait(0.01)
    return session.jobs.states()


def test_a_question_does_not_wait_for_what_writes(session: Session, videos: list[Path]) -> None:
    store = store_of(session)
    report = session.ingest(store, videos[0]).result(120)
    going, go_on = Event(), Event()

    def long(memory: VideoMemory, tell: Tell) -> None:
        going.set()
        go_on.wait(120)

    store.submit("ingest", "long.mp4", long)
    waiting = session.ingest(store, videos[1])
    with ThreadPoolExecutor(1) as page:
        try:
            assert going.wait(120)
            evidence, *pieces, answer = page.submit(asked, store, report.video_id).result(timeout=120)
            assert isinstance(evidence, tuple) and isinstance(answer, Answer) and answer.evidence == evidence
            assert "".join(map(str, pieces)).strip() == answer.text
            assert answer.reading is not None and answer.reading.frames and answer.reading.num_tokens > 0
            assert waiting.state().phase == "waiting"
            assert [video.name for video in store.videos()] == ["0.mp4"]
        finally:
            go_on.set()
    assert waiting.result(120).frames == 20
    session.close()
    with vidmem.open(store.path) as memory:
        assert len(memory.videos()) == 2 and memory.state().disk.num_questions == 1


def test_an_answer_that_nobody_waits_for_stops(session: Session, videos: list[Path]) -> None:
    store = store_of(session)
    report = session.ingest(store, videos[0]).result(120)
    stop = Event()
    stop.set()
    *_, answer = store.ask("Was there a dog?", [report.video_id], stop)
    assert isinstance(answer, Answer) and answer.text == "" and answer.evidence


def test_cancelling_keeps_what_was_committed(session: Session, tmp_path: Path) -> None:
    film = tmp_path / "long.mp4"
    render_file(film, seed=5, duration=120, fps=1, size=(160, 90))
    store = store_of(session)
    job = session.ingest(store, film)
    opened = Opened(store.key, str(film))
    while (video := session.video(opened)) is None or not video.num_frames:
        assert not job.state().is_over, job.state()
        Event().wait(0.01)
    job.cancel()
    with pytest.raises(vidmem.VidmemError, match="Cancelled"):
        job.result(120)
    (kept,) = store.videos()
    assert 0 < kept.num_frames < 120 and not kept.is_finished
    assert session.ingest(store, film).result(120).resumed_from == kept.committed_until


def test_the_timeline_of_a_video_grows_while_it_is_watched(session: Session, videos: list[Path]) -> None:
    store = store_of(session)
    session.ingest(store, videos[0]).result(120)
    opened = Opened(store.key, str(videos[0]))
    video = session.video(opened)
    assert video is not None
    shown = watched(session, opened, video)
    assert shown.timeline["duration"] == 20.0 and [lane["name"] for lane in shown.timeline["lanes"]] == ["Scenes"]
    assert shown.stamp == stamp_of(session, opened, video) and len(shown.questions) > 1
    store.submit("track", videos[0].name, lambda memory, tell: None).result(120)
    while shown.stamp == stamp_of(session, opened, video):
        Event().wait(0.01)


def test_a_store_that_another_process_writes_to_can_be_asked_and_not_written(
    session: Session, tmp_path: Path, preset: Path, videos: list[Path]
) -> None:
    with vidmem.open(tmp_path / "busy.vidmem", preset) as memory:
        report = memory.ingest(videos[0], progress=False)
        busy = session.open_store(tmp_path / "busy.vidmem")
        assert isinstance(asked(busy, report.video_id)[-1], Answer)
        with pytest.raises(StoreLocked):
            session.ingest(busy, videos[1]).result(120)
    assert [state.phase for state in session.jobs.states(store=busy.key)] == ["failed"]


def test_stores_of_one_preset_share_their_models(session: Session, tmp_path: Path, videos: list[Path]) -> None:
    other = session.open_store(tmp_path / "b.vidmem")
    for store in (store_of(session), other):
        session.ingest(store, videos[0]).result(120)
    assert session.models_of(other.preset) is session.models_of(store_of(session).preset)
    assert session.open_store(tmp_path / "b.vidmem") is other and len(session.stores()) == 2


def test_an_uploaded_file_lives_in_the_store_and_goes_with_its_video(
    session: Session, tmp_path: Path, videos: list[Path]
) -> None:
    uploaded = tmp_path / "up.mp4"
    uploaded.write_bytes(videos[0].read_bytes())
    store = store_of(session)
    source = Path(bringing.add_upload(session, store, uploaded))
    opened = Opened(store.key, str(source))
    while session.video(opened) is None:
        Event().wait(0.01)
    assert source.is_relative_to(store.path) and source.read_bytes() == videos[0].read_bytes()
    assert not uploaded.exists()
    (video,) = store.videos()
    while not session.jobs.states()[0].is_over:
        Event().wait(0.01)
    bringing.remove(session, store, video.video_id).result(120)
    assert store.videos() == [] and not source.exists() and session.video(opened) is None
    with store.look() as memory:
        assert memory.verify() == []


def test_a_fetch_that_failed_is_tried_again(tmp_path: Path, preset: Path, videos: list[Path]) -> None:
    body, answers = videos[0].read_bytes(), iter([(503, b""), (200, b"a letter"), (200, videos[0].read_bytes())])

    def answer(request: BaseHTTPRequestHandler) -> None:
        status, content = next(answers)
        served.says(status, "video/mp4", content)(request)

    limits = Limits((tmp_path,), allow_private=True)
    session = Session([tmp_path / "a.vidmem"], preset=str(preset), limits=limits)
    store = store_of(session)
    with served.http(answer) as port:
        source = Path(bringing.add_text(session, store, f"http://127.0.0.1:{port}/film.mp4"))
        for reason in ("503", "film.mp4"):
            (job,) = until_over(session)
            assert (job.kind, job.phase) == ("fetch", "failed") and reason in job.message
            assert not any(session.folder("uploads").rglob("*.mp4"))
            session.jobs.again(job.job_id)
        assert [state.phase for state in until_over(session)] == ["done", "done"]
    (video,) = store.videos()
    assert video.is_finished and source.read_bytes() == body
    session.close()


def test_what_is_no_video_is_not_kept(session: Session, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_text("a letter")
    with pytest.raises(BadInput):
        bringing.add_upload(session, store_of(session), fake)
    assert not fake.exists() and session.jobs.states() == []


def test_browsers_may_fetch_pictures_and_open_videos_and_nothing_else(session: Session, videos: list[Path]) -> None:
    store = store_of(session)
    session.ingest(store, videos[0]).result(120)
    session.url(videos[0])

    def is_served(path: Path) -> bool:
        return any(path.resolve().is_relative_to(one) for one in session.served)

    with store.look() as memory:
        assert all(is_served(Path(one.path)) for one in memory.pictures(store.videos()[0].video_id, 4))
    assert is_served(videos[0]) and not is_served(videos[1])
    assert not is_served(store.path / "catalogue.sqlite") and not is_served(store.path / "manifest.toml")


def test_a_store_opened_at_the_page_names_no_file_outside_of_the_roots(
    session: Session, tmp_path: Path, preset: Path, videos: list[Path]
) -> None:
    with vidmem.open(tmp_path / "theirs.vidmem", preset) as memory:
        memory.ingest(videos[0], progress=False)
    theirs = session.open_store(tmp_path / "theirs.vidmem")
    for store, may in ((theirs, False), (store_of(session), True)):
        assert session.may_play(Opened(store.key, str(videos[0]))) is may
    assert session.may_play(Opened(theirs.key, str(tmp_path / "own.mp4")))
    previews = Previews(session)
    opened = Opened(theirs.key, str(videos[0]), theirs.videos()[0].video_id)
    while "src" not in (shown := previews.of(opened)):
        assert not any(state.phase == "failed" for state in session.jobs.states()), session.jobs.states()
        Event().wait(0.01)
    assert "previews" in shown["src"], "its pictures are shown, of which the store has one a second"


def test_a_store_that_nothing_came_into_is_not_made(tmp_path: Path, preset: Path) -> None:
    vidmem.open(tmp_path / "a.vidmem", preset).close()
    session = Session([tmp_path / "a.vidmem", tmp_path / "new.vidmem"], limits=Limits((tmp_path,)))
    old, new = session.stores()
    assert old.preset.origin == str(preset) and new.preset.name == "tiny" and new.videos() == []
    session.close()
    assert not (tmp_path / "new.vidmem").exists()
