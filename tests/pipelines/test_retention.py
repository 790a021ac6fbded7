"""What leaves a stream's store: the oldest, what is important later, and never more bytes than were allowed."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from vidmem import Retention
from vidmem.cli import app
from vidmem.errors import BadInput
from vidmem.index import (
    FrameRows,
    Look,
    NewClip,
    NewTold,
    ObjectUpdate,
    Store,
    StoreIdentity,
    Track,
    VideoRow,
    encode_mask,
)
from vidmem.pipelines import open_store, retention
from vidmem.pipelines.alerts import asked
from vidmem.pipelines.keeping import keeping_of, prune
from vidmem.pipelines.retention import Keeper, Upkeep
from vidmem.types import Answer, Hit, Span, VideoId

DIM, FRAMES, CLIP = 64, 2, 8.0
IDENTITY = StoreIdentity("tiny", "encoder", "e1", "language", "l1", DIM, 32, 256, "moviechat")
WALL = 1.9e9
"""When the stream begins: years from now, so that its newest clip tells the time."""
DAY = 86400.0
A = VideoId("a")
NEWEST = 8
RNG = np.random.default_rng(0)
STILL, OTHER = (vector / np.linalg.norm(vector) for vector in RNG.standard_normal((2, DIM)).astype(np.float32))
NOISE = RNG.bytes(8192)


@pytest.fixture(autouse=True, scope="module")
def fewer_newest() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retention, "NEWEST_CLIPS", NEWEST)
        yield


def begun(path: Path) -> Store:
    store = Store.open(path, IDENTITY)
    store.begin_video(VideoRow(A, "content", "settings", "rtsp://camera", "camera"), is_stream=True)
    return store


def append(
    store: Store, first: int, count: int, *, scenes: frozenset[int] = frozenset(), clock_ahead: float = 0.0
) -> None:
    """Clips by their numbers; what is shown changes in the first frame of those in `scenes`.

    `clock_ahead`: seconds by which the clock on the wall is ahead of the stream's own.
    """
    clips = []
    for clip in range(first, first + count):
        shown = OTHER if sum(scene <= clip for scene in scenes) % 2 else STILL
        vectors = shown + 0.01 * np.random.default_rng(clip).standard_normal((FRAMES, DIM)).astype(np.float32)
        rows = FrameRows(
            clip * CLIP + np.arange(FRAMES) * (CLIP / FRAMES),
            vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
            torch.full((FRAMES, 32, 256), float(clip % 100), dtype=torch.float16),
            [clip.to_bytes(4, "big") + NOISE] * FRAMES,
        )
        clips.append(NewClip(Span(clip * CLIP, clip * CLIP + CLIP), rows, wall_start=WALL + clip * CLIP + clock_ahead))
    store.append_clips(A, clips)


def left(store: Store) -> list[int]:
    """Numbers of the clips that are there."""
    return [round(clip.span.start / CLIP) for clip in store.held_clips(A, 0.0, math.inf, 10_000)]


def cite(store: Store, start: float, end: float, why: str = "looks like 'a dog'") -> None:
    store.log_question(Answer("?", "!", [Hit(A, "rtsp://camera", start, end, 0.9, 1, why=why)]))


def keeper_of(store: Store, retention: Retention) -> Keeper:
    store.set_retention(retention)
    return Keeper(store)


def run(keeper: Keeper) -> int:
    steps = 0
    while keeper.step():
        steps += 1
    return steps


MB = 10**6


@settings(max_examples=4, deadline=None)
@given(
    batches=st.lists(st.integers(20, 90), min_size=3, max_size=6),
    budget=st.integers(10, 14),
    cited=st.sets(st.integers(0, 300), max_size=12),
    scenes=st.frozensets(st.integers(2, 300), max_size=8),
)
def test_a_store_is_never_larger_than_allowed_and_holds_the_newest(batches, budget, cited, scenes) -> None:
    with tempfile.TemporaryDirectory() as folder, begun(Path(folder) / "a.vidmem") as store:
        for clip in cited:
            cite(store, clip * CLIP + 1, clip * CLIP + 2)
        keeper, num_clips = keeper_of(store, Retention(num_bytes=budget * MB)), 0
        for count in batches:
            append(store, num_clips, count, scenes=scenes)
            num_clips += count
            before = left(store)
            run(keeper)
            assert store.state().total_bytes <= budget * MB
            held, front = left(store), math.ceil(store.expired(A).until / CLIP)
            assert held == sorted(set(before) & set(held))
            newest = [clip for clip in held if clip >= front]
            assert newest == list(range(front, num_clips)) and len(newest) >= NEWEST
            assert store.expired(A).num_clips == num_clips - len(held)
            behind = {clip for clip in held if clip < front}
            assert behind <= cited | scenes
            # They go only where they take more than half, oldest first.
            assert behind == {clip for clip in (cited | scenes) if min(behind, default=front) <= clip < front}
        assert store.verify() == []


def test_old_clips_leave_and_important_ones_later(tmp_path) -> None:
    """Clips are a thousandth of 8000 s; days are chosen so that 20 and 60 clips stay."""
    keep = Retention(days=20 * CLIP / DAY, important_days=60 * CLIP / DAY)
    with begun(tmp_path / "a.vidmem") as store:
        append(store, 0, 100, scenes=frozenset({42, 70}))
        cite(store, 45 * CLIP + 3, 46 * CLIP + 1)
        cite(store, 50 * CLIP, 60 * CLIP)  # ten clips, of which the first minute counts
        cite(store, 65 * CLIP, 66 * CLIP, why="weak match")
        cite(store, 30 * CLIP, 31 * CLIP)  # but too old
        add_look(store, 75 * CLIP + 4.0)
        assert run(keeper_of(store, keep)) == 3
        important = [42, 45, 46, *range(50, 58), 70, 75]
        assert left(store) == [*important, *range(80, 100)]
        append(store, 100, 30)
        run(keeper_of(store, keep))
        assert left(store) == [70, 75, *range(110, 130)]
        assert store.verify() == [] and len(store.objects()) == 1
        append(store, 130, 30)
        run(keeper_of(store, keep))
        assert left(store) == list(range(140, 160))
        assert store.objects() == [] and not list((tmp_path / "a.vidmem" / "crops").rglob("*.jpg"))


def add_look(store: Store, seconds: float) -> None:
    number = store.add_object(A, label="a dog", origin="found")
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    look = Look(seconds, (0.25, 0.25, 0.75, 0.75), (4, 4), encode_mask(mask), b"\xff\xd8crop", OTHER)
    box = np.array([[0.25, 0.25, 0.75, 0.75]] * 2)
    track = Track(np.array([seconds - 1, seconds + 1]), box, np.ones(2))
    store.extend_objects(A, [ObjectUpdate(number, track, [Span(seconds - 1, seconds + 1)], [look])])


def test_what_is_not_important_is_all_that_age_needs_to_know(tmp_path) -> None:
    with begun(tmp_path / "a.vidmem") as store:
        append(store, 0, 50)
        cite(store, 8.0, 9.0)
        run(keeper_of(store, Retention(days=10 * CLIP / DAY)))
        assert left(store) == list(range(40, 50))
        run(keeper_of(store, Retention(days=1 * CLIP / DAY)))
        assert left(store) == list(range(50 - NEWEST, 50)), "the memory is made again from the newest"


def test_what_was_asked_and_told_leaves_with_what_is_important_or_when_it_is_too_much(tmp_path, monkeypatch) -> None:
    def said() -> list[str]:
        return [row.answer.question for row in store.questions(200)]

    with begun(tmp_path / "a.vidmem") as store:
        append(store, 0, 1)
        for number in range(150):
            store.log_question(Answer(str(number), "!", []))
        store._catalogue.connection.execute(
            "UPDATE questions SET asked_at = strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '-' || (150 - question_id) ||"
            " ' days')"
        )
        run(keeper_of(store, Retention()))
        assert len(said()) == 150
        run(keeper_of(store, Retention(days=7, important_days=90.5)))
        assert said() == [str(number) for number in range(59, 150)]
        told(store, 3)
        monkeypatch.setattr(retention, "_SAID", 50)
        run(keeper_of(store, Retention(num_bytes=20 * MB)))
        assert said() == [str(number) for number in range(100, 150)] and len(store.told()) == 3
        monkeypatch.setattr(retention, "_SAID", 2)
        run(keeper_of(store, Retention(num_bytes=20 * MB)))
        assert said() == ["148", "149"] and [one.message for one in store.told()] == ["1", "2"]


def told(store: Store, count: int) -> None:
    """A standing question is told so often."""
    alert = store.add_alert(asked("a dog appears", gone_seconds=2.0, source=None))
    hits = [Hit(A, "rtsp://camera", 0.0, 1.0, 0.9, 1)] * count
    store.note_checked(A, 1.0, {}, [NewTold(alert.alert_id, str(number), hit) for number, hit in enumerate(hits)])


@pytest.mark.parametrize("ahead", [-400 * DAY, 400 * DAY])
def test_a_clock_that_was_wrong_for_a_while_makes_nothing_older(tmp_path, ahead) -> None:
    with begun(tmp_path / "a.vidmem") as store:
        keeper = keeper_of(store, Retention(days=60 * CLIP / DAY))
        append(store, 0, 20)
        append(store, 20, 20, clock_ahead=ahead)
        run(keeper)
        assert left(store) == list(range(40))
        append(store, 40, 20)  # it is set right
        run(keeper)
        assert left(store) == list(range(60))
        append(store, 60, 10)
        run(keeper)
        assert left(store) == list(range(10, 70))


def test_what_is_said_to_a_keeper_that_works_holds_at_once_and_all_is_kept_again(tmp_path) -> None:
    with begun(tmp_path / "a.vidmem") as store:
        append(store, 0, 50)
        keeper = Keeper(store)
        assert keeper.step() is False and left(store) == list(range(50))
        store.set_retention(Retention(days=20 * CLIP / DAY))
        run(keeper)
        assert left(store) == list(range(30, 50))
        store.set_retention(Retention())
        append(store, 50, 50)
        run(keeper)
        assert left(store) == list(range(30, 100))


def test_a_watch_does_a_step_now_and_then_and_all_that_is_due_at_first(tmp_path) -> None:
    with begun(tmp_path / "a.vidmem") as store:
        append(store, 0, 300)
        upkeep = Upkeep(keeper_of(store, Retention(days=20 * CLIP / DAY)))
        done = [upkeep.committed(1) for _ in range(10)]
        assert done == [True] * 6 + [False] * 4 and left(store) == list(range(280, 300))
        append(store, 300, 60)
        assert [upkeep.committed(20) for _ in range(4)] == [False, False, True, True]
        assert left(store) == list(range(340, 360))


def test_a_store_grows_as_info_says(tmp_path) -> None:
    with begun(tmp_path / "a.vidmem") as store:
        for first in range(0, 400, 50):
            append(store, first, 50)
        store._save_index()
        store.shrink()
        keeping, now = keeping_of(store), store.state().total_bytes
        assert keeping is not None and keeping.held_seconds == 400 * CLIP
        for first in range(400, 800, 50):
            append(store, first, 50)
        store._save_index()
        store.shrink()
        predicted = keeping.predicted_bytes(now, hours=400 * CLIP / 3600)
        assert store.state().total_bytes == pytest.approx(predicted, rel=0.02)


def test_the_verb_prunes_and_info_says_what_it_would(tmp_path) -> None:
    path, cli = tmp_path / "a.vidmem", CliRunner()
    with begun(path) as store:
        append(store, 0, 60)
    days = 20 * CLIP / DAY
    assert cli.invoke(app, ["prune", str(path)]).exit_code == 2
    dry = cli.invoke(app, ["prune", str(path), "--keep-days", str(days), "--dry-run", "--json"])
    assert json.loads(dry.stdout)["would_go"]["due_clips"] == 40
    done = cli.invoke(app, ["prune", str(path), "--keep-days", str(days), "--keep-bytes", "20 MB", "--json"])
    pruned = json.loads(done.stdout)["pruned"]
    assert (pruned["clips"], pruned["frames"]) == (40, 80) and pruned["bytes_after"] < 0.6 * pruned["bytes_before"]
    with open_store(path) as memory:
        assert memory.keeping_noted() == Retention(days=days, num_bytes=20 * MB)
        assert memory.verify() == []
        with pytest.raises(BadInput, match="read-only"):
            memory.prune(Retention(days=1))
    again = cli.invoke(app, ["prune", str(path)])  # as was said
    assert again.exit_code == 0 and "0 clips" in again.stdout
    shown = cli.invoke(app, ["info", str(path)]).stdout
    assert "an hour" in shown and "40 clips have left" in shown and "20.0 MB" in shown
    assert cli.invoke(app, ["prune", str(path), "--keep-bytes", "many"]).exit_code == 2
    assert cli.invoke(app, ["prune", str(path), "--keep-bytes", "3MB"]).exit_code == 2
    both = cli.invoke(app, ["watch", "a.mp4", "--store", str(path), "--keep-all", "--keep-days", "3"])
    assert both.exit_code == 2 and "leave it out, or the other" in both.stderr


def test_videos_that_were_ingested_stay(tmp_path) -> None:
    with begun(tmp_path / "a.vidmem") as store:
        store.begin_video(VideoRow(VideoId("b"), "other", "settings", "/b.mp4", "b.mp4"))
        rows = FrameRows(np.arange(2.0), np.stack([STILL, OTHER]), torch.zeros(2, 32, 256).half(), [NOISE] * 2)
        store.append_clip(VideoId("b"), Span(0.0, 2.0), rows)
        append(store, 0, 30)
        pruned = prune(store, Keeper(store), Retention(days=10 * CLIP / DAY))
        assert pruned.clips == 20 and store.video(VideoId("b")).num_frames == 2


@pytest.mark.parametrize(
    "bad",
    [{"days": 0.0}, {"days": math.nan}, {"num_bytes": 5}, {"important_days": 3.0}, {"days": 5, "important_days": 2}],
)
def test_what_can_not_be_kept_is_refused(bad) -> None:
    with pytest.raises(ValueError):
        Retention(**bad)
