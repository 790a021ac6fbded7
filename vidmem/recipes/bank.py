"""Clips of the sample world, rendered, seen once by the frozen tower, and asked about again and again.

A training example is put together out of kept chapters: one whole clip, a window of it, or pieces of several with
gaps of minutes or hours between, as recall puts them before the model. Questions are fresh every time.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidmem.recipes.accelerator import half
from vidmem.recipes.frames import PIXELS
from vidmem.recipes.tower import DenseTower, to_pixels
from vidmem.types import Span, format_time
from vidmem.world.answers import KINDS, Kind, Question
from vidmem.world.questions import TRAINING_MAKERS, ask_many
from vidmem.world.render import Renderer
from vidmem.world.scene import Scene
from vidmem.world.script import THINGS, Chapter, ScriptConfig, Stay, make_chapter
from vidmem.world.words import things_in

STRIDES = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class KeptClip:
    chapter: Chapter
    times: np.ndarray
    features: Tensor
    """bfloat16 (F, 64, 192): the tower's patches of each frame."""
    sums: Tensor
    """(F, 2): how many things each frame shows, and 1 where it is night."""


@dataclass(frozen=True, slots=True)
class Look:
    """Where an answer can be seen: a frame's number (None: any), a thing's (None: any), or where it no longer is."""

    frame: int | None
    thing: int | None
    gone: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    labels: list[str]
    features: Tensor
    questions: list[Question]
    moments: list[str | None]
    """The time that must be known to answer each, as its label."""
    looks: list[Look | None]
    """Where the answer to each can be seen."""
    sums: Tensor
    """(F, 2), of each frame as of `KeptClip`; -1 of one that is made of several."""


def shifted(chapter: Chapter, seconds: float) -> Chapter:
    """The same chapter, later."""

    def move(stay: Stay) -> Stay:
        moves_at = None if stay.moves_at is None else stay.moves_at + seconds
        return replace(stay, span=Span(stay.span.start + seconds, stay.span.end + seconds), moves_at=moves_at)

    changes = None if chapter.light_changes_at is None else chapter.light_changes_at + seconds
    return replace(
        chapter,
        span=Span(chapter.span.start + seconds, chapter.span.end + seconds),
        stays=tuple(move(stay) for stay in chapter.stays),
        light_changes_at=changes,
    )


class ClipBank:
    """Keeps `size` clips and replaces the oldest by new ones when asked to."""

    def __init__(self, tower: DenseTower, seed: int, size: int) -> None:
        self.tower, self.rng, self.size = tower.eval(), random.Random(seed), size
        self.seed = seed
        self.made = 0
        self.clips: list[KeptClip] = []

    def refresh(self, count: int) -> None:
        for _ in range(count):
            clip = self._make()
            if len(self.clips) < self.size:
                self.clips.append(clip)
            else:
                self.clips[self.made % self.size] = clip
            self.made += 1

    @torch.no_grad()
    def _make(self) -> KeptClip:
        rng = self.rng
        duration = rng.uniform(8.0, 33.0)
        config = ScriptConfig(seed=self.seed + self.made, duration=duration, seconds_per_stay=rng.uniform(2.8, 6.0))
        chapter = make_chapter(config, 0, Span(0.0, duration))
        stride = rng.choice(STRIDES)
        times = np.arange(rng.uniform(0, min(1.0, stride)) if rng.random() < 0.3 else 0.0, duration, stride)
        pixels = to_pixels(draw_clip(chapter, times, rng))
        with half():
            features = self.tower.features(pixels)
        sums = [(len(chapter.visible(time)), int(chapter.is_night(time))) for time in times.tolist()]
        return KeptClip(chapter, times, features.bfloat16().cpu(), torch.tensor(sums))

    def example(self, rng: random.Random, num_frames: int, num_questions: int, *, pieces: bool) -> Example:
        """One context of about `num_frames` frames with questions about it."""
        shift = rng.choice((0.0, 0.0, 0.0, rng.uniform(0, 3500), rng.uniform(0, 43000)))
        if pieces:
            chapters, times, features, sums = self._pieces(rng, num_frames)
        else:
            clip = rng.choice(self.clips)
            start = rng.randint(0, max(0, len(clip.times) - num_frames))
            chosen = slice(start, start + num_frames)
            chapters, times = [clip.chapter], clip.times[chosen]
            features, sums = clip.features[chosen], clip.sums[chosen]
        hours = times[-1] + shift >= 3600 or rng.random() < 0.06
        scene = Scene(chapters, times.tolist(), hours=hours, shift=shift)
        questions = ask_many(scene, rng, num_questions, KIND_DECK, TRAINING_MAKERS)
        moments = [moment_of(scene, question) for question in questions]
        labels = [format_time(t + shift, hours=hours) for t in times]
        looks = [look_of(scene, labels, asked) for asked in questions]
        return Example(labels, features, questions, moments, looks, sums)

    def _pieces(self, rng: random.Random, num_frames: int) -> tuple[list[Chapter], np.ndarray, Tensor, Tensor]:
        """Parts of several clips, in order, far apart."""
        chapters, times, features, sums = [], [], [], []
        offset, left = 0.0, num_frames
        while left > 0:
            clip = rng.choice(self.clips)
            chosen = recalled(clip, rng)[:left]
            left -= len(chosen)
            chapters.append(shifted(clip.chapter, offset))
            seen, shown = clip.times[chosen] + offset, clip.features[torch.from_numpy(chosen)]
            summed = clip.sums[torch.from_numpy(chosen)]
            if len(chosen) >= 3 and rng.random() < 0.12:
                seen, shown, summed = with_gist(seen, shown, summed, rng)
            times.append(seen)
            features.append(shown)
            sums.append(summed)
            offset += 40.0 + rng.expovariate(1 / rng.choice((5.0, 60.0, 600.0)))
        return chapters, np.concatenate(times), torch.cat(features), torch.cat(sums)


def moment_of(scene: Scene, question: Question) -> str | None:
    """When the answer lies, for a *when*; when what is asked about came, for an *order*."""
    if question.kind == "when":
        return question.answer.rstrip(".").split()[-1]
    if question.kind != "order":
        return None
    thing = things_in(question.text if question.text.startswith("What") else question.answer)[0]
    return scene.clock(scene.first_seen(scene.by_thing[thing][0].span))


def look_of(scene: Scene, labels: list[str], question: Question) -> Look | None:
    """Where a question's answer can be seen; None if that is nowhere in particular."""
    named = things_in(question.answer) or things_in(question.text)
    time = question.text.rstrip("?").split()[-1]
    if question.kind == "when":
        time = question.answer.rstrip(".").split()[-1]
    elif question.kind == "order":
        if question.text.startswith("Which"):
            return None  # it takes two places
        if " before " in question.text:  # what comes knows what had come, not what will
            named = things_in(question.text)
        time = scene.clock(scene.first_seen(scene.by_thing[named[0]][0].span))
    thing = THINGS.index(named[0]) if named else None
    if time not in labels:
        return None if thing is None else Look(None, thing)
    frame = labels.index(time)
    if question.kind == "when" and re.search("leave|last seen", question.text):
        # the frame after the last one that shows it is the first that can tell
        return Look(frame + 1, thing, gone=True)
    return Look(frame, thing)


KIND_DECK: tuple[Kind, ...] = (*KINDS, "what", "when", "order", "order", "order", "how many", "was there")
"""Kinds as training asks them: the harder ones more often."""


def with_gist(
    times: np.ndarray, features: Tensor, sums: Tensor, rng: random.Random
) -> tuple[np.ndarray, Tensor, Tensor]:
    """Put the mean of neighbouring frames before the first of them, as an element of long-term memory stands there.

    It tells nothing new, and its time is that of its beginning: an answer must come from the sharp frames.
    """
    first = rng.randint(0, len(times) - 3)
    last = min(len(times), first + rng.randint(3, 6))
    blend = features[first:last].float().mean(0, keepdim=True).to(features.dtype)
    unknown = torch.full_like(sums[:1], -1)
    return (
        np.insert(times, first, times[first]),
        torch.cat([features[:first], blend, features[first:]]),
        torch.cat([sums[:first], unknown, sums[first:]]),
    )


def recalled(clip: KeptClip, rng: random.Random) -> np.ndarray:
    """Frame indices as recall would choose them: around the coming and going of a thing, or a few at random."""
    count = len(clip.times)
    if not clip.chapter.stays or rng.random() < 0.3:
        return np.sort(rng_choice(rng, count, rng.randint(1, min(5, count))))
    chosen: set[int] = set()
    for stay in rng.sample(clip.chapter.stays, min(len(clip.chapter.stays), rng.choice((1, 1, 2)))):
        first = int(np.searchsorted(clip.times, stay.span.start))
        last = int(np.searchsorted(clip.times, stay.span.end)) - 1
        chosen |= {first - 2, first - 1, first, first + 1, (first + last) // 2, last, last + 1}
    return np.array(sorted(index for index in chosen if 0 <= index < count))


def rng_choice(rng: random.Random, population: int, count: int) -> np.ndarray:
    return np.array(rng.sample(range(population), count))


def draw_clip(chapter: Chapter, times: np.ndarray, rng: random.Random) -> np.ndarray:
    """uint8 (F, 112, 112, 3), by one of the ways in which a video's frames reach the encoder."""
    scale = rng.choice((1, 2, 3))
    renderer = Renderer(PIXELS * scale, PIXELS * scale)
    gain, lift = np.float32(rng.uniform(0.9, 1.1)), np.float32(rng.uniform(-8, 8))
    images = []
    for time in times:
        image = renderer.draw(chapter, float(time))
        if scale > 1:
            image = np.asarray(Image.fromarray(image).resize((PIXELS, PIXELS), Image.Resampling.BICUBIC))
        images.append(np.clip(image * gain + lift, 0, 255).astype(np.uint8))
    return np.stack(images)
