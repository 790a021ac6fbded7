"""Questions to stores that hold objects: what tracks say is evidence, and the answer where they know it all.

The embedded encoder looks; the video-LLM beside it is random, so that a right sentence is the track's.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from object_truth import follow, things_of
from random_models import write_llava
from test_embedded import UNSEEN, world

import vidmem
from vidmem.index import ObjectId
from vidmem.models.language import Context
from vidmem.models.preset import load_preset
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.kv_recall import Inquiry
from vidmem.pipelines.planning import Pick
from vidmem.types import Answer, Span, VideoId, format_time
from vidmem.world.answers import Facts, Question, is_right
from vidmem.world.script import Script, ScriptConfig, Stay
from vidmem.world.words import a, noun

SCRIPT = Script(ScriptConfig(seed=UNSEEN + 20, duration=60.0))
"""A panda comes twice, to two places; so does a clock, which moves; there is an apple from 13 s to 18 s."""
COPIES = Script(ScriptConfig(seed=UNSEEN + 23, duration=60.0))
"""Three bicycles at once, on the left, on the right and at the top."""
THINGS = things_of(SCRIPT)
TINY = load_preset("tiny")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    write_llava(folder / "llava", image_size=112)
    clip = (TINY.base / TINY.encoder.model).resolve()
    path = folder / "p.toml"
    path.write_text(
        f'mode = "tokens"\ndevice = "cpu"\n[encoder]\nmodel = "{clip}"\n'
        f"relevance_floor = {TINY.encoder.relevance_floor}\n"
        '[language]\nmodel = "./llava"\nmax_new_tokens = 2\n[budget]\ncontext_tokens = 800\ngist_elements = 0\n'
    )
    return path


@pytest.fixture(scope="module")
def all_followed(tmp_path_factory: pytest.TempPathFactory, seeing: Path) -> Iterator[VideoMemory]:
    with vidmem.open(tmp_path_factory.mktemp("all") / "a.vidmem", seeing) as memory:
        video_id = memory.ingest(world(SCRIPT), progress=False).video_id
        for stays in THINGS.values():
            follow(memory, SCRIPT, video_id, stays)
        yield memory


@pytest.fixture
def bare(tmp_path: Path, seeing: Path) -> Iterator[VideoMemory]:
    """The same video without objects."""
    with vidmem.open(tmp_path / "a.vidmem", seeing) as memory:
        memory.ingest(world(SCRIPT), progress=False)
        yield memory


def only_video(memory: VideoMemory) -> VideoId:
    (video,) = memory.videos()
    return video.video_id


def is_said(answer: Answer, thing: str) -> bool:
    """Whether a track said it: a random model does not speak so."""
    return answer.text.startswith(f"The {noun(thing)} was ")


def check(kind: str, facts: Facts, answer: Answer) -> None:
    question = Question(kind, answer.question, "", facts, Span(0, 1))  # type: ignore[arg-type]
    assert is_right(question, answer.text), f"{answer.question} {answer.text}"


def told_seconds(answer: Answer) -> float:
    found = re.search(r"was there for ([\d.]+) s\b", answer.text)
    assert found, answer.text
    return float(found[1])


@pytest.mark.parametrize("stays", THINGS.values(), ids=lambda stays: stays[0].thing)
def test_answers_are_what_is_true_of_each_thing(all_followed: VideoMemory, stays: list[Stay]) -> None:
    thing, last = stays[0].thing, stays[-1]
    place = last.moves_to or last.place
    for text in (f"Where was the {noun(thing)} last seen?", f"Where did I leave my {noun(thing)}?"):
        answer = all_followed.ask(text)
        assert is_said(answer, thing)
        check("where", Facts(places=(place,), seconds=last.span.end), answer)
        assert f"last {format_time(answer.evidence[0].end)} " in answer.evidence[0].why
    check("when", Facts(seconds=last.span.end), all_followed.ask(f"When was the {noun(thing)} last seen?"))
    check("how many", Facts(number=len(stays)), all_followed.ask(f"How often was the {noun(thing)} there?"))
    seconds = sum(stay.span.seconds for stay in stays)
    assert told_seconds(all_followed.ask(f"How long was the {noun(thing)} there?")) == pytest.approx(
        seconds, abs=0.5 + 0.4 * len(stays)
    )


@pytest.mark.parametrize(("start", "end"), [(0, 20), (15, 33), (12, 50), (34, 60)])
def test_a_stretch_that_is_named_bounds_what_is_told(all_followed: VideoMemory, start: int, end: int) -> None:
    for (thing, _), stays in THINGS.items():
        inside = [min(stay.span.end, end) - max(stay.span.start, start) for stay in stays]
        inside = [seconds for seconds in inside if seconds > 0]
        answer = all_followed.ask(
            f"How long was the {noun(thing)} there between {format_time(start)} and {format_time(end)}?"
        )
        if not inside:
            assert not is_said(answer, thing)
        elif min(inside) > 0.3:
            assert told_seconds(answer) == pytest.approx(sum(inside), abs=0.5 + 0.4 * len(inside))
            assert all(start <= hit.start and hit.end <= end for hit in answer.evidence if "track" in hit.why)


@pytest.mark.parametrize("second", range(1, 60, 8))
def test_the_place_at_a_moment_is_the_track_s(all_followed: VideoMemory, second: int) -> None:
    for (thing, _), stays in THINGS.items():
        places = [place for stay in stays if (place := stay.place_at(second)) is not None]
        answer = all_followed.ask(f"Where was the {noun(thing)} at {format_time(second)}?")
        if places:
            check("where", Facts(places=(places[0],), seconds=float(second)), answer)
            assert answer.evidence[0].start <= second < answer.evidence[0].end
        elif not any(stay.span.start - 1.2 < second < stay.span.end + 1.2 for stay in stays):
            assert not is_said(answer, thing)
            assert not any("its track" in hit.why for hit in answer.evidence)


def test_what_a_track_says_comes_first_with_its_source_and_a_picture(all_followed: VideoMemory) -> None:
    answer = all_followed.ask("How often did the panda come?")
    stays = THINGS["panda", 0]
    for hit, stay in zip(answer.evidence, stays, strict=False):
        assert (hit.start, hit.end) == (
            pytest.approx(stay.span.start, abs=0.21),
            pytest.approx(stay.span.end, abs=0.21),
        )
        assert hit.why == "object 4, a panda: seen 14 s in 2 stretches, last 00:35 at the top (its track)"
        assert hit.modality == "visual" and hit.thumbnail is not None and "crops" in hit.thumbnail
        assert Path(hit.thumbnail).read_bytes().startswith(b"\xff\xd8")
    assert [hit.rank for hit in answer.evidence] == list(range(1, len(answer.evidence) + 1))
    (look,) = all_followed._store.looks_of(ObjectId(4))
    query = all_followed._models.encoder.encode_text(["a panda"])[0].cpu().numpy()
    assert answer.evidence[0].score == pytest.approx(float(query @ look.embedding), abs=1e-3)
    logged = all_followed._store.questions()[-1].answer
    assert json.dumps(asdict(logged)) == json.dumps(asdict(replace(answer, evidence=list(answer.evidence))))
    assert set(answer.timings) == {"embed", "recall", "context", "first_token", "total"}


def test_what_a_track_answers_loads_no_video_llm(all_followed: VideoMemory, seeing: Path) -> None:
    with vidmem.open(all_followed.path, seeing, read_only=True) as memory:
        answer = memory.ask("How often did the panda come?")
        assert is_said(answer, "panda") and answer.timings["load"] > 0
        assert memory._models._language is None
        assert memory.ask("What came after the panda?").timings["load"] > 0
        assert memory._models._language is not None


def damage(memory: VideoMemory, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(memory.path / "catalogue.sqlite")) as catalogue, catalogue:
        for statement in statements:
            assert catalogue.execute(statement).rowcount == 1


def test_a_question_goes_on_without_a_damaged_track_and_says_so_once(bare: VideoMemory) -> None:
    for thing in ("apple", "panda"):
        follow(bare, SCRIPT, only_video(bare), THINGS[thing, 0])
    (apple,) = (one.object_id for one in bare.objects() if one.label == "apple")
    assert is_said(bare.ask("How long was the apple there?"), "apple") and not bare.notices
    damage(bare, f"UPDATE object_pieces SET data = zeroblob(length(data)) WHERE object_id = {apple}")
    for _ in range(2):
        answer = bare.ask("Where was the apple last seen?")
        assert answer.text and not is_said(answer, "apple")
        assert not any("its track" in hit.why for hit in answer.evidence)
        assert is_said(bare.ask("Where was the panda last seen?"), "panda")
    (said,) = bare.notices
    assert said.startswith(f"The track of object {apple} in ") and "is damaged" in said
    seen = bare.where("the apple")
    assert seen is not None and seen.from_track and (seen.place, seen.box) == (None, None)
    assert seen.last_seen == pytest.approx(THINGS["apple", 0][-1].span.end, abs=0.21)
    assert bare.verify() == [f"Object {apple} is damaged at 00:00: remove it and track it again."]
    follow(bare, SCRIPT, only_video(bare), THINGS["apple", 0])
    answer = bare.ask("Where was the apple last seen?")
    assert not is_said(answer, "apple"), "what is damaged may have been seen later"
    assert any("an apple: seen" in hit.why for hit in answer.evidence)
    assert bare.notices == [said]


def test_names_still_find_objects_where_a_look_is_damaged(bare: VideoMemory) -> None:
    for thing in ("apple", "panda"):
        follow(bare, SCRIPT, only_video(bare), THINGS[thing, 0])
    damage(bare, "UPDATE look_embeddings SET vector = zeroblob(length(vector)) WHERE look_id = 1")
    for thing in ("apple", "panda"):
        assert is_said(bare.ask(f"Where was the {thing} last seen?"), thing)
    (said,) = bare.notices
    assert "damaged embeddings" in said and said.endswith("by their names alone.")


@pytest.mark.parametrize(
    "question",
    [
        "What came after the panda?",
        "How many pandas were there?",
        "Was there a panda?",
        "What was there at 0:12?",
        "Which thing changed its place?",
        "Where was the elephant?",
        "How long was the elephant there?",
        "How long was it night?",
        "",
    ],
)
def test_questions_about_something_else_bring_back_what_they_did(bare: VideoMemory, question: str) -> None:
    (video,) = bare.videos()
    before = bare._recall.recall(question, [video])
    for stays in THINGS.values():
        follow(bare, SCRIPT, video.video_id, stays)
    after = bare._recall.recall(question, [video])
    assert after.evidence == before.evidence
    assert isinstance(before.context, Context) and isinstance(after.context, Context)
    for one, other in zip(before.context.frames, after.context.frames, strict=True):
        assert one.time_label == other.time_label and torch.equal(one.tokens, other.tokens)


@pytest.mark.parametrize(
    "question",
    ["How many times did the panda move?", "How long was the panda next to the apple?", "Where is a panda from?"],
)
def test_what_no_track_knows_is_asked_of_the_model_with_the_track_as_evidence(
    all_followed: VideoMemory, question: str
) -> None:
    answer = all_followed.ask(question)
    assert not is_said(answer, "panda") and answer.text
    assert answer.evidence[0].why.startswith("object 4, a panda: ")


def test_things_that_were_there_at_once_are_told_apart(tmp_path: Path, seeing: Path) -> None:
    with vidmem.open(tmp_path / "a.vidmem", seeing) as memory:
        video_id = memory.ingest(world(COPIES), progress=False).video_id
        copies = {
            follow(memory, COPIES, video_id, stays): stays[0]
            for (thing, _), stays in things_of(COPIES).items()
            if thing == "bicycle"
        }
        assert len(copies) == 3
        where = memory.ask("Where was the bicycle last seen?")
        long = memory.ask("How long was the bicycle there?")
        for object_id, stay in copies.items():
            (sentence,) = re.findall(rf"Object {object_id} \(bicycle\) was last seen ([^.]*)\.", where.text)
            assert stay.place in sentence
            (seconds,) = re.findall(rf"Object {object_id} \(bicycle\) was there for ([\d.]+) s:", long.text)
            assert float(seconds) == pytest.approx(stay.span.seconds, abs=0.4)
        assert {hit.why.split(",")[0] for hit in where.evidence} == {f"object {number}" for number in copies}
        assert not memory.ask("Where was the bicycle at 0:20?").text.startswith("The bicycle")


def test_one_thing_that_was_lost_and_found_again_is_told_as_one(bare: VideoMemory) -> None:
    stays = THINGS["panda", 0]
    follow(bare, SCRIPT, only_video(bare), stays[:1], end=29.0)
    follow(bare, SCRIPT, only_video(bare), stays[1:], start=29.0)
    answer = bare.ask("How many times was the panda there?")
    assert answer.text == "The panda was there 2 times: 00:11-00:19 and 00:30-00:35."
    check("where", Facts(places=("top",)), bare.ask("Where was the panda?"))


def test_a_track_says_how_far_it_goes(bare: VideoMemory) -> None:
    (video,) = bare.videos()
    follow(bare, SCRIPT, video.video_id, THINGS["apple", 0], end=40.0)
    answer = bare.ask("How long was the apple there?")
    assert answer.text.endswith("It was tracked until 00:39.") and told_seconds(answer) == pytest.approx(5.3, abs=0.5)
    assert answer.evidence[0].why.endswith("(its track until 00:39)")
    within = bare.ask("How long was the apple there between 0:10 and 0:30?")
    assert "tracked" not in within.text and told_seconds(within) == told_seconds(answer)


def test_a_track_that_ends_before_what_looks_so_leaves_the_answer_to_the_model(bare: VideoMemory) -> None:
    """A clock is seen again long after the tracker stopped: "last seen" is not for the track to say."""
    clocks = THINGS["clock", 0]
    follow(bare, SCRIPT, only_video(bare), clocks, end=30.0)
    answer = bare.ask("Where was the clock last seen?")
    assert not is_said(answer, "clock")
    assert answer.evidence[0].why.endswith("last 00:24 on the left (its track until 00:29)")
    assert any(hit.why == "looks like 'a clock'" and hit.start > 40 for hit in answer.evidence)
    assert is_said(bare.ask("Where was the clock between 0:10 and 0:29?"), "clock")


def test_an_object_without_a_name_is_evidence_by_its_looks_alone(bare: VideoMemory) -> None:
    (stays,) = (stays for (thing, _), stays in THINGS.items() if thing == "apple")
    follow(bare, SCRIPT, only_video(bare), stays, label="")
    answer = bare.ask("How long was the apple there?")
    assert not is_said(answer, "apple")
    assert answer.evidence[0].why.startswith("object 1, which looks like 'an apple': seen 5.4 s")
    bare._store.label_object(ObjectId(1), "pear")
    assert not any("its track" in hit.why for hit in bare.ask("How long was the apple there?").evidence)
    bare._store.label_object(ObjectId(1), "apples")
    assert is_said(bare.ask("How long was the apple there?"), "apples")


def test_a_video_that_is_chosen_bounds_what_is_told(tmp_path: Path, seeing: Path) -> None:
    other = Script(ScriptConfig(seed=UNSEEN + 24, duration=20.0))
    mushroom = things_of(other)["mushroom", 0]
    with vidmem.open(tmp_path / "a.vidmem", seeing) as memory:
        first = memory.ingest(world(SCRIPT), progress=False).video_id
        second = memory.ingest(world(other), progress=False).video_id
        follow(memory, SCRIPT, first, THINGS["apple", 0], label="fruit bowl")
        follow(memory, other, second, mushroom, label="fruit bowl")
        names = [video.name for video in memory.videos()]
        alone = [memory.ask("Where was the fruit bowl?", video_ids=[one]) for one in (first, second)]
        check("where", Facts(places=("middle",)), alone[0])
        check("where", Facts(places=("right",)), alone[1])
        both = memory.ask("How often was the fruit bowl there?").text
        assert both.count("fruit bowl was there once") == 2 and all(f"{name}: The" in both for name in names)
        last = memory.ask("Where was the fruit bowl?")
        assert last.text == f"{names[1]}: {alone[1].text}"
        assert {hit.video_id for hit in last.evidence if "its track" in hit.why} == {first, second}


def test_an_object_that_was_removed_says_nothing(bare: VideoMemory) -> None:
    question = "How long was the apple there?"
    (video,) = bare.videos()
    before = bare._recall.recall(question, [video]).evidence
    object_id = follow(bare, SCRIPT, video.video_id, THINGS["apple", 0])
    assert is_said(bare.ask(question), "apple")
    bare._store.remove_object(object_id)
    assert bare._recall.recall(question, [video]).evidence == before


def test_objects_without_a_track_or_a_look_are_no_trouble(bare: VideoMemory) -> None:
    question = "How long was the apple there?"
    (video,) = bare.videos()
    before = bare._recall.recall(question, [video]).evidence
    bare._store.add_object(video.video_id, label="apple", label_score=1.0, origin="asked")
    assert bare._recall.recall(question, [video]).evidence == before


def shown_places(memory: VideoMemory, question: str, monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The seconds whose frames a context of few frames shows, in either mode; a frame is a second here."""
    memory._recall._config = replace(memory._recall._config, context_tokens=120)
    taken: list[Pick] = []
    context = Inquiry.context
    monkeypatch.setattr(
        Inquiry, "context", lambda self, picks, gist: (taken.extend(picks), context(self, picks, gist))[1]
    )
    recalled = memory._recall.recall(question, memory.videos())
    if isinstance(recalled.context, Context):
        return {int(minutes) * 60 + int(seconds) for minutes, seconds in _clocks(recalled.context)}
    (video,) = memory.videos()
    line = memory._timelines.of(video)
    blocks = {int(line.block_ids[pick.frame_index]) for pick in taken}
    return {place for block_id in blocks for place in line.places_in(block_id)}


def _clocks(context: Context) -> list[list[str]]:
    return [frame.time_label.split(":") for frame in context.frames]


@pytest.mark.parametrize("mode", ["tokens", "kv"])
def test_the_model_sees_what_the_track_says(
    tmp_path: Path, seeing: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a name that no encoder knows; without the track nothing brings those frames back."""
    preset = tmp_path / f"{mode}.toml"
    llava = (seeing.parent / "llava").resolve()
    text = seeing.read_text().replace('mode = "tokens"', f'mode = "{mode}"').replace("./llava", str(llava))
    preset.write_text(text)
    with vidmem.open(tmp_path / "a.vidmem", preset) as memory:
        video_id = memory.ingest(world(SCRIPT), progress=False).video_id
        follow(memory, SCRIPT, video_id, THINGS["dog", 0], label="Bello")
        span = THINGS["dog", 0][0].span
        question = "When did Bello appear?"
        shown = shown_places(memory, question, monkeypatch)
        assert {math.ceil(span.start), math.floor(span.end)} <= shown and len(shown) < 60
        answer = memory.ask(question)
        assert answer.evidence[0].why.startswith("object 1, Bello: seen 6.4 s")
        assert memory.ask("Where is Bello?").text == "Bello was last seen at the bottom, at 00:31."
        memory._store.remove_object(ObjectId(1))
        assert not {math.ceil(span.start), math.floor(span.end)} <= shown_places(memory, question, monkeypatch)


def test_readers_see_what_a_writer_follows(bare: VideoMemory) -> None:
    question = f"Was {a('apple')} there, and where was the apple last seen?"
    with bare.reader() as reader:
        assert not any("its track" in hit.why for hit in reader.ask(question).evidence)
        follow(bare, SCRIPT, only_video(bare), THINGS["apple", 0])
        assert reader.ask(question).evidence[0].why.startswith("object 1, an apple")
