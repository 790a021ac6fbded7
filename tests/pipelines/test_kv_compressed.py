"""A store in kv mode that keeps of each clip only what is new: fewer tokens a frame, and fewer blocks than frames."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import kv_crash as crash
import numpy as np
import pytest
import torch
from conftest import picture, write_video
from test_kv_mode import WINDOW, Noted, changed, damaged, marks

import vidmem
from vidmem.index import LandmarkRow
from vidmem.kv.block import Block
from vidmem.kv.compress import Compression, Seen, compress
from vidmem.kv.context import Context as KvContext
from vidmem.kv.landmarks import Landmarks
from vidmem.kv.tokens import FrameTokens
from vidmem.kv.writer import StreamWriter
from vidmem.pipelines import VideoMemory, open_store
from vidmem.pipelines.kv_blocks import VideoBlocks
from vidmem.pipelines.kv_recall import Inquiry
from vidmem.pipelines.timeline import Timeline
from vidmem.types import format_time

KEPT = 1 / 4
CLIP = 8
"""Frames of a clip."""
QUESTIONS = ("What was there at 0:40?", "What was there between 0:10 and 0:30?", "When did the dog appear?")
WAYS: dict[str, dict[str, object]] = {
    "kept-int2": {"keep_ratio": KEPT, "format": "int2"},
    "absorbed": {"keep_ratio": KEPT, "absorb": True},
    "absorbed-int2": {"keep_ratio": KEPT, "absorb": True, "format": "int2"},
}


def preset_of(preset: Path, name: str) -> Path:
    """The random models' preset with one of the `WAYS`; formats are `none` where they say nothing."""
    settings: dict[str, object] = {"format": "none", "window_tokens": WINDOW, **WAYS[name]}
    return changed(preset, name, **settings)


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def way_preset(preset: Path, way: str) -> Path:
    return preset_of(preset, way)


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory, way_preset: Path, video: Path) -> Iterator[VideoMemory]:
    """A minute of eight clips, watched in one go and stored compressed."""
    with vidmem.open(tmp_path_factory.mktemp("compressed") / "a.vidmem", way_preset) as memory:
        memory.ingest(video, progress=False)
        yield memory


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, preset: Path, video: Path) -> Iterator[VideoMemory]:
    """The same minute, stored as it is."""
    whole_preset = changed(preset, "whole", format="none", window_tokens=WINDOW)
    with vidmem.open(tmp_path_factory.mktemp("whole") / "a.vidmem", whole_preset) as memory:
        memory.ingest(video, progress=False)
        yield memory


def line_of(memory: VideoMemory) -> Timeline:
    (video,) = memory.videos()
    return memory._timelines.of(video)


def stored_of(memory: VideoMemory) -> VideoBlocks:
    assert memory._blocks is not None
    return memory._blocks.of(memory.videos()[0])


def blocks_of(memory: VideoMemory) -> list[Block]:
    """All committed blocks of the only video, by their ids."""
    line = line_of(memory)
    held = stored_of(memory).fetch(range(line.num_blocks))
    return [held[block_id] for block_id in range(line.num_blocks)]


def assert_lawful(memory: VideoMemory) -> None:
    """Each frame has one block, consecutive blocks hold consecutive frames, and none those of two clips."""
    line = line_of(memory)
    ids = line.block_ids.tolist()
    assert len(ids) == len(line) == memory.videos()[0].num_frames
    begins = [ids[place] != ids[place - 1] for place in range(1, len(ids))]
    assert ids[0] == 0 and all(later - earlier in (0, 1) for earlier, later in zip(ids, ids[1:], strict=False))
    assert all(begins[place - 1] for place in range(1, len(ids)) if line.clip_ids[place] != line.clip_ids[place - 1])
    blocks = blocks_of(memory)
    assert memory._store.blocks_position(line.video.video_id).num_blocks == len(blocks) == ids[-1] + 1
    for block_id, block in enumerate(blocks):
        held = [place for place in range(len(line)) if ids[place] == block_id]
        assert (block.span.start, block.span.end) == (line.pts_seconds[held[0]], line.end_seconds[held[-1]])
        assert line.places_in(block_id) == range(held[0], held[-1] + 1)
        assert line.clip_of_block[block_id] == line.clip_ids[held[0]]
    assert memory.verify() == []


def num_marks(memory: VideoMemory, seconds: float) -> int:
    """Tokens of a time mark."""
    language = memory._models.language
    return language.frame_cost(language.label(seconds)) - language.tokens_per_frame


def seen_of(memory: VideoMemory, block: Block) -> Seen:
    """A block, whole or compressed, whose visual tokens are those behind its time mark."""
    return Seen(block, block.positions[0] >= num_marks(memory, block.span.start))


def contexts_of(memory: VideoMemory, question: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], KvContext]:
    """The places of the frames that a question picks, and the context that it is answered from."""
    places: list[int] = []
    contexts: list[KvContext] = []
    context = Inquiry.context

    def noted(self: Inquiry, picks: list, gist: list) -> KvContext:
        places.extend(pick.frame_index for pick in picks)
        contexts.append(context(self, picks, gist))
        return contexts[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Inquiry, "context", noted)
        assert memory.ask(question).text
    return places, contexts[0]


# -- what is stored --


def test_a_clip_keeps_its_part_of_visual_tokens_and_every_frame_its_block(memory: VideoMemory, way: str) -> None:
    assert_lawful(memory)
    line, blocks = line_of(memory), blocks_of(memory)
    assert line.num_blocks == len(line) == 60 if "absorb" not in way else line.num_blocks < len(line)
    visual = [len(block) - num_marks(memory, block.span.start) for block in blocks]
    for clip_id in dict.fromkeys(line.clip_ids):
        of_clip = [count for count, own in zip(visual, line.clip_of_block, strict=True) if own == clip_id]
        num_frames = line.clip_ids.count(clip_id)
        assert sum(of_clip) == round(KEPT * num_frames * memory._store.identity.tokens_per_frame)
        if "absorb" in way:
            assert all(of_clip[1:])
    assert memory.state().disk.num_frames == 60 and memory.state().kv[0].num_blocks == len(blocks)


def test_what_is_stored_is_chosen_of_whole_blocks_that_saw_whole_blocks(
    memory: VideoMemory, whole: VideoMemory, way: str
) -> None:
    """Window and picture before are never the compressed ones: else the choice, or the numbers, would differ."""
    seen = [seen_of(whole, block) for block in blocks_of(whole)]
    config = Compression(KEPT, absorb="absorb" in way)
    expected: list[Block] = []
    for first in range(0, len(seen), CLIP):
        expected += compress(seen[first : first + CLIP], config, before=seen[first - 1] if first else None).blocks
    stored = blocks_of(memory)
    assert [block.span for block in stored] == [block.span for block in expected]
    assert all(torch.equal(one.positions, other.positions) for one, other in zip(stored, expected, strict=True))
    if "int2" not in way:
        for one, other in zip(stored, expected, strict=True):
            torch.testing.assert_close(one.keys, other.keys, atol=1e-3, rtol=1e-3)
            torch.testing.assert_close(one.values, other.values, atol=1e-3, rtol=1e-3)


def test_compressed_blocks_take_fewer_bytes(memory: VideoMemory, whole: VideoMemory, way: str) -> None:
    sizes = [one._store.blocks_position(one.videos()[0].video_id).offset - 65536 for one in (memory, whole)]
    assert sizes[0] < sizes[1] * (0.3 if "int2" in way else 0.9)


def landmarks_of(memory: VideoMemory) -> list[LandmarkRow]:
    return [row for _, row in memory._store.landmarks(memory.videos()[0].video_id)]


def test_landmarks_are_of_all_frames_and_of_whole_blocks(memory: VideoMemory, whole: VideoMemory) -> None:
    rows = landmarks_of(memory)
    assert rows == landmarks_of(whole) and sum(row.num_frames for row in rows) == 60
    assert [row.first_frame for row in rows] == list(range(0, 60, 8))


# -- asking --


@pytest.mark.parametrize("retrieval", ["hybrid", "external", "internal"])
def test_a_chosen_frame_brings_its_block_once_within_the_budget(
    memory: VideoMemory, whole: VideoMemory, preset: Path, way: str, retrieval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"format": "none", "window_tokens": WINDOW, **WAYS[way], "retrieval": retrieval}
    asking = changed(preset, f"{way}-{retrieval}", **settings)
    asking.write_text(asking.read_text().replace("context_tokens = 300", "context_tokens = 120\ngist_elements = 0"))
    with vidmem.open(memory.path, asking, read_only=True) as other:
        line, sizes = line_of(other), stored_of(other).block_tokens
        opening = len(other._models.kv_language.opening)
        for question in QUESTIONS:
            places, context = contexts_of(other, question, monkeypatch)
            block_ids = [int(line.block_ids[place]) for place in places]
            assert len(set(block_ids)) == len(block_ids) < line.num_blocks
            num_tokens = sum(sizes[block_id] for block_id in block_ids)
            assert context.num_tokens == opening + num_tokens
            assert num_tokens <= other.preset.budget.context_tokens == 120
            if "0:40" in question:
                assert {line.block_ids[39], line.block_ids[40], line.block_ids[41]} <= set(block_ids)
            if "0:10" in question:
                assert sum(int(line.block_ids[10]) <= block_id <= line.block_ids[29] for block_id in block_ids) >= (
                    len(block_ids) / 2
                )
            if retrieval == "external":  # what is cited lies in frames, whatever blocks hold them
                ours, theirs = (
                    [(hit.start, hit.end, hit.why, hit.rank) for hit in one.ask(question).evidence]
                    for one in (other, whole)
                )
                assert ours == theirs


def test_more_frames_are_answered_from_than_whole_blocks_would_allow(
    memory: VideoMemory, whole: VideoMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    for name, one in (("compressed", memory), ("whole", whole)):
        line = line_of(one)
        places, _ = contexts_of(one, "Why?", monkeypatch)
        shown[name] = sum(len(line.places_in(int(line.block_ids[place]))) for place in places)
    assert shown["compressed"] > shown["whole"]


def test_a_short_video_is_brought_back_with_all_its_blocks(
    tmp_path: Path, way_preset: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve frames, still but for two changes: whole they would fit in part, compressed all of them do."""
    still = ((float(second), picture(second // 6)) for second in range(12))
    with vidmem.open(tmp_path / "a.vidmem", way_preset) as memory:
        memory.ingest(still, progress=False)
        line = line_of(memory)
        places, _ = contexts_of(memory, "What is this?", monkeypatch)
        assert [int(line.block_ids[place]) for place in places] == list(range(line.num_blocks))
        assert line.num_blocks < 12 if "absorb" in way else line.num_blocks == 12


def test_where_all_blocks_are_there_no_gist_joins_them(
    memory: VideoMemory, preset: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = changed(preset, f"{way}-all", **{"format": "none", "window_tokens": WINDOW, **WAYS[way]})
    asking.write_text(asking.read_text().replace("context_tokens = 300", "context_tokens = 600"))
    with vidmem.open(memory.path, asking, read_only=True) as other:
        assert other.state().long_term.elements > 0
        line = line_of(other)
        places, context = contexts_of(other, "When did the dog appear?", monkeypatch)
        assert [int(line.block_ids[place]) for place in places] == list(range(line.num_blocks))
        opening = len(other._models.kv_language.opening)
        assert context.num_tokens == opening + sum(stored_of(other).block_tokens)


# -- interrupted and killed --


def stop_at(seconds: float) -> Callable[[float, float | None], None]:
    def interrupt(done: float, total: float | None) -> None:
        if done >= seconds:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.usefixtures("one_by_one")
def test_an_interrupted_ingest_goes_on(tmp_path: Path, way_preset: Path, video: Path, memory: VideoMemory) -> None:
    """What was committed stays as it was; behind it every frame has its block, as in an ingest in one go."""
    with vidmem.open(tmp_path / "cut.vidmem", way_preset) as cut:
        with pytest.raises(KeyboardInterrupt):
            cut.ingest(video, progress=stop_at(24))
        assert_lawful(cut)
        before = blocks_of(cut)
        cut.ingest(video, progress=False)  # in the same process, which has read the first blocks
        assert_lawful(cut)
        line, after, uncut = line_of(cut), blocks_of(cut), blocks_of(memory)
        assert len(line) == 60 and line.block_ids[:24].tolist() == line_of(memory).block_ids[:24].tolist()
        for one, other, third in zip(before, after, uncut, strict=False):
            assert torch.equal(one.positions, other.positions) and torch.equal(one.keys, other.keys)
            assert one.span == third.span and torch.equal(one.positions, third.positions)
        assert landmarks_of(cut)[:3] == landmarks_of(memory)[:3] and len(landmarks_of(cut)) == 8
        assert [hit.start for hit in cut.ask(QUESTIONS[0]).evidence] == [
            hit.start for hit in memory.ask(QUESTIONS[0]).evidence
        ]


@pytest.mark.usefixtures("one_by_one")
def test_an_ingest_that_goes_on_tells_what_is_new_against_what_was_kept(
    tmp_path: Path, way_preset: Path, way: str, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Compression(KEPT, absorb="absorb" in way)
    written: list[list[Block]] = []
    write = StreamWriter.write

    def noted(self: StreamWriter, frames: Sequence[FrameTokens]) -> list[Block]:
        written.append(write(self, frames))
        return written[-1]

    with vidmem.open(tmp_path / "cut.vidmem", way_preset) as cut:
        with pytest.raises(KeyboardInterrupt):
            cut.ingest(video, progress=stop_at(24))
        monkeypatch.setattr(StreamWriter, "write", noted)
        with pytest.raises(KeyboardInterrupt):
            cut.ingest(video, progress=stop_at(32))
        line, blocks = line_of(cut), blocks_of(cut)
        first = int(line.block_ids[24])
        clip = [seen_of(cut, block) for block in written[0]]  # the next clip was run as well, and not committed
        expected, from_scratch = (
            [block.positions.tolist() for block in compress(clip, config, before=before).blocks]
            for before in (seen_of(cut, blocks[first - 1]), None)
        )
        assert [block.positions.tolist() for block in blocks[first:]] == expected
        if "absorb" in way:  # a block that is not absorbed may have kept no picture: then all is new, again
            assert expected != from_scratch


@pytest.mark.slow
def test_killed_at_any_step_of_a_clip_leaves_every_committed_one_and_goes_on(
    tmp_path: Path, way_preset: Path, video: Path
) -> None:
    processes = crash.context()
    path = tmp_path / "killed.vidmem"
    held: list[Block] = []
    for step in crash.STEPS:
        process = processes.Process(target=crash.ingest_and_die, args=(str(path), str(way_preset), str(video), step))
        process.start()
        process.join(250)
        assert process.exitcode == -9
        with vidmem.open(path, way_preset) as memory:
            assert_lawful(memory)
            assert memory.videos()[0].num_frames % CLIP == 0
            blocks = blocks_of(memory)
            assert len(blocks) > len(held) if step == "committed" else len(blocks) >= len(held)
            for one, other in zip(held, blocks, strict=False):
                assert one.span == other.span and torch.equal(one.keys, other.keys)
            held = blocks
    with vidmem.open(path, way_preset) as memory:
        memory.ingest(video, progress=False)
        assert_lawful(memory)
        assert memory.videos()[0].num_frames == 60 and memory.ask(QUESTIONS[1]).text


# -- damage --


@pytest.fixture
def still_store(tmp_path: Path, way_preset: Path) -> Path:
    """A closed store of 32 frames in four clips, that change every fourth second."""
    with vidmem.open(tmp_path / "a.vidmem", way_preset) as memory:
        memory.ingest(((float(second), picture(second // 4)) for second in range(32)), progress=False)
    return tmp_path / "a.vidmem"


def test_a_lost_block_is_told_by_all_its_time_and_made_again_no_larger(
    still_store: Path, way_preset: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "What was there at 0:13?"
    with vidmem.open(still_store, way_preset, read_only=True) as memory:
        line = line_of(memory)
        before = [(places, context.num_tokens) for places, context in [contexts_of(memory, question, monkeypatch)]]
        lost = int(line.block_ids[13])
        span, blocks = line.span_of_block(lost), blocks_of(memory)
        assert (span.seconds > 1) == ("absorb" in way)
        record = stored_of(memory)._log._records[lost]
        middle = int(record["offset"]) + 64 + int(record["head_bytes"]) + int(record["body_bytes"]) // 2
    damaged(still_store, lambda data: data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with vidmem.open(still_store, way_preset, read_only=True) as memory:
        after = [(places, context.num_tokens) for places, context in [contexts_of(memory, question, monkeypatch)]]
        assert after == before and lost in line.block_ids[after[0][0]]
        (notice,) = memory.notices
        assert f"{format_time(span.start)}-{format_time(span.end)}" in notice
        left = stored_of(memory).fetch(range(line.num_blocks))
        assert set(range(line.num_blocks)) - set(left) == {lost}
        assert all(torch.equal(block.keys, blocks[block_id].keys) for block_id, block in left.items())
    with open_store(still_store) as stored:
        (problem,) = stored.verify()
        assert format_time(span.start) in problem


def test_a_log_that_is_gone_is_made_up_for_by_tokens(still_store: Path, way_preset: Path) -> None:
    for file in still_store.glob("kv/*/*"):
        file.unlink()
    with vidmem.open(still_store, way_preset) as memory:
        assert memory.ask("What is this?").text
        assert "00:00-its end" in memory.notices[0]


def test_landmarks_that_are_gone_are_made_of_what_the_blocks_still_hold(
    still_store: Path, way_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(still_store / "catalogue.sqlite")) as catalogue:
        assert catalogue.execute("DELETE FROM landmarks WHERE first_frame = 8").rowcount == 1
        catalogue.commit()
    monkeypatch.setattr("vidmem.pipelines.kv_blocks.LandmarkIndex", Noted)
    with vidmem.open(still_store, way_preset, read_only=True) as memory:
        line, blocks = line_of(memory), blocks_of(memory)
        held = stored_of(memory).landmarks(line)
        assert isinstance(held, Noted) and [num_frames for _, num_frames in held.rows] == [8] * 4
        ids = list(dict.fromkeys(line.block_ids[8:16].tolist()))
        made, of_blocks = (
            Landmarks.from_bytes(data, held.heads, blocks[0].keys.shape[3])
            for data in (held.rows[1][0], marks([blocks[block_id] for block_id in ids], held.heads))
        )
        assert made is not None and of_blocks is not None and torch.equal(made.codes, of_blocks.codes)
        firsts = torch.tensor([line.places_in(block_id)[0] - 8 for block_id in ids])
        assert torch.equal(made.owners.long(), firsts[of_blocks.owners.long()])
        assert [data for data, _ in (held.rows[0], *held.rows[2:])] == [row.data for row in landmarks_of(memory)]


@pytest.mark.usefixtures("one_by_one")
def test_an_ingest_goes_on_behind_a_lost_block(tmp_path: Path, way_preset: Path, video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", way_preset) as memory, pytest.raises(KeyboardInterrupt):
        memory.ingest(video, progress=stop_at(16))
    damaged(tmp_path / "a.vidmem", lambda data: data[:-64])
    with vidmem.open(tmp_path / "a.vidmem", way_preset) as memory:
        memory.ingest(video, progress=False)
        line = line_of(memory)
        last = int(line.block_ids[15])
        left = stored_of(memory).fetch(range(line.num_blocks))
        assert set(range(line.num_blocks)) - set(left) == {last}
        assert len(line) == 60 and format_time(line.span_of_block(last).start) in memory.notices[0]
        assert memory.ask("What was there at 0:15?").text


# -- settings, and stores of before --


def test_another_part_kept_makes_another_video(tmp_path: Path, preset: Path, short_video: Path) -> None:
    plain = changed(preset, "plain", format="none", window_tokens=WINDOW)
    with vidmem.open(tmp_path / "a.vidmem", plain) as memory:
        memory.ingest(short_video, progress=False)
    all_kept = changed(preset, "all", format="none", window_tokens=WINDOW, keep_ratio=1.0)
    for name, is_there in (("all", True), ("kept-int2", False), ("absorbed", False)):
        other = all_kept if name == "all" else preset_of(preset, name)
        with vidmem.open(tmp_path / "a.vidmem", other) as memory:
            assert memory.ingest(short_video, progress=False).already_there == is_there
    with open_store(tmp_path / "a.vidmem") as stored:
        assert [video.num_frames for video in stored.videos()] == [12, 12, 12] and stored.verify() == []


def test_what_a_store_holds_is_told_in_blocks_and_frames(
    still_store: Path, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from vidmem.console import print_state

    with open_store(still_store) as stored:
        state = stored.state()
        print_state(state)
    num_blocks = state.kv[0].num_blocks
    assert f"{num_blocks} KV blocks of 32 frames" in capsys.readouterr().out
    assert num_blocks < 32 if "absorb" in way else num_blocks == 32


def test_frames_that_are_dropped_have_no_block(tmp_path: Path, way_preset: Path) -> None:
    """Frames that an ingest itself leaves out are in no block; the time of a block goes on over them."""
    still: list[tuple[float, np.ndarray]] = [(float(second), picture(second // 4)) for second in range(32)]
    with vidmem.open(tmp_path / "a.vidmem", way_preset) as memory:
        memory.ingest(iter(still), max_similarity=0.99, progress=False)
        assert_lawful(memory)
        assert memory.videos()[0].num_frames < 32


def test_a_file_is_compressed_as_pictures_are(tmp_path: Path, way_preset: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", way_preset) as memory:
        memory.ingest(write_video(tmp_path / "nine.mp4", 9), progress=False)  # the last clip has one frame
        assert_lawful(memory)
        assert memory.ask("What was there at 0:08?").evidence[0].start == 8.0
