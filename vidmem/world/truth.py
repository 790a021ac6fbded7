"""What is true about a stretch of the sample world: events, light, boxes, masks, questions; as JSON, and read back."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vidmem.errors import BadInput, NotFound, StorageFull
from vidmem.types import Span
from vidmem.world.answers import Facts, Question
from vidmem.world.needle import needle_questions
from vidmem.world.questions import LOCAL_MAKERS, ask_many
from vidmem.world.render import Renderer
from vidmem.world.scene import Scene
from vidmem.world.script import Place, Script, Stay

FORMAT = 1
"""Version of the JSON beside a rendered video."""


@dataclass(frozen=True, slots=True)
class ObjectTruth:
    """One object at one moment.

    `box` is (left, top, right, bottom) in pixels within the frame, right and bottom exclusive. `place` is None while
    it is on its way. `mask` is of what nothing in front hides, in COCO's uncompressed run lengths (`decode_mask`).
    """

    thing: str
    place: Place | None
    box: tuple[int, int, int, int]
    mask: Mapping[str, list[int]]


@dataclass(frozen=True, slots=True)
class Moment:
    """What one frame shows, the furthest object first."""

    seconds: float
    night: bool
    objects: tuple[ObjectTruth, ...]


def truth(script: Script, seconds: float, size: tuple[int, int] = (640, 360)) -> Moment:
    """Boxes and masks at a time, for frames of `size` (width, height)."""
    chapter = script.chapter_at(seconds)
    objects = tuple(
        ObjectTruth(item.stay.thing, item.stay.place_at(seconds), item.box, encode_mask(item.mask))
        for item in Renderer(*size).shown(chapter, seconds)
    )
    return Moment(seconds, chapter.is_night(seconds), objects)


def encode_mask(mask: np.ndarray) -> dict[str, list[int]]:
    """A bool mask (H, W) as `{"size": [H, W], "counts": [...]}`: lengths of runs down the columns, the first is off."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def decode_mask(runs: Mapping[str, list[int]]) -> np.ndarray:
    """The bool mask (H, W) that `encode_mask` was given."""
    values = np.arange(len(runs["counts"])) % 2 == 1
    return np.repeat(values, runs["counts"]).reshape(runs["size"], order="F")


def sampled_times(duration: float, fps: float = 1.0) -> list[float]:
    """The moments that ingest looks at: k / fps within [0, duration)."""
    rate = Fraction(fps).limit_denominator(1001)
    return [float(index / rate) for index in range(math.ceil(Fraction(duration) * rate))]


def questions_about(script: Script, count: int, *, fps: float = 1.0) -> list[Question]:
    """Questions about a whole script whose answers each stand in a few frames of it, however long it is.

    Only what is seen at `fps` is asked, a needle first. Fewer than `count` if the script does not give so many.
    """
    scene = Scene.of(script, sampled_times(script.duration, fps))
    asked = []
    if script.needle_chapter is not None:
        stays = script.chapter(script.needle_chapter).stays
        needle = next((stay for stay in stays if stay.thing == script.config.needle), None)
        asked = needle_questions(needle, hours=scene.hours) if needle else []
    rest = ask_many(scene, random.Random(f"{script.config.seed}:questions"), count, makers=LOCAL_MAKERS)
    told = {question.text for question in asked}
    return [*asked, *(question for question in rest if question.text not in told)][:count]


def events(script: Script) -> list[dict[str, Any]]:
    """Every presence in time order; copies of a thing that come and go together are one event."""
    groups: dict[tuple[float, str], list[Stay]] = {}
    for stay in script.stays():
        groups.setdefault((stay.span.start, stay.thing), []).append(stay)
    return [_event(groups[key]) for key in sorted(groups)]


def _event(stays: list[Stay]) -> dict[str, Any]:
    return {
        "thing": stays[0].thing,
        "start": round(stays[0].span.start, 3),
        "end": round(stays[0].span.end, 3),
        "places": [stay.place for stay in stays],
        "moves": [
            {"from": stay.place, "to": stay.moves_to, "at": round(stay.moves_at, 3)}
            for stay in stays
            if stay.moves_at is not None
        ],
    }


def light(script: Script) -> list[dict[str, Any]]:
    """The light at the start, and each time at which it changes."""
    changes: list[dict[str, Any]] = []
    for chapter in script.chapters():
        for seconds in (chapter.span.start, chapter.light_changes_at):
            name = None if seconds is None else "night" if chapter.is_night(seconds) else "day"
            if seconds is not None and (not changes or changes[-1]["light"] != name):
                changes.append({"at": round(seconds, 3), "light": name})
    return changes


def boxes(script: Script, size: tuple[int, int]) -> list[dict[str, Any]]:
    """At each whole second, the box of every object."""
    renderer = Renderer(*size)
    return [
        {
            "at": int(seconds),
            "boxes": [[item.stay.thing, *item.box] for item in renderer.shown(script.chapter_at(seconds), seconds)],
        }
        for seconds in sampled_times(script.duration)
    ]


def write_truth(
    video: Path, script: Script, *, size: tuple[int, int], fps: Fraction, num_questions: int, with_boxes: bool = True
) -> Path:
    """Write `NAME.json` beside the video that shows a script. Masks are left out: `truth` gives them when wanted.

    Raises StorageFull if it can't be written.
    """
    config = script.config
    document: dict[str, Any] = {
        "format": FORMAT,
        "video": video.name,
        "seed": config.seed,
        "duration": config.duration,
        "size": list(size),
        "fps": str(fps),
        "needle": config.needle,
        "light": light(script),
        "events": events(script),
        "questions": [dataclasses.asdict(question) for question in questions_about(script, num_questions)],
    }
    if with_boxes:
        document["boxes"] = boxes(script, size)
    path = video.with_suffix(".json")
    try:
        path.write_text(_lines(document), encoding="utf-8")
    except OSError as error:
        raise StorageFull(f"{path} could not be written ({error.strerror}): free space or another folder") from error
    return path


def _lines(document: Mapping[str, Any]) -> str:
    """JSON with one line for each entry of a list, so that people can read it and `git diff` it."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            rows = ",\n".join(f"    {json.dumps(row)}" for row in value)
            parts.append(f"  {json.dumps(name)}: [\n{rows}\n  ]")
        else:
            parts.append(f"  {json.dumps(name)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def load_truth(path: str | Path) -> list[Question]:
    """The questions of a rendered video, given its `.mp4` or its `.json`. `is_right` grades answers to them.

    Raises:
        NotFound: there is no such truth.
        BadInput: the file is no truth that this version reads.
    """
    path = Path(path).with_suffix(".json")
    if not path.is_file():
        raise NotFound(f"no ground truth at {path}: `vidmem world render` writes it beside the video")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise BadInput(f"{path} has format {document['format']}, newer than {FORMAT}: update vidmem")
        return [_question(entry) for entry in document["questions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path} is no ground truth of the sample world ({error}): render the video again") from error


def _question(entry: Mapping[str, Any]) -> Question:
    facts = Facts(**{**entry["facts"], "places": tuple(entry["facts"]["places"])})
    return Question(entry["kind"], entry["text"], entry["answer"], facts, Span(**entry["evidence"]))
