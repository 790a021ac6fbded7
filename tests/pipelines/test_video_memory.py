from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import picture, pictures
from PIL import Image

import vidmem
from vidmem.errors import BadInput, CorruptMedia, MissingModel, ModelMismatch, NotFound, StoreLocked
from vidmem.models.language import VideoLanguageModel
from vidmem.pipelines import VideoMemory, preset_for


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, preset: Path, video: Path) -> Iterator[VideoMemory]:
    with vidmem.open(tmp_path_factory.mktemp("store") / "a.vidmem", preset) as memory:
        memory.ingest(video, progress=False)
        yield memory


def frames_of(memory: VideoMemory, video_id: str) -> list[float]:
    return memory._store.embeddings(video_id)[0].tolist()


def test_ingest_keeps_one_frame_a_second_and_reports_its_shares(tmp_path: Path, preset: Path, video: Path) -> None:
    seen: list[tuple[float, float | None]] = []
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        report = memory.ingest(video, progress=lambda done, total: seen.append((done, total)))
        assert (report.frames, report.clips, report.already_there, report.resumed_from) == (60, 8, False, 0.0)
        assert report.video_seconds == pytest.approx(60.0)
        assert min(report.decode_seconds, report.encode_seconds, report.memory_seconds, report.store_seconds) > 0
        assert report.speed == pytest.approx(report.video_seconds / report.wall_seconds)
        assert frames_of(memory, report.video_id) == pytest.approx(np.arange(60.0).tolist())
    assert [done for done, _ in seen] == pytest.approx([8, 16, 24, 32, 40, 48, 56, 60])
    assert seen[0][1] == pytest.approx(60.0)


def test_the_same_content_is_recognised_and_other_settings_are_another_video(
    tmp_path: Path, preset: Path, short_video: Path
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        first = memory.ingest(short_video, progress=False)
        renamed = tmp_path / "renamed.mp4"
        renamed.write_bytes(short_video.read_bytes())
        again = memory.ingest(renamed, progress=False)
        assert again.already_there and again.video_id == first.video_id and again.frames == 0
        denser = memory.ingest(short_video, fps=2.0, progress=False)
        assert not denser.already_there and denser.video_id != first.video_id
        assert denser.frames == 24
        assert len(memory.videos()) == 2


def test_what_is_there_is_recognised_without_loading_a_model(tmp_path: Path, preset: Path, short_video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        memory.ingest(short_video, progress=False)
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        assert memory.ingest(short_video, progress=False).already_there
        assert memory._models._encoder is None and memory._models._language is None


@pytest.mark.usefixtures("one_by_one")
def test_an_interrupted_ingest_keeps_its_clips_and_goes_on(tmp_path: Path, preset: Path, video: Path) -> None:
    def interrupt(done: float, total: float | None) -> None:
        if done >= 24:
            raise KeyboardInterrupt

    with vidmem.open(tmp_path / "whole.vidmem", preset) as memory:
        whole = memory.ingest(video, progress=False)
        wanted = memory._store.embeddings(whole.video_id)
        wanted_memory = memory._memories.of(memory.videos()[0]).state_dict()
    with vidmem.open(tmp_path / "cut.vidmem", preset) as memory, pytest.raises(KeyboardInterrupt):
        memory.ingest(video, progress=interrupt)
    with vidmem.open(tmp_path / "cut.vidmem", preset) as memory:
        (begun,) = memory.videos()
        assert not begun.is_finished and begun.committed_until == pytest.approx(24.0)
        assert memory.ask("What was there at 0:03?").evidence
        report = memory.ingest(video, progress=False)
        assert (report.resumed_from, report.frames) == (pytest.approx(24.0), 36)
        pts, embeddings = memory._store.embeddings(report.video_id)
        np.testing.assert_array_equal(pts, wanted[0])
        np.testing.assert_allclose(embeddings, wanted[1], atol=1e-6)
        assert memory.videos()[0].is_finished
        given = memory._memories.of(memory.videos()[0]).state_dict()
        assert given.keys() == wanted_memory.keys()
        for name in given:
            if not name.endswith(("usage", "life")):  # a question was asked in between
                np.testing.assert_allclose(given[name], wanted_memory[name], atol=1e-2)


def test_a_memory_is_the_same_after_reopening(tmp_path: Path, preset: Path, video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        memory.ingest(video, progress=False)
        before = memory.state()
    with vidmem.open(tmp_path / "a.vidmem", None, create=False) as memory:
        after = memory.state()
        assert (after.sensory, after.working, after.long_term) == (before.sensory, before.working, before.long_term)
        assert after.videos[0].memory == before.videos[0].memory


def test_a_store_is_opened_with_its_own_preset_unless_another_is_named(tmp_path: Path, preset: Path) -> None:
    vidmem.open(tmp_path / "a.vidmem", preset).close()
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        assert memory.preset.origin == str(preset) == preset_for(tmp_path / "a.vidmem").origin
    assert preset_for(tmp_path / "new.vidmem").name == "tiny"
    with pytest.raises(ModelMismatch, match="without --preset"):
        vidmem.open(tmp_path / "a.vidmem", "tiny")


def test_an_empty_folder_becomes_a_store(tmp_path: Path, preset: Path) -> None:
    with vidmem.open(tmp_path, preset) as memory:
        assert memory.videos() == []


def test_iterables_are_ingested_and_each_is_another_video(tmp_path: Path, preset: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        ids = {memory.ingest(pictures(10), progress=False).video_id for _ in range(2)}
        assert len(ids) == len(memory.videos()) == 2
        assert all(memory.ask("What is this?", video_ids=[video_id]).evidence for video_id in ids)


def test_an_answer_streams_with_evidence_and_timings(filled: VideoMemory) -> None:
    stream = filled.ask_stream("When did the dog appear?")
    assert stream.evidence
    pieces = list(stream)
    answer = stream.result
    assert answer.text == "".join(pieces).strip()
    assert set(answer.timings) == {"embed", "recall", "context", "first_token", "total"}
    assert answer.timings["total"] >= answer.timings["first_token"] > 0
    hit = answer.evidence[0]
    assert hit.rank == 1 and hit.modality == "visual" and hit.verification == "unverified"
    assert "a dog" in hit.why and 0 <= hit.start < hit.end <= 60.2
    assert hit.thumbnail is not None
    with Image.open(hit.thumbnail) as image:
        assert image.size == (160, 96)
    assert [entry.rank for entry in answer.evidence] == list(range(1, len(answer.evidence) + 1)) and len(
        answer.evidence
    ) <= 5
    assert filled.ask("When did the dog appear?").text == answer.text


def test_evidence_of_a_named_time_is_that_frame_in_its_store(filled: VideoMemory) -> None:
    early, recent, newest = (filled.ask(f"What was there at 00:{second:02d}?").evidence[0] for second in (3, 45, 58))
    assert [early.start, recent.start, newest.start] == pytest.approx([3.0, 45.0, 58.0])
    assert [early.store, recent.store, newest.store] == ["long-term", "working", "sensory"]
    assert early.thumbnail is not None
    shown = np.asarray(Image.open(early.thumbnail), dtype=float)
    assert np.abs(shown - picture(3)).mean() < 12


def test_a_time_beyond_the_end_is_answered_by_memory_itself(filled: VideoMemory) -> None:
    for question in ("What was there at 12:34?", "Was there a dog between 12:34 and 13:00?"):
        answer = filled.ask(question)
        assert answer.text == "Nothing is in memory at 12:34: it ends at 01:00." and not answer.evidence


def test_loading_the_models_is_no_part_of_an_answers_time(
    tmp_path: Path, preset: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        memory.ingest(short_video, progress=False)
    load = VideoLanguageModel.load
    monkeypatch.setattr(VideoLanguageModel, "load", lambda *given, **named: (time.sleep(30), load(*given, **named))[1])
    slept: list[float] = []
    clock = time.perf_counter
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + sum(slept))
    with vidmem.open(tmp_path / "a.vidmem", preset, read_only=True) as memory:
        assert memory.ask("What was there at 12:34?").text.startswith("Nothing is in memory")
        assert memory._models._encoder is None and memory._models._language is None
        first, second = (memory.ask("Was there a dog?").timings for _ in range(2))
    assert first["load"] > 30 > first["total"] >= first["first_token"]
    assert 30 > first["recall"] + first["context"] > 0
    assert "load" not in second


def test_what_is_asked_about_counts_as_read(filled: VideoMemory) -> None:
    memory = filled._memories.of(filled.videos()[0])
    before = memory.working.elements.usage.sum().item()
    filled.ask("What was there at 0:55?")
    assert memory.working.elements.usage.sum().item() == pytest.approx(before + 1)


def test_the_models_context_stays_in_budget_and_in_temporal_order(
    filled: VideoMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    stream = VideoLanguageModel.stream
    monkeypatch.setattr(
        VideoLanguageModel,
        "stream",
        lambda self, context, *rest: (contexts.append(context), stream(self, context, *rest))[1],
    )
    questions = ("When did the dog appear?", "What came after 0:20?", "Was there a cat between 0:10 and 0:30?", "Why?")
    for question in questions:
        filled.ask(question)
        labels = [frame.time_label for frame in contexts[-1].frames]
        assert labels == sorted(labels)
        language = filled._models.language
        assert sum(map(language.frame_cost, labels)) <= filled.preset.budget.context_tokens
        assert len(labels) > (10 if question == "Why?" else 3)  # what names nothing is answered from all over


def test_a_short_video_is_given_whole(
    tmp_path: Path, preset: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    stream = VideoLanguageModel.stream
    monkeypatch.setattr(
        VideoLanguageModel,
        "stream",
        lambda self, context, *rest: (contexts.append(context), stream(self, context, *rest))[1],
    )
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        memory.ingest(short_video, progress=False)
        memory.ask("Which thing moved?")
        assert [frame.time_label for frame in contexts[0].frames] == [f"00:{second:02d}" for second in range(12)]


def test_search_finds_the_frame_most_like_the_words(filled: VideoMemory) -> None:
    pts, embeddings = filled._store.embeddings(filled.videos()[0].video_id)
    query = filled._models.encoder.encode_text(["a red square"])[0].numpy()
    best = int((embeddings @ query).argmax())
    single = filled.search("a red square", k=4, merge=False)
    assert [hit.rank for hit in single] == [1, 2, 3, 4]
    assert single[0].start == pytest.approx(pts[best]) and single[0].score == pytest.approx(
        float(embeddings[best] @ query), abs=1e-3
    )
    merged = filled.search("a red square", k=1)
    assert merged[0].start <= single[0].start < merged[0].end


def test_questions_are_logged(filled: VideoMemory) -> None:
    answer = filled.ask("Where was the cup?")
    logged = filled._store.questions()[-1].answer
    assert (logged.question, logged.text) == (answer.question, answer.text)


def test_state_is_one_json_document(filled: VideoMemory) -> None:
    state = filled.state()
    json.dumps(asdict(state))
    assert state.working.elements == 26 and state.sensory.elements == 8 and state.long_term.elements > 0
    assert state.videos[0].frames == state.disk.num_frames == 60
    assert state.disk.total_bytes > 0 and state.long_term.bytes > 0


def test_only_the_asked_videos_answer(tmp_path: Path, preset: Path, video: Path, short_video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        long = memory.ingest(video, progress=False).video_id
        short = memory.ingest(short_video, progress=False).video_id
        for video_id in (long, short):
            assert {hit.video_id for hit in memory.search("a dog", video_ids=[video_id])} == {video_id}
            assert {hit.video_id for hit in memory.ask("Where was a dog?", video_ids=[video_id]).evidence} == {video_id}
        assert {hit.video_id for hit in memory.ask("What was there at 0:05?").evidence} == {long, short}
        with pytest.raises(NotFound):
            memory.ask("Where?", video_ids=["nonesuch"])


def test_readers_ask_while_a_writer_is_open(tmp_path: Path, preset: Path, short_video: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as writer:
        writer.ingest(short_video, progress=False)
        with vidmem.open(tmp_path / "a.vidmem", preset, read_only=True) as reader:
            assert reader.ask("Was there a dog?").evidence
            with pytest.raises(BadInput, match="read-only"):
                reader.ingest(short_video)
        with pytest.raises(StoreLocked):
            vidmem.open(tmp_path / "a.vidmem", preset)


@pytest.mark.parametrize("setting", [{"max_similarity": value} for value in (-0.1, 1.1, float("nan"))] + [{"fps": 0.0}])
def test_settings_that_mean_nothing_are_refused(
    filled: VideoMemory, short_video: Path, setting: dict[str, float]
) -> None:
    with pytest.raises(BadInput, match="give --"):
        filled.ingest(short_video, progress=False, **setting)
    assert len(filled.videos()) == 1


def test_an_empty_question_is_refused(filled: VideoMemory) -> None:
    for empty in ("", "  \n"):
        with pytest.raises(BadInput, match="empty"):
            filled.ask(empty)
        with pytest.raises(BadInput, match="empty"):
            filled.search(empty)


def test_a_question_longer_than_the_models_context_is_refused(filled: VideoMemory) -> None:
    with pytest.raises(BadInput, match="shorten the question"):
        filled.ask("dog and cat " * 5000)


def test_a_stream_that_is_closed_ends_with_what_was_said(filled: VideoMemory) -> None:
    stream = filled.ask_stream("Where was the cup?")
    said = next(stream)
    stream.close()
    assert stream.result.text == said.strip()


def test_an_error_of_the_model_is_no_half_answer(filled: VideoMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: VideoLanguageModel, *_: object) -> Iterator[str]:
        yield "half"
        raise RuntimeError("out of memory")

    monkeypatch.setattr(VideoLanguageModel, "stream", failing)
    stream = filled.ask_stream("Where was the cup?")
    assert next(stream) == "half"
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            _ = stream.result


def test_an_empty_store_says_what_to_do(tmp_path: Path, preset: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory, pytest.raises(NotFound, match="nothing is ingested yet"):
        memory.ask("Was there a dog?")


def test_bad_videos_leave_the_store_as_it_was(tmp_path: Path, preset: Path, video: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a video at all")
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        for name, kind in (
            ("none.mp4", NotFound),
            ("empty.mp4", BadInput),
            ("text.mp4", BadInput),
            ("cut.mp4", BadInput),
        ):
            with pytest.raises(kind):
                memory.ingest(tmp_path / name, progress=False)
        assert memory.videos() == [] and memory.state().disk.num_frames == 0
        with pytest.raises(CorruptMedia, match="partial") as raised:
            memory.ingest(tmp_path / "cut.mp4", progress=False)
        report = memory.ingest(tmp_path / "cut.mp4", partial=True, progress=False)
        assert 5 < report.video_seconds < 55
        assert report.video_seconds == pytest.approx(raised.value.decoded_until)


def test_a_cut_file_is_refused_again_and_again_after_an_interrupted_ingest(
    tmp_path: Path, preset: Path, video: Path
) -> None:
    def interrupt(done: float, total: float | None) -> None:
        raise KeyboardInterrupt

    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        with pytest.raises(KeyboardInterrupt):
            memory.ingest(cut, progress=interrupt)
        for _ in range(3):
            with pytest.raises(CorruptMedia, match="cut off"):
                memory.ingest(cut, progress=False)
            assert not memory.videos()[0].is_finished
        memory.ingest(cut, partial=True, progress=False)
        assert memory.videos()[0].is_finished


def test_a_store_of_other_models_is_refused(tmp_path: Path, preset: Path) -> None:
    from random_models import write_preset

    vidmem.open(tmp_path / "a.vidmem", preset).close()
    (tmp_path / "other").mkdir()
    other = write_preset(tmp_path / "other")
    (tmp_path / "other" / "clip" / "extra.json").write_text("{}")
    with pytest.raises(ModelMismatch):
        vidmem.open(tmp_path / "a.vidmem", other)
    with vidmem.open(tmp_path / "b.vidmem", other) as memory:
        with pytest.raises(ModelMismatch):
            memory.another(tmp_path / "a.vidmem")
        with memory.another(tmp_path / "c.vidmem") as beside:
            assert beside._models is memory._models and beside.preset.origin == str(other)
        with pytest.raises(ValueError, match="goes with no models"):
            VideoMemory.open(tmp_path / "d.vidmem", other, models=memory._models)
    assert not (tmp_path / "d.vidmem").exists()


def test_nothing_there_is_not_made_when_it_should_not_be(tmp_path: Path, preset: Path) -> None:
    with pytest.raises(NotFound):
        vidmem.open(tmp_path / "none.vidmem", preset, create=False)
    with pytest.raises(MissingModel):
        vidmem.open(tmp_path / "none.vidmem", "base")
    assert not (tmp_path / "none.vidmem").exists()


@pytest.mark.parametrize("setting", ['policy = "nonesuch"', "policy_options = { nonesuch = 1 }", "max_elements = 0"])
def test_a_preset_with_a_wrong_memory_is_refused_before_a_store_is_made(
    tmp_path: Path, preset: Path, setting: str
) -> None:
    wrong = preset.with_name("wrong.toml")
    wrong.write_text(f"{preset.read_text()}\n[memory]\n{setting}\n")
    with pytest.raises(BadInput, match=r"wrong \[memory\]"):
        vidmem.open(tmp_path / "a.vidmem", wrong)
    assert not (tmp_path / "a.vidmem").exists()
