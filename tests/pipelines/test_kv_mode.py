"""A store in kv mode: frames are run through the video-LLM once, and questions bring back what it made of them."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import kv_crash as crash
import numpy as np
import pytest
import torch
from conftest import picture, pictures
from test_embedded import world

import vidmem
from vidmem.errors import BadInput, ModelMismatch
from vidmem.index import VideoRow
from vidmem.kv.block import Block
from vidmem.kv.context import Context as KvContext
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import Landmarks, groups, head_keys, landmarks
from vidmem.kv.writer import StreamWriter
from vidmem.models.encoder import FrameEncoder
from vidmem.models.language import Context, VideoLanguageModel
from vidmem.models.preset import load_preset
from vidmem.pipelines import VideoMemory, open_store
from vidmem.pipelines.kv_recall import Inquiry
from vidmem.types import VideoId
from vidmem.world.questions import ask_many
from vidmem.world.scene import Scene
from vidmem.world.script import Script, ScriptConfig

TINY = load_preset("tiny")
WINDOW = 60
"""Tokens that the random model's window holds: less than three of its frames."""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def changed(preset: Path, name: str, *, mode: str = "kv", **kv: object) -> Path:
    """A copy of the random models' preset, beside it, in another mode."""
    settings = "".join(f"{key} = {json.dumps(value)}\n" for key, value in kv.items())
    text = preset.read_text().replace('mode = "tokens"', f'mode = "{mode}"')
    return written(preset.parent, name, f"{text}\n[kv]\n{settings}")


@pytest.fixture(scope="module")
def kv_preset(preset: Path) -> Path:
    return changed(preset, "kv", format="none", window_tokens=WINDOW)


def blocks_of(memory: VideoMemory) -> list[Block]:
    """All committed blocks of the only video."""
    (video,) = memory.videos()
    assert memory._blocks is not None
    held = memory._blocks.of(video).fetch(range(video.num_frames))
    return [held[place] for place in range(video.num_frames)]


def assert_same(ours: Sequence[Block], theirs: Sequence[Block]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.span == other.span and torch.equal(one.positions, other.positions)
        torch.testing.assert_close(one.keys, other.keys, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(one.values, other.values, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, kv_preset: Path, video: Path) -> Iterator[VideoMemory]:
    """A minute, watched in one go by the random models through a window of a few frames."""
    with vidmem.open(tmp_path_factory.mktemp("whole") / "a.vidmem", kv_preset) as memory:
        memory.ingest(video, progress=False)
        yield memory


@pytest.fixture
def store(tmp_path: Path, kv_preset: Path, short_video: Path) -> Path:
    """A closed store of 12 frames."""
    with vidmem.open(tmp_path / "a.vidmem", kv_preset) as memory:
        memory.ingest(short_video, progress=False)
    return tmp_path / "a.vidmem"


def picked(memory: VideoMemory, question: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The places of the frames whose blocks a question is answered from."""
    chosen: list[int] = []
    context = Inquiry.context

    def noted(self: Inquiry, picks: list, gist: list) -> KvContext:
        chosen.extend(pick.frame_index for pick in picks)
        return context(self, picks, gist)

    with monkeypatch.context() as patch:
        patch.setattr(Inquiry, "context", noted)
        memory.ask(question)
    return chosen


# -- the embedded model, end to end --


@pytest.mark.skipif(bool(TINY.missing()), reason="the embedded video-LLM is not here")
def test_a_short_video_is_answered_as_in_tokens_mode_and_again_without_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(ScriptConfig(seed=7 * 10**12 + 1, duration=24.0))
    frames = list(world(script))
    questions = [question.text for question in ask_many(Scene.of(script, list(range(24))), random.Random(5), 5)]
    models = TINY.base.parent / "tiny"
    text = (TINY.base / "tiny.toml").read_text().replace("../tiny/", f"{models}/")
    said = {}
    for mode in ("tokens", "kv"):
        preset = written(tmp_path, mode, text.replace('mode = "kv"', f'mode = "{mode}"') + 'format = "none"\n')
        with vidmem.open(tmp_path / f"{mode}.vidmem", preset) as memory:
            report = memory.ingest(iter(frames), progress=False)
            assert (report.prefill_seconds > 0) == (mode == "kv")
            said[mode] = [memory.ask(question) for question in questions]

    def fail(*args: object) -> None:
        raise AssertionError("a frame was encoded")

    monkeypatch.setattr(FrameEncoder, "encode_frames", fail)
    monkeypatch.setattr(VideoLanguageModel, "encode_frames", fail)
    monkeypatch.setattr(StreamWriter, "write", fail)  # nor is any run through the video-LLM again
    with vidmem.open(tmp_path / "kv.vidmem", create=False, read_only=True) as memory:
        again = [memory.ask(question) for question in questions]
        tiers = {tier.name: tier for tier in memory.state().kv}
    assert len({answer.text for answer in said["kv"]}) > 1
    for kv, tokens, later in zip(said["kv"], said["tokens"], again, strict=True):
        assert kv.text == tokens.text == later.text
        assert [(hit.start, hit.end, hit.why) for hit in kv.evidence] == [
            (hit.start, hit.end, hit.why) for hit in tokens.evidence
        ]
        assert later.evidence == kv.evidence
    assert {name: tier.num_blocks for name, tier in tiers.items()} == {"disk": 24, "accelerator": 24, "ram": 24}
    assert all(tier.num_bytes > 0 for tier in tiers.values())


# -- what is kept, and what is brought back --


def test_every_frame_has_its_block_in_temporal_order(whole: VideoMemory) -> None:
    (video,) = whole.videos()
    blocks, line = blocks_of(whole), whole._timelines.of(video)
    assert [block.span.start for block in blocks] == line.pts_seconds.tolist()
    assert [block.span.end for block in blocks] == line.end_seconds.tolist()
    assert whole._store.blocks_position(video.video_id).num_blocks == video.num_frames == 60
    assert whole._blocks is not None
    assert whole._blocks.of(video).block_tokens == [len(block) for block in blocks]


class Noted(LandmarkIndex):
    """Also holds what was appended."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.rows: list[tuple[bytes, int]] = []

    def append(self, group: Landmarks | None, num_blocks: int) -> None:
        assert group is not None
        self.rows.append((group.to_bytes(), num_blocks))
        super().append(group, num_blocks)


def marks(blocks: Sequence[Block], heads: tuple[tuple[int, ...], ...]) -> bytes:
    return landmarks([head_keys(block, heads) for block in blocks], heads).to_bytes()


@pytest.mark.parametrize("gone", ["", "WHERE first_frame = 0", "WHERE first_frame > 0", "WHERE 1"])
def test_landmarks_are_those_of_the_blocks_and_made_again_where_the_catalogue_has_none(
    store: Path, kv_preset: Path, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidmem.pipelines.kv_blocks.LandmarkIndex", Noted)
    if gone:
        with closing(sqlite3.connect(store / "catalogue.sqlite")) as catalogue:
            assert catalogue.execute(f"DELETE FROM landmarks {gone}").rowcount > 0
            catalogue.commit()
    with vidmem.open(store, kv_preset, read_only=True) as memory:
        assert memory._blocks is not None
        (video,) = memory.videos()
        held = memory._blocks.of(video).landmarks(memory._timelines.of(video))
        assert isinstance(held, Noted) and held.num_frames == 12
        blocks, place = blocks_of(memory), 0
        for data, num_blocks in held.rows:
            assert data == marks(blocks[place : place + num_blocks], held.heads)
            place += num_blocks


def test_landmarks_of_other_heads_than_the_presets_are_made_again(
    store: Path, preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidmem.pipelines.kv_blocks.LandmarkIndex", Noted)
    other = changed(preset, "heads", format="none", window_tokens=WINDOW, heads=[[2, 0], [0, 1]])
    with vidmem.open(store, other, read_only=True) as memory:
        assert memory._blocks is not None
        (video,) = memory.videos()
        held, blocks = memory._blocks.of(video).landmarks(memory._timelines.of(video)), blocks_of(memory)
        assert isinstance(held, Noted) and held.heads == ((2, 0), (0, 1))
        ends = [(first, end) for first, end in groups(12)]
        assert held.rows == [(marks(blocks[first:end], held.heads), end - first) for first, end in ends]
    wrong = changed(preset, "no", heads=[[9, 0]])
    with (
        pytest.raises(BadInput, match="names KV head 0 of layer 9"),
        vidmem.open(store, wrong, read_only=True) as memory,
    ):
        memory.ask("What is this?")
    new = store.with_name("new.vidmem")
    with pytest.raises(BadInput, match="correct it in the preset"), vidmem.open(new, wrong) as memory:
        try:
            memory.ingest(pictures(4), progress=False)
        finally:
            assert memory.videos() == []


@pytest.mark.parametrize("retrieval", ["hybrid", "external", "internal"])
def test_frames_that_a_question_names_are_brought_back_within_the_budget(
    whole: VideoMemory, preset: Path, retrieval: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = changed(preset, retrieval, format="none", window_tokens=WINDOW, retrieval=retrieval)
    with vidmem.open(whole.path, other, read_only=True) as memory:
        (video,) = memory.videos()
        assert memory._blocks is not None
        sizes = memory._blocks.of(video).block_tokens
        for question in ("What was there at 0:40?", "Was there a dog at 0:40 or at 0:07?", "What is this?"):
            places = picked(memory, question, monkeypatch)
            assert len(set(places)) == len(places) < 60
            assert sum(sizes[place] for place in places) <= memory.preset.budget.context_tokens
            if "0:40" in question:
                assert {39, 40, 41} <= set(places)
            if "0:07" in question:
                assert {6, 7, 8} <= set(places)
        places = picked(memory, "What was there between 0:10 and 0:30?", monkeypatch)
        assert sum(10 <= place < 30 for place in places) >= len(places) / 2


def test_the_models_own_queries_choose_other_frames_than_the_encoder(
    whole: VideoMemory, preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {}
    for retrieval in ("hybrid", "external", "internal"):
        other = changed(preset, f"only-{retrieval}", format="none", window_tokens=WINDOW, retrieval=retrieval)
        with vidmem.open(whole.path, other, read_only=True) as memory:
            chosen[retrieval] = set(picked(memory, "When did the dog appear?", monkeypatch))
    assert chosen["internal"] != chosen["external"]
    assert chosen["hybrid"] & chosen["internal"] and chosen["hybrid"] & chosen["external"]


def test_a_question_about_several_videos_is_answered_from_tokens(
    store: Path, kv_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    stream = VideoLanguageModel.stream
    monkeypatch.setattr(
        VideoLanguageModel,
        "stream",
        lambda self, context, *rest: (contexts.append(context), stream(self, context, *rest))[1],
    )
    with vidmem.open(store, kv_preset) as memory:
        memory.ingest(pictures(6), progress=False)
        memory.ask("What is this?")
        assert isinstance(contexts.pop(), Context)
        memory.ask("What is this?", video_ids=[memory.videos()[1].video_id])
        assert not contexts
        assert [tier.num_blocks for tier in memory.state().kv] == [18, 6, 6]


def test_all_times_of_a_video_that_has_hours_are_told_with_them(tmp_path: Path, kv_preset: Path) -> None:
    starts = np.arange(4.0)
    sizes = []
    with vidmem.open(tmp_path / "a.vidmem", kv_preset) as memory:
        for name, seconds in (("short", 3599.0), ("long", 3600.0), ("live", None)):
            row = VideoRow(VideoId(name), name, "settings", name, name)
            with memory._block_stream(memory._store.begin_video(row), seconds) as stream:
                stream.keep([stream.prefill(torch.randn(4, 4, 48), np.stack([starts, starts + 1], axis=1))])
                sizes.append(stream._log.num_tokens())
        cost = memory._models.language.frame_cost
        longer = cost("00:00:00") - cost("00:00")
    assert longer > 0 and sizes[1] == [size + longer for size in sizes[0]] and sizes[2] == sizes[0]


# -- interrupted, killed, read meanwhile --


def test_an_interrupted_ingest_goes_on_in_the_same_window(
    tmp_path: Path, kv_preset: Path, video: Path, whole: VideoMemory
) -> None:
    def interrupt(done: float, total: float | None) -> None:
        raise KeyboardInterrupt

    with vidmem.open(tmp_path / "cut.vidmem", kv_preset) as memory:
        with pytest.raises(KeyboardInterrupt):
            memory.ingest(video, progress=interrupt)
        held = memory.videos()[0].num_frames
        assert 8 <= held < 60  # what was run through the model by then is committed
        assert_same(blocks_of(memory), blocks_of(whole)[:held])
        memory.ingest(video, progress=False)  # in the same process, which has read the first blocks
        assert_same(blocks_of(memory), blocks_of(whole))
        assert memory.ask("What was there at 0:50?").text == whole.ask("What was there at 0:50?").text


@pytest.mark.slow
def test_killed_at_any_step_of_a_clip_leaves_every_committed_one_and_goes_on(
    tmp_path: Path, kv_preset: Path, video: Path, whole: VideoMemory
) -> None:
    processes = crash.context()
    path = tmp_path / "killed.vidmem"
    held = 0
    for step in crash.STEPS:
        process = processes.Process(target=crash.ingest_and_die, args=(str(path), str(kv_preset), str(video), step))
        process.start()
        process.join(250)
        assert process.exitcode == -9
        with vidmem.open(path, kv_preset) as memory:
            num_blocks = memory.videos()[0].num_frames
            assert num_blocks % 8 == 0 and num_blocks < 60  # clips are committed whole, several at once or not
            assert num_blocks > held if step == "committed" else num_blocks >= held
            assert step != "flushed" or num_blocks == held
            assert_same(blocks_of(memory), blocks_of(whole)[:num_blocks])
            assert memory.verify() == []
            held = num_blocks
    with vidmem.open(path, kv_preset) as memory:
        memory.ingest(video, progress=False)
        assert_same(blocks_of(memory), blocks_of(whole))


def test_a_reader_follows_an_ingest_that_goes_on(tmp_path: Path, kv_preset: Path, whole: VideoMemory) -> None:
    seen = []
    with vidmem.open(tmp_path / "a.vidmem", kv_preset) as writer:

        def ask(done: float, total: float | None) -> None:
            reader = readers[0] if readers else vidmem.open(tmp_path / "a.vidmem", kv_preset, read_only=True)
            readers[:] = [reader]
            answer = reader.ask(f"What was there at 0:{int(done) - 1:02d}?")
            assert len(blocks_of(reader)) >= done
            seen.append((done, answer.evidence[0].start))

        readers: list[VideoMemory] = []
        writer.ingest(pictures(30), progress=ask)
        assert_same(blocks_of(readers[0]), blocks_of(writer))
        readers[0].close()
    assert seen == [(8.0, 7.0), (16.0, 15.0), (24.0, 23.0), (30.0, 29.0)]


# -- damage --


def damaged(store: Path, change: object) -> None:
    (segment,) = store.glob("kv/*/*.kv")
    segment.write_bytes(change(segment.read_bytes()))  # type: ignore[operator]


def flipped(data: bytes) -> bytes:
    """A bit of the sixth of twelve blocks is another."""
    place = 65536 + (len(data) - 65536) * 11 // 24
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def halved(data: bytes) -> bytes:
    return data[: 65536 + (len(data) - 65536) // 2]


@pytest.mark.parametrize(
    ("change", "lost", "told"), [(flipped, {5}, "00:05-00:06"), (halved, {6, 7, 8, 9, 10, 11}, "00:06-00:1")]
)
def test_damaged_blocks_are_told_by_time_and_made_again_from_tokens(
    store: Path, kv_preset: Path, change: object, lost: set[int], told: str
) -> None:
    with vidmem.open(store, kv_preset, read_only=True) as memory:
        whole = blocks_of(memory)
        answer = memory.ask("What is this?")
    damaged(store, change)
    with vidmem.open(store, kv_preset, read_only=True) as memory:
        after = memory.ask("What is this?")
        assert after.text and after.evidence == answer.evidence
        (notice,) = memory.notices
        assert told in notice and notice.count(". ") == 1 and "ingest the video anew" in notice
        (video,) = memory.videos()
        assert memory._blocks is not None
        left = memory._blocks.of(video).fetch(range(12))
        assert set(range(12)) - set(left) == lost
        assert_same([left[place] for place in sorted(left)], [whole[place] for place in sorted(left)])
        memory.ask("What is this?")
        assert len(memory.notices) == 1
    with open_store(store) as stored:
        (problem,) = stored.verify()
        assert told in problem


def test_a_log_that_is_gone_is_made_up_for_by_tokens(store: Path, kv_preset: Path) -> None:
    for file in store.glob("kv/*/*"):
        file.unlink()
    with vidmem.open(store, kv_preset) as memory:
        assert memory.ask("What is this?").text
        assert "00:00-its end" in memory.notices[0]


@pytest.mark.usefixtures("one_by_one")
def test_an_ingest_goes_on_behind_damaged_blocks(tmp_path: Path, kv_preset: Path, video: Path) -> None:
    def interrupt(done: float, total: float | None) -> None:
        if done >= 16:
            raise KeyboardInterrupt

    with vidmem.open(tmp_path / "a.vidmem", kv_preset) as memory, pytest.raises(KeyboardInterrupt):
        memory.ingest(video, progress=interrupt)
    damaged(tmp_path / "a.vidmem", lambda data: data[:-200])
    with vidmem.open(tmp_path / "a.vidmem", kv_preset) as memory:
        memory.ingest(video, progress=False)
        (found,) = memory.videos()
        assert memory._blocks is not None
        assert len(memory._blocks.of(found).fetch(range(60))) == 59
        assert "00:15-00:16" in memory.notices[0]
        assert memory.ask("What was there at 0:15?").text


# -- modes and settings --


def test_removing_a_video_frees_its_blocks(store: Path) -> None:
    with open_store(store, read_only=False) as memory:
        assert [tier.num_blocks for tier in memory.state().kv] == [12]
        memory.remove(memory.videos()[0].video_id)
        assert not list((store / "kv").iterdir())
        assert [tier.num_bytes for tier in memory.state().kv] == [0]


def test_a_store_keeps_its_mode_and_refuses_the_other(store: Path, preset: Path, kv_preset: Path) -> None:
    with pytest.raises(ModelMismatch, match="was made with mode 'kv', not 'tokens': open it without --preset"):
        vidmem.open(store, preset)
    text = kv_preset.read_text()
    try:
        kv_preset.write_text(text.replace('mode = "kv"', 'mode = "tokens"'))
        with vidmem.open(store, read_only=True) as memory:
            assert memory.preset.mode == "kv" and memory.ask("What is this?").text
    finally:
        kv_preset.write_text(text)


def test_another_window_or_format_makes_another_video(store: Path, preset: Path, short_video: Path) -> None:
    wider = changed(preset, "wider", format="none", window_tokens=2 * WINDOW)
    packed = changed(preset, "packed", format="int8", window_tokens=WINDOW)
    larger = changed(preset, "larger", format="none", window_tokens=WINDOW, ram_bytes=10**7)
    for other, is_there in ((larger, True), (wider, False), (packed, False)):
        with vidmem.open(store, other) as memory:
            assert memory.ingest(short_video, progress=False).already_there == is_there


def test_packed_blocks_are_smaller_and_answer(tmp_path: Path, store: Path, preset: Path, short_video: Path) -> None:
    plain = sum(file.stat().st_size - 65536 for file in store.glob("kv/*/*.kv"))
    with vidmem.open(tmp_path / "p.vidmem", changed(preset, "int8", format="int8", window_tokens=WINDOW)) as memory:
        memory.ingest(short_video, progress=False)
        assert memory.ask("What was there at 0:05?").text
    assert sum(file.stat().st_size - 65536 for file in (tmp_path / "p.vidmem").glob("kv/*/*.kv")) < 0.6 * plain


def test_a_tier_that_a_block_does_not_fit_into_is_said(tmp_path: Path, preset: Path, short_video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", changed(preset, "small", ram_bytes=1000)) as memory:
        with pytest.raises(BadInput, match="raise its budget"):
            memory.ingest(short_video, progress=False)
        assert memory.videos()[0].num_frames == 0


def test_a_picture_more_alike_is_no_block(tmp_path: Path, kv_preset: Path) -> None:
    """Frames that an ingest drops have neither tokens nor block: places and blocks stay the same."""
    still: list[tuple[float, np.ndarray]] = [(float(second), picture(second // 4)) for second in range(16)]
    with vidmem.open(tmp_path / "a.vidmem", kv_preset) as memory:
        memory.ingest(iter(still), max_similarity=0.99, progress=False)
        starts = [block.span.start for block in blocks_of(memory)]
        assert 4 <= len(starts) < 16 and starts == memory._store.embeddings(memory.videos()[0].video_id)[0].tolist()
