"""Planted things are looked for in what each memory kept, and no more."""

from __future__ import annotations

import pytest
import torch

from vidmem.bench.kv_planted import _RIVALS, FORMATS, Shelf, Watched, _recall, kv_planted_figures
from vidmem.models.preset import load_preset
from vidmem.types import Span
from vidmem.world.answers import Facts, Question

HEADS = ((0, 0),)
THING = torch.randn(16, generator=torch.manual_seed(1))


def watched(num_frames: int, shown_at: int) -> Watched:
    """Frames of small noise, in one of which one token is the thing."""
    chance = torch.manual_seed(0)
    keys = [0.1 * torch.randn(1, 5, 16, generator=chance) for _ in range(num_frames)]
    keys[shown_at][0, 2] = THING
    spans = [Span(place, place + 1) for place in range(num_frames)]
    features = [part.mean((0, 1)) for part in keys]
    return Watched(spans, keys, features, list(range(num_frames)))


def found(shelf: Shelf, at: float) -> float:
    question = Question("when", "When?", "Then.", Facts(seconds=at), Span(at, at + 1))
    return _recall(shelf, HEADS, [question], [[THING[None]]])


def test_what_was_kept_is_found_and_what_was_not_is_not() -> None:
    stream = watched(200, 150)
    assert found(Shelf(stream.keys, range(200), stream.spans), 150) == 1
    assert found(Shelf(stream.keys, range(200), stream.spans), 30) == 0
    without = [150 if place == 151 else place for place in range(200)]
    assert found(Shelf(stream.keys, without, stream.spans), 150) == 1
    elsewhere = [100 if place == 150 else place for place in range(200)]
    assert found(Shelf(stream.keys, elsewhere, stream.spans), 150) == 0


def test_rivals_keep_as_many_blocks_as_they_may() -> None:
    stream = watched(200, 150)
    for name, count in (("uniform", 10), ("fifo", 10), ("moviechat", 10)):
        shelf = _RIVALS[name](stream, count)
        assert len(shelf.keys) == len(shelf.spans) == count
        assert all(span.start < span.end for span in shelf.spans)
    assert found(_RIVALS["fifo"](stream, 60), 150) == 1 and found(_RIVALS["fifo"](stream, 40), 150) == 0
    assert [span.start for span in _RIVALS["uniform"](stream, 3).spans] == [0, 100, 199]
    merged = _RIVALS["moviechat"](stream, 10).spans
    assert merged[0].start == 0 and merged[-1].end == 200
    assert all(before.end == after.start for before, after in zip(merged, merged[1:], strict=False))


@pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded models are not here")
def test_it_gives_every_figure() -> None:
    figures = kv_planted_figures(5, hours=120 / 3600, needles=2, say=lambda line: None)
    assert 0 < figures["kv_planted_bytes_to_bf16"].value < 0.1
    assert figures["kv_planted_recall_to_keep_all"].value <= 1.5
    for format in FORMATS:
        for name in _RIVALS:
            assert 0 <= figures[f"kv_planted_recall_at_8_{name}_{format}"].value <= 1
