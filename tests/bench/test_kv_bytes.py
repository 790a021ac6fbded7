"""The benchmark of ways of storing runs from end to end, small, and counts what it says that it counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vidmem.bench import kv_bytes
from vidmem.bench.kv_bytes import SMALLEST, WAYS, Way, kv_bytes_figures
from vidmem.kv.block import Block, Layout
from vidmem.kv.compress import Compression, Seen
from vidmem.kv.rope import text_positions
from vidmem.models.preset import load_preset
from vidmem.types import Span

CHOSEN = {name: WAYS[name] for name in ("keep_all", "int2", SMALLEST)}


@pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded models are not here")
def test_it_gives_every_figure(tmp_path: Path) -> None:
    said: list[str] = []
    figures = kv_bytes_figures(tmp_path, 3, questions=3, ways=CHOSEN, say=said.append)
    for name in CHOSEN:
        assert figures[f"kv_{name}_bytes_per_frame"].value > 0
        assert 0 <= figures[f"kv_{name}_accuracy"].value <= 1
    # 21 tokens a frame of 6 layers with 4 heads of 64, keys and values, in bfloat16.
    assert figures["kv_keep_all_bytes_per_frame"].value == 21 * 6 * 4 * 64 * 2 * 2
    assert figures["kv_2bit_to_fp16"].holds and figures["kv_2bit_to_fp16"].target == 1 / 6
    assert figures["kv_stored_to_bf16"].value < figures["kv_2bit_to_fp16"].value
    assert {"kv_older_half_gist_accuracy", "kv_older_half_none_accuracy", "kv_gist_gain"} <= set(figures)
    assert said


class _Form:
    layout, dtype = Layout(2, 2, 8), torch.float32


def test_stored_bytes_are_those_of_what_comes_back() -> None:
    def seen(index: int) -> Seen:
        keys = torch.randn(2, 2, 6, 8, generator=torch.manual_seed(index))
        block = Block(keys, keys.flip(0), text_positions(6, 1), Span(index, index + 1))
        return Seen(block, torch.arange(6) >= 2)

    clip = [seen(index) for index in range(4)]
    whole, num_bytes = kv_bytes._store(clip, Way(), None, 0, _Form())  # type: ignore[arg-type]
    assert num_bytes == 4 * 6 * 2 * 2 * 8 * 2 * 2
    assert all(
        torch.equal(block.keys, one.block.keys.bfloat16().float()) for block, one in zip(whole, clip, strict=True)
    )
    thinned, less = kv_bytes._store(clip, Way(every=3), None, 2, _Form())  # type: ignore[arg-type]
    assert [block.span.start for block in thinned] == [1] and less == num_bytes // 4
    dropped, least = kv_bytes._store(clip, Way("none", Compression(0.0)), clip[0], 4, _Form())  # type: ignore[arg-type]
    assert [len(block) for block in dropped] == [2] * 4 and least == num_bytes // 3
