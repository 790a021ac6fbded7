"""Finding the frame that shows a thing by its name: recall@1 of the frame encoder."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vidmem.bench.clips import SIZE, unseen_seed
from vidmem.ingest import open_source
from vidmem.models.encoder import FrameEncoder
from vidmem.world.script import THINGS, Script, ScriptConfig
from vidmem.world.video import encode, frames
from vidmem.world.words import a

THINGS_PER_CLIP = 5
CLIP_SECONDS = 24.0


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """All frames of some clips: embeddings (F, C), and of each frame the things that it shows."""

    embeddings: Tensor
    shown: list[frozenset[str]]


def build_gallery(encoder: FrameEncoder, folder: Path, seed: int, index: int, things: tuple[str, ...]) -> Gallery:
    """Clips of a few things each, until every one of `things` was seen."""
    rng = random.Random(f"{unseen_seed(seed, index)}:gallery")
    embeddings: list[Tensor] = []
    shown: list[frozenset[str]] = []
    missing = list(things)
    rng.shuffle(missing)
    clip = 0
    while missing:
        wanted = tuple(missing[:THINGS_PER_CLIP])
        chosen = unseen_seed(seed, 100_000 + index * 1000 + clip)
        script = Script(ScriptConfig(seed=chosen, duration=CLIP_SECONDS, seconds_per_stay=3.5, things=wanted))
        times, embedded = embed_clip(encoder, folder / "gallery.mp4", script)
        embeddings.append(embedded)
        seen = [frozenset(stay.thing for stay in script.chapter_at(time).visible(time)) for time in times]
        shown += seen
        missing = [thing for thing in missing if not any(thing in here for here in seen)]
        rng.shuffle(missing)
        clip += 1
    return Gallery(torch.cat(embeddings), shown)


def embed_clip(encoder: FrameEncoder, path: Path, script: Script) -> tuple[list[float], Tensor]:
    """Render, encode, decode at 1 fps, embed: times and embeddings (F, C)."""
    encode(path, frames(script, fps=10, size=SIZE), fps=10, size=SIZE, duration=script.duration)
    with open_source(path) as source:
        seen = list(source.frames(fps=1.0, views=[encoder.view]))
    images = torch.stack([torch.from_numpy(frame.views[0]) for frame in seen])
    return [frame.pts_seconds for frame in seen], encoder.encode_frames(images)


def recall_at_1(
    encoder: FrameEncoder,
    folder: Path,
    seed: int,
    *,
    galleries: int,
    things: tuple[str, ...] = THINGS,
    say: Callable[[str], None],
) -> float:
    """Share of "a dog", "an EXIT sign" ... over all things and galleries, whose nearest frame shows the thing."""
    queries = encoder.encode_text([a(thing) for thing in things])
    right: Counter[str] = Counter()
    for index in range(galleries):
        gallery = build_gallery(encoder, folder, seed, index, things)
        nearest = (queries @ gallery.embeddings.T).argmax(dim=1).tolist()
        right.update(thing for thing, frame in zip(things, nearest, strict=True) if thing in gallery.shown[frame])
        say(f"retrieval {index + 1}/{galleries}: {right.total()} of {(index + 1) * len(things)} things found")
    return right.total() / (galleries * len(things))
