"""Alerts on world video: standing questions about all that comes and goes, and about what never does.

A file of the world is watched as a camera is, its questions are told what happens, and the truth says what did.
"""

from __future__ import annotations

import itertools
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidmem.bench.clips import SIZE, unseen_seed
from vidmem.index import Change, Told
from vidmem.models.encoder import FrameEncoder
from vidmem.models.preset import load_preset
from vidmem.pipelines import VideoMemory
from vidmem.pipelines.alerts import GONE_SECONDS
from vidmem.pipelines.loading import Models
from vidmem.types import Span
from vidmem.world.script import THINGS, Script, ScriptConfig
from vidmem.world.video import encode, frames
from vidmem.world.words import a

FPS = 2.0
_SEED_INDEX = 900_000
_EARLY_SECONDS = 0.25
"""Times of a file are rounded."""
_LATE_SECONDS = 8.0
"""What is told later than that is told of nothing."""
_END_SECONDS = 2.5
"""What happens so near the end may have no clip after it that shows it."""
_HIDDEN_SECONDS = GONE_SECONDS + 1 / FPS
"""What is gone for less may look, by when frames are taken, as if it had been gone for too short to be told."""


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """Something that came or went; seconds of the stream."""

    thing: str
    change: Change
    at: float


@dataclass(frozen=True, slots=True)
class ToldEvent(AlertEvent):
    """What was told. `at` is when that happened, as it was told."""

    clip_end: float
    """Of the clip on which it was seen."""
    heard: float
    """When `then` was called, on the stream's own clock on the wall: at speed 1 all that passed is in it."""


@dataclass(frozen=True, slots=True)
class AlertScore:
    """What the questions about one world were told, against the truth."""

    seed: int
    asked: int
    """Standing questions."""
    right: int
    missed: tuple[AlertEvent, ...]
    wrong: tuple[ToldEvent, ...]
    delays: tuple[float, ...]
    """Of what was right: seconds of stream from the event to the end of the clip on which it was told."""
    heard: tuple[float, ...]
    """The same to when it was heard. With a speed other than 1 this means nothing."""

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + len(self.wrong))

    @property
    def recall(self) -> float:
        return self.right / max(1, self.right + len(self.missed))


def trial(
    seed: int, *, seconds: float = 180.0, distractors: int = 12, speed: float = 1.0, preset: str = "tiny"
) -> AlertScore:
    """Watch an unseen world of so many seconds with two questions about each thing in it: when it comes, when it goes.

    The same is asked of `distractors` things that never come: those whose names are most easily taken, by the encoder,
    for those that do. The stream waits for who is slow, so that on any machine the same frames are looked at.

    Args:
        seconds: of video; a new thing comes every four or five.
        speed: times the video's own pace. What is told is the same at any, `heard` means something at 1 alone.
    """
    script = Script(ScriptConfig(seed=unseen_seed(seed, _SEED_INDEX), duration=seconds))
    with tempfile.TemporaryDirectory(prefix="vidmem-alerts-") as name:
        video = Path(name) / "world.mp4"
        encode(video, frames(script, fps=10, size=SIZE), fps=10, size=SIZE, duration=seconds)
        models = Models(load_preset(preset))
        with VideoMemory.open(Path(name) / "alerts.vidmem", models=models) as memory:
            shown = sorted({stay.thing for stay in script.stays()})
            asked = [*shown, *_lookalikes(models.encoder, shown, distractors)]
            told = _told(memory, video, asked, speed)
    return score(seed, script, asked, told)


def _lookalikes(encoder: FrameEncoder, shown: Sequence[str], count: int) -> list[str]:
    """Things of the world that are not shown, those most like one that is first."""
    absent = [thing for thing in THINGS if thing not in shown]
    alike = encoder.encode_text([a(thing) for thing in absent]) @ encoder.encode_text([a(thing) for thing in shown]).T
    order = alike.max(dim=1).values.argsort(descending=True).tolist()
    return [absent[index] for index in order[:count]]


def _told(memory: VideoMemory, video: Path, asked: Sequence[str], speed: float) -> list[ToldEvent]:
    """What is told while a file is watched to its end."""
    questions = {
        memory.alert(words.format(a(thing))).alert_id: (thing, change)
        for thing, (change, words) in itertools.product(asked, _WORDS.items())
    }
    heard: list[tuple[Told, float]] = []
    watch = memory.watch(str(video), fps=FPS, policy="block", speed=speed)
    watch.listen(lambda told: heard.append((told, time.time())))
    watch.wait()
    return [_event(*questions[told.alert_id], told, at) for told, at in heard]


_WORDS: dict[Change, str] = {"appears": "{} appears", "disappears": "tell me whenever {} is gone"}


def _event(thing: str, change: Change, told: Told, heard_at: float) -> ToldEvent:
    evidence = told.evidence
    assert evidence.wall_start is not None, "a stream has a clock"
    begun = evidence.wall_start - evidence.start
    return ToldEvent(thing, change, evidence.start, evidence.end, heard_at - begun)


def score(seed: int, script: Script, asked: Sequence[str], told: Sequence[ToldEvent]) -> AlertScore:
    """Hold what was told against what a script shows. What the truth itself leaves open is passed over."""
    right: list[tuple[AlertEvent, ToldEvent]] = []
    missed: list[AlertEvent] = []
    wrong: list[ToldEvent] = []
    for thing, change in itertools.product(asked, _WORDS):
        of_this = sorted((one for one in told if (one.thing, one.change) == (thing, change)), key=lambda one: one.at)
        for event, is_sure in truth(script, thing, change):
            found = next((one for one in of_this if _fits(one, event)), None)
            if found is not None:
                of_this.remove(found)
                right += [(event, found)] if is_sure else []
            elif is_sure:
                missed.append(event)
        wrong += of_this
    return AlertScore(
        seed=seed,
        asked=len(asked) * len(_WORDS),
        right=len(right),
        missed=tuple(missed),
        wrong=tuple(wrong),
        delays=tuple(found.clip_end - event.at for event, found in right),
        heard=tuple(found.heard - event.at for event, found in right),
    )


def _fits(told: ToldEvent, event: AlertEvent) -> bool:
    return event.at - _EARLY_SECONDS <= told.at < event.at + _LATE_SECONDS


def truth(script: Script, thing: str, change: Change) -> list[tuple[AlertEvent, bool]]:
    """When a thing comes or goes, in order, each with whether it must be told.

    It may or may not be where it is gone for so short, as between two chapters, that it could have been hidden; and at
    the very end.
    """
    spans: list[Span] = []
    for stay in sorted((stay for stay in script.stays() if stay.thing == thing), key=lambda stay: stay.span):
        if spans and stay.span.start <= spans[-1].end:
            spans[-1] = Span(spans[-1].start, max(spans[-1].end, stay.span.end))
        else:
            spans.append(stay.span)
    last = script.duration - _END_SECONDS
    events = []
    for before, span, behind in zip([None, *spans], spans, [*spans[1:], None], strict=False):
        at = span.start if change == "appears" else span.end
        away = [
            span.start - before.end if before is not None else math.inf,
            behind.start - span.end if behind is not None else math.inf,
        ]
        events.append((AlertEvent(thing, change, at), min(away) >= _HIDDEN_SECONDS and at <= last))
    return events
