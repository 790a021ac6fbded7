"""The benchmark of ways of storing runs from end to end, small, and counts what it says that it counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vidmem.bench import kv_bytes
from vidmem.bench.kv_bytes import EQUAL_BYTES, SMALLEST, WAYS, Way, kv_bytes_figures
from vidmem.kv.block import Block, Layout
from vidmem.kv.compress import Compression, Seen
from vidmem.kv.representatives import Representatives
from vidmem.kv.rope import text_positions
from vidmem.models.preset import load_preset
from vidmem.types import Span

CHOSEN = {name: WAYS[name] for name in ("keep_all", "int2", SMALLEST, EQUAL_BYTES)}


@pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded models are not here")
def test_it_gives_every_figure(tmp_path: Path) -> None:
    said: list[str] = []
    figures = kv_bytes_figures(
        tmp_path, 3, questions=3, needle_seconds=60.0, needles=1, window_tokens=256, ways=CHOSEN, say=said.append
    )
    for name in CHOSEN:
        assert figures[f"kv_{name}_bytes_per_frame"].value > 0
        for what in ("accuracy", "recall_at_8_by_mean_key", "recall_at_8_by_token_keys"):
            assert 0 <= figures[f"kv_{name}_{what}"].value <= 1
    # 21 tokens a frame of 6 layers with 4 heads of 64, keys and values, in bfloat16.
    assert figures["kv_keep_all_bytes_per_frame"].value == 21 * 6 * 4 * 64 * 2 * 2
    assert figures["kv_2bit_to_fp16"].holds and figures["kv_2bit_to_fp16"].target == 1 / 6
    assert figures["kv_stored_to_bf16"].value < figures["kv_2bit_to_fp16"].value
    assert {"kv_older_half_gist_accuracy", "kv_older_half_none_accuracy", "kv_gist_gain"} <= set(figures)
    assert len(said) >= 2


def shelf_of(sizes: list[int], layout: Layout) -> kv_bytes._Shelf:
    chance, shelf = torch.manual_seed(0), kv_bytes._Shelf(Representatives(layout))
    for index, size in enumerate(sizes):
        keys = torch.randn(2, 2, size, 4, generator=chance)
        shelf.add(Block(keys, keys, text_positions(size, 1), Span(index, index + 1)))
    return shelf


def test_a_block_scores_by_its_best_token_for_each_query() -> None:
    shelf = shelf_of([3, 1, 5], Layout(2, 2, 4))
    query = torch.randn(4, 6, 4, generator=torch.manual_seed(1))
    got = shelf.token_scores(query)
    for index, key in enumerate(shelf.keys):
        best = [
            max(float(query[head, row] @ key[head // 2, token]) for token in range(key.shape[1]))
            for head in range(4)
            for row in range(6)
        ]
        assert float(got[index]) == pytest.approx(sum(best) / len(best), abs=1e-5)


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
