"""Times of day in questions about streams, and what is said of the times in which nothing was seen."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import vidmem
from vidmem.cli import app
from vidmem.index import FrameRows, NewClip, ObjectUpdate, Store, StoreIdentity, StreamClock, Track, VideoRow
from vidmem.kv.tokens import FrameTokens
from vidmem.models.families.family import Family
from vidmem.models.families.llava_onevision import LlavaOneVision
from vidmem.models.families.qwen_vl import Qwen3Vl, Qwen25Vl
from vidmem.models.families.smolvlm import SmolVlm
from vidmem.models.kv_language import KvLanguage
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.question import read_question
from vidmem.pipelines.recall import Labels
from vidmem.pipelines.time_of_day import Times, place_of_clock
from vidmem.pipelines.timeline import Timelines
from vidmem.types import Gap, Span, VideoId

BEGUN = datetime(2026, 3, 3, 14, 0, 20).timestamp()
"""Of a stream that runs for an hour, on a day without a change of the clocks."""


def clock(*gaps: Gap, begun: float = BEGUN) -> StreamClock:
    return StreamClock(np.array([0.0]), np.array([begun]), gaps)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("14:05", 280.0),
        ("14:05:30", 310.0),
        ("2:05 pm", 280.0),
        ("2:05pm", 280.0),
        ("14:00", 0.0),
        ("14:00:10", -10.0),
        ("13:00", -3620.0),
        ("23:00", 32380.0),
        ("45:10", None),
        ("14:05:61", None),
    ],
)
def test_a_time_of_day_has_its_place(text: str, place: float | None) -> None:
    assert place_of_clock(text, clock(), 3600.0) == place


def test_of_a_stream_of_days_the_last_such_time_is_meant() -> None:
    day = 86400.0
    assert place_of_clock("14:05", clock(), 2 * day) == day + 280.0
    assert place_of_clock("14:05", clock(), 2 * day + 600.0) == 2 * day + 280.0
    over_midnight = clock(begun=datetime(2026, 3, 3, 23, 50).timestamp())
    assert place_of_clock("23:55", over_midnight, 3600.0) == 300.0
    assert place_of_clock("0:10", over_midnight, 3600.0) == 1200.0


@pytest.mark.parametrize(("back", "places"), [(1800.0, (2980.0, 3880.0)), (2 * 3600.0, (2980.0, 2080.0))])
def test_a_time_that_only_a_clock_showed_that_was_set_back_is_when_it_did(
    back: float, places: tuple[float, float]
) -> None:
    """After an hour, from 14:00:20 to 15:00:20, it goes on for ten minutes with the clock set back."""
    told = StreamClock(np.array([0.0, 3600.0]), np.array([BEGUN, BEGUN + 3600.0 - back]))
    assert (place_of_clock("14:50", told, 4200.0), place_of_clock("14:35", told, 4200.0)) == places


def test_questions_are_read_by_the_clock() -> None:
    def asked(question: str) -> tuple[tuple[float, ...], tuple[Span, ...]]:
        read = read_question(question, 3600.0, lambda text: place_of_clock(text, clock(), 3600.0))
        return read.moments, read.ranges

    assert asked("What was there at 14:05?") == ((280.0,), ())
    assert asked("Was there a dog between 13:00 and 2:05 pm?") == ((), (Span(0.0, 280.0),))
    assert asked("What came after 14:05?") == ((280.0,), (Span(280.0, 3600.0),))
    assert asked("What came in the first 10 minutes?") == ((), (Span(0.0, 600.0),))
    assert asked("What was there 30 seconds in, at minute 3?")[0] == (180.0,)
    assert read_question("What was there at 2:05 pm?").moments == (125.0,)


def test_a_clock_that_was_set_is_followed() -> None:
    told = StreamClock(np.array([0.0, 100.0, 200.0]), np.array([1000.0, 2000.0, 1500.0]))
    assert [told.wall_at(seconds) for seconds in (0.0, 99.0, 100.0, 250.0)] == [1000.0, 1099.0, 2000.0, 1550.0]
    assert [told.place_of(wall) for wall in (990.0, 1050.0, 1099.0, 1520.0, 2010.0)] == [
        -10.0,
        50.0,
        99.0,
        220.0,
        710.0,
    ]
    assert told.place_of(1400.0) == 100.0


GAP = Gap(20.0, 80.0, BEGUN + 20.0, BEGUN + 80.0, "the stream froze")


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory, preset: Path) -> Path:
    return write_stream(tmp_path_factory.mktemp("streamed") / "a.vidmem", preset)


def write_stream(path: Path, preset: Path) -> Path:
    """A store with a stream of two stretches of 20 s, written as `vidmem watch` writes it."""
    with vidmem.open(path, preset) as memory:
        store, made = memory._store, memory._store.identity
        row = VideoRow(VideoId("camera"), "camera", "settings", "rtsp://door/1", "door/1")
        store.begin_video(row, is_stream=True)
        for first in (0, 80):
            clip = NewClip(
                Span(first, first + 20),
                _rows(made, range(first, first + 20)),
                None,
                BEGUN + first,
                GAP if first else None,
            )
            store.append_clips(VideoId("camera"), [clip])
    return path


def _rows(made: StoreIdentity, seconds: range) -> FrameRows:
    rng = np.random.default_rng(seconds[0])
    embeddings = rng.normal(size=(len(seconds), made.embedding_dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    tokens = torch.zeros(len(seconds), made.tokens_per_frame, made.token_dim, dtype=torch.float16)
    return FrameRows(np.array(seconds, dtype=np.float64), embeddings, tokens)


def told(memory: VideoMemory, question: str) -> tuple[str, list[float]]:
    answer = memory.ask(question)
    return answer.text, [hit.wall_start - BEGUN for hit in answer.evidence if hit.wall_start is not None]


def test_answers_know_what_was_not_seen(streamed: Path, preset: Path) -> None:
    sentence = "Nothing was seen from 14:00:40 to 14:01:40: the stream froze."
    with vidmem.open(streamed, preset) as memory:
        assert told(memory, "What was there at 14:01:10?") == (sentence, [])
        text, walls = told(memory, "What was there at 14:01:45?")
        assert sentence not in text and walls[0] == 85.0
        text, walls = told(memory, "Was there a dog between 14:00:30 and 14:01:50?")
        assert text.endswith(sentence) and text != sentence and walls
        text, _ = told(memory, "What was there at 16:00?")
        assert text == "Nothing is in memory of that time: it goes from 14:00:20 to 14:02:00."
        assert told(memory, "What was there at 10:00?")[0] == text


def test_times_of_a_stream_are_told_on_both_clocks() -> None:
    times = Times(clock=clock(), until=300.0)
    assert times.at(85.0) == "01:25 (14:01:45)"
    assert times.over(Span(85.0, 90.0)) == "01:25-01:30 (14:01:45 to 14:01:50)"
    assert Times(hours=True).at(85.0) == "00:01:25" and Times().over(Span(85.0, 90.0)) == "01:25-01:30"
    day_later = Times(hours=True, clock=clock(), until=86400.0)
    assert day_later.at(85.0) == "00:01:25 (2026-03-03 14:01:45)" and day_later.at(86400.0) == "24:00:00 (14:00:20)"
    assert day_later.over(Span(85.0, 90.0)).endswith("(2026-03-03 14:01:45 to 2026-03-03 14:01:50)")


@pytest.mark.parametrize(
    ("family", "mark"),
    [
        (LlavaOneVision, "[14:01:45]"),
        (Qwen25Vl, "[14:01:45]"),
        (Qwen3Vl, "<14:01:45>"),
        (SmolVlm, "\nFrame from 14:01:45:"),
    ],
)
def test_a_frame_of_a_stream_bears_what_a_clock_shows_in_the_family_s_mark(family: type[Family], mark: str) -> None:
    line = SimpleNamespace(clock=clock(), duration_seconds=7200.0, video=SimpleNamespace(name="camera"))
    labels = Labels([line], partial(family.label, None), named=False)  # type: ignore[list-item, arg-type]
    assert family.mark(None, labels.at(0, 85.9)) == mark  # type: ignore[arg-type]


CUP = (0.02, 0.02, 0.2, 0.2)


@pytest.fixture
def with_cup(tmp_path: Path, preset: Path) -> Path:
    """The stream, with a cup on the top left that was seen in its first 15 s, and looked for to its end."""
    path = write_stream(tmp_path / "a.vidmem", preset)
    with vidmem.open(path, preset) as memory:
        store, seconds = memory._store, np.arange(0.0, 100.0, 0.5)
        boxes = np.array([CUP if at <= 15.0 else (np.nan,) * 4 for at in seconds], dtype=np.float32)
        found = store.add_object(VideoId("camera"), label="cup", label_score=1.0, origin="asked")
        track = Track(seconds, boxes, np.ones(len(seconds)))
        store.extend_objects(VideoId("camera"), [ObjectUpdate(found, track, [Span(0.0, 15.0)], [])])
    return path


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("Where was the cup last seen?", "The cup was last seen at the top left, at 00:15 (14:00:35)."),
        ("When was the cup last seen?", "The cup was last seen at 00:15 (14:00:35), at the top left."),
        (
            "How long was the cup there?",
            "The cup was there for 15 s: 00:00-00:15 (14:00:20 to 14:00:35); last at the top left.",
        ),
        ("How often was the cup there?", "The cup was there once: 00:00-00:15 (14:00:20 to 14:00:35)."),
        ("Where was the cup at 14:00:30?", "The cup was at the top left at 00:10 (14:00:30)."),
        ("Where was the cup at 2:00:30 pm?", "The cup was at the top left at 00:10 (14:00:30)."),
    ],
)
def test_tracks_answer_in_times_of_day(with_cup: Path, preset: Path, question: str, sentence: str) -> None:
    with vidmem.open(with_cup, preset) as memory:
        answer = memory.ask(question)
    assert answer.text.startswith(sentence)
    assert "(14:00:3" in answer.evidence[0].why and answer.evidence[0].wall_start == BEGUN


def test_where_something_was_is_told_in_its_time_of_day(with_cup: Path, preset: Path) -> None:
    with vidmem.open(with_cup, preset) as memory:
        tracked, looked_for = memory.where("cup"), memory.where("a zebra")
    assert tracked is not None and (tracked.wall_seen_from, tracked.wall_last_seen) == (BEGUN, BEGUN + 15.0)
    assert looked_for is None or looked_for.wall_last_seen == BEGUN + looked_for.last_seen
    result = CliRunner().invoke(app, ["where", str(with_cup), "cup", "--preset", str(preset)])
    assert "00:00-00:15 (2026-03-03 14:00:20-14:00:35), top left" in result.stdout


def test_in_kv_mode_frames_of_a_stream_are_run_with_their_time_of_day(
    tmp_path: Path, preset: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are brought back into the window where a watch goes on."""
    text = preset.read_text().replace('mode = "tokens"', 'mode = "kv"')
    (preset.parent / "kv.toml").write_text(text)
    labels: list[str] = []
    frame = KvLanguage.frame

    def noted(self: KvLanguage, label: str, rows: torch.Tensor, span: Span) -> FrameTokens:
        labels.append(label)
        return frame(self, label, rows, span)

    monkeypatch.setattr(KvLanguage, "frame", noted)
    with vidmem.open(tmp_path / "a.vidmem", preset.parent / "kv.toml") as memory:
        watch = memory.watch(str(video), fps=1.0, policy="block", speed=100.0)
        assert watch.wait(300)
        store, name = memory._store, watch.video_id
        told = store.stream_clock(name)
        assert told is not None
        walls = [told.wall_at(row.pts_seconds) for row in store.frames_between(name, 0.0, 60.0)]
        assert labels == [datetime.fromtimestamp(wall).strftime("%H:%M:%S") for wall in walls]
        answer = memory.ask(f"What was there at {labels[30]}?")
        assert answer.evidence[0].wall_start == pytest.approx(walls[30], abs=1.01)
        (video_row,) = memory.videos()
        labels.clear()
        (_, first_again) = memory._block_stream(video_row, None)._frames(Timelines(store).of(video_row), [0, 30])
        assert labels == [datetime.fromtimestamp(walls[at]).strftime("%H:%M:%S") for at in (0, 30)]
        assert first_again.span.start == 30.0


def test_the_log_of_questions_keeps_times_of_day(streamed: Path, preset: Path) -> None:
    with vidmem.open(streamed, preset) as memory:
        answer = memory.ask("What was there at 14:01:45?")
        assert memory._store.questions(1)[0].answer.evidence == list(answer.evidence)


def test_a_store_without_streams_is_as_it_was(tmp_path: Path, preset: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        store, made = memory._store, memory._store.identity
        store.begin_video(VideoRow(VideoId("file"), "file", "settings", "a.mp4", "a.mp4"))
        store.append_clips(VideoId("file"), [NewClip(Span(0, 20), _rows(made, range(20)))])
        assert store.stream_clock(VideoId("file")) is None and store.find_stream("a.mp4", "settings") is None
        assert tables(store).isdisjoint({"streams", "stream_clocks", "stream_gaps"})
        hits = memory.ask("What was there at 0:05?").evidence
        assert hits[0].start == 5.0 and hits[0].wall_start is None
    with Store.open(tmp_path / "a.vidmem", made) as store:
        row = VideoRow(VideoId("camera"), "camera", "settings", "rtsp://door/1", "door/1")
        store.begin_video(row, is_stream=True)
        found = store.find_stream("rtsp://door/1", "settings")
        assert found is not None and found.video_id == "camera"
        assert store.find_stream("rtsp://door/1", "others") is None
        assert store.stream_clock(VideoId("camera")) is None


def tables(store: Store) -> set[str]:
    with store._transaction() as catalogue:
        return {row[0] for row in catalogue.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
