"""The benchmark of heads asks each of them by itself."""

from __future__ import annotations

import pytest

from vidmem.bench import heads
from vidmem.models.preset import load_preset


@pytest.mark.skipif(bool(load_preset("tiny").missing()), reason="the embedded models are not here")
def test_the_embedded_models_head_is_among_the_best_and_is_told() -> None:
    said: list[str] = []
    figures = heads.run(seed=1, quick=True, progress=said.append)["figures"]
    shares = {name: figure["value"] for name, figure in figures.items()}
    assert len(shares) == 24 and list(shares.values()) == sorted(shares.values(), reverse=True)
    assert shares["head_1_0"] >= 0.5 > min(shares.values())
    layer, head = next(iter(shares)).split("_")[1:]
    assert f"heads = [[{layer}, {head}]]" in said[-1]
