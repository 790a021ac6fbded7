"""What the tracker learns from: a few frames of tracking clips with the masks of some of their objects."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidmem.world.render import Renderer
from vidmem.world.script import THINGS, Chapter
from vidmem.world.tracking import DRAMAS, Drama, TrackingScript, object_masks

HELD_OUT = 1_900_000_000
"""Training draws its worlds from seeds below this, validation from here on; benchmarks use none below 2**31."""
_SECONDS = 16.0
_LEAST_SHARE = 0.4
"""Of what an object shows at the clip's start, where nothing hides it: less is too little to prompt it by."""
_TRIES = 20
_GLANCE = 48
"""Pixels along a side of the pictures that moments are chosen by."""
_LOST = 0.5
"""Part of the clips for which moments are looked for at which something is hidden or away: by chance alone it is so on
3 % of frames, and a tracker that learns from those says of nothing that it is gone."""
_LOSING: tuple[Drama, ...] = ("hidden", "away", "all")


@dataclass(frozen=True, slots=True)
class ClipShape:
    """How much is drawn for one step: `clips` of `frames` squares of `side` pixels, `objects` of each."""

    clips: int
    frames: int
    objects: int
    side: int


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """`frames` uint8 (B, T, S, S, 3), `masks` bool (B, K, T, S, S), and for each frame its number in the stream.
    `names` uint8 (B, T, S, S) says what each pixel shows: 0 or 1 + its place in `THINGS`.

    Every object is seen on the first frame. The first frame may lie long before the second.
    """

    frames: Tensor
    masks: Tensor
    names: Tensor
    frame_numbers: tuple[int, ...]

    @property
    def num_frames(self) -> int:
        return self.frames.shape[1]


def draw_batch(shape: ClipShape, seed: int) -> ClipBatch:
    """The same for the same arguments, on every machine."""
    rng = random.Random(f"{seed}:clips")
    gap = 1 if shape.frames == 1 or rng.random() < 0.5 else round(2 ** rng.uniform(1, 9))
    clips = [_draw_clip(shape, rng, rng.randrange(HELD_OUT), gap) for _ in range(shape.clips)]
    numbers = (0, *range(gap, gap + shape.frames - 1))
    frames, masks, names = (torch.from_numpy(np.stack(part)) for part in zip(*clips, strict=True))
    return ClipBatch(frames, masks, names, numbers)


def batches(shape: ClipShape, seeds: Sequence[int]) -> Iterator[ClipBatch]:
    """A batch for each seed; one is drawn ahead in a thread."""
    with ThreadPoolExecutor(1) as pool:
        drawn: Future[ClipBatch] | None = None
        for seed in seeds:
            following = pool.submit(draw_batch, shape, seed)
            if drawn is not None:
                yield drawn.result()
            drawn = following
        if drawn is not None:
            yield drawn.result()


def _draw_clip(shape: ClipShape, rng: random.Random, seed: int, gap: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames uint8 (T, S, S, 3), masks bool (K, T, S, S) and names uint8 (T, S, S) of some moments of one world."""
    loses = shape.frames > 1 and rng.random() < _LOST
    chapter = TrackingScript(seed, _SECONDS, rng.choice(_LOSING if loses else DRAMAS)).chapter(0)
    renderer, glance = Renderer(shape.side, shape.side), Renderer(_GLANCE, _GLANCE)
    whole = _areas(glance, chapter, [0.0])[0]
    for _ in range(_TRIES):
        times = _moments(rng, shape.frames, gap)
        shown = _areas(glance, chapter, times if loses else times[:1])
        is_seen = (shown[0] > 0) & (shown[0] >= _LEAST_SHARE * whole)
        is_lost = is_seen & (shown == 0).any(axis=0)
        if is_lost.any() or (is_seen.any() and not loses):
            break
    else:
        times = times if is_seen.any() else [time - min(times) for time in sorted(times)]
        is_seen = is_seen if is_seen.any() else whole > 0
    chosen = _chosen(rng, is_seen, is_lost, shape.objects)
    masks = np.stack([object_masks(renderer, chapter, time) for time in times], axis=1)
    things = np.array([THINGS.index(stay.thing) + 1 for stay in chapter.stays], dtype=np.uint8)
    names = (masks * things[:, None, None, None]).max(axis=0)
    return _disturb(_draw(renderer, chapter, times, rng), rng), masks[chosen], names


def _chosen(rng: random.Random, is_seen: np.ndarray, is_lost: np.ndarray, count: int) -> list[int]:
    """As many objects that are seen at first: one that is lost if there is one, each once if there are enough."""
    lost = rng.sample(np.flatnonzero(is_lost).tolist(), min(1, int(is_lost.sum())))
    others = [index for index in np.flatnonzero(is_seen).tolist() if index not in lost]
    chosen = lost + rng.sample(others, min(len(others), count - len(lost)))
    return chosen + rng.choices(chosen, k=count - len(chosen))


def _areas(renderer: Renderer, chapter: Chapter, times: Sequence[float]) -> np.ndarray:
    """Pixels of each object that are seen at some times: (T, K)."""
    return np.stack([object_masks(renderer, chapter, time).sum(axis=(1, 2)) for time in times])


def _moments(rng: random.Random, count: int, gap: int) -> list[float]:
    """Times of frames at a random rate, forwards or backwards, the first `gap` frames before the second."""
    step = 2 ** rng.uniform(-5, -1.6)
    pause = min(gap * step, rng.uniform(1, 8)) if gap > 1 else step
    length = pause + (count - 2) * step if count > 1 else 0.0
    start = rng.uniform(0, max(0.0, _SECONDS - length - 0.01))
    times = [start, *(start + pause + index * step for index in range(count - 1))]
    return times if rng.random() < 0.5 else [2 * start + length - time for time in times]


def _draw(renderer: Renderer, chapter: Chapter, times: list[float], rng: random.Random) -> np.ndarray:
    """uint8 (T, S, S, 3): drawn at the side's size, or as a larger video is seen after the squeeze."""
    if rng.random() < 0.5:
        return np.stack([renderer.draw(chapter, time) for time in times])
    side = renderer.width
    double = Renderer(2 * side, 2 * side)
    large = np.stack([double.draw(chapter, time) for time in times])
    return large.reshape(len(times), side, 2, side, 2, 3).mean(axis=(2, 4)).astype(np.uint8)


def _disturb(frames: np.ndarray, rng: random.Random) -> np.ndarray:
    """Contrast, brightness and noise of cameras and codecs, the same for a whole clip."""
    shaken = frames * np.float32(rng.uniform(0.85, 1.15)) + np.float32(rng.uniform(-12, 12))
    if rng.random() < 0.5:
        noise = np.random.default_rng(rng.randrange(2**31)).normal(0, rng.uniform(1, 7), frames.shape[1:])
        shaken += noise.astype(np.float32)
    return np.clip(shaken, 0, 255).astype(np.uint8)
