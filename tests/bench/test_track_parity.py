"""The measures against the benchmarks' own code, and what `vidmem bench track` tells of that and of the selections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidmem.bench.track_parity import SYSTEMS, TESTS, comparison, metric_errors, parity_figures, within

NUMBERS = dict(np.load(TESTS / "data" / "track_metrics.npz"))
"""Made by `make_track_metrics.py` out of the benchmarks' code."""
SEES = {
    "masks0_j": {"j", "jf"},
    "masks2_f": {"f", "jf"},
    "statistics29": {"statistics"},
    "boxes_iou": {"overlap"},
    "boxes_offset": {"offset"},
    "boxes_success": {"auc"},
    "boxes_precision": {"precision"},
    "boxes_normalised_precision": {"normalised_precision"},
}
"""The measures that notice another number of the reference."""


def test_measures_are_those_of_the_benchmarks_own_code() -> None:
    assert max(metric_errors(NUMBERS).values()) < 1e-9


@pytest.mark.parametrize("name", SEES)
def test_another_number_is_another_measure_s_difference(name: str) -> None:
    errors = metric_errors(NUMBERS | {name: NUMBERS[name] + 0.01})
    assert {measure for measure, error in errors.items() if error > 1e-6} == SEES[name]


def test_average_overlap_and_success_rate_are_told_apart() -> None:
    errors = metric_errors(NUMBERS | {"boxes_ao_sr": NUMBERS["boxes_ao_sr"] + [0.01, 0, 0.02]})
    assert (errors["ao"], errors["sr"]) == (pytest.approx(0.01), pytest.approx(0.02))


def test_what_is_no_number_is_not_taken_for_equal() -> None:
    errors = metric_errors(NUMBERS | {"masks0_j": NUMBERS["masks0_j"] * np.nan})
    assert np.isnan(errors["j"])


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tests' comparison, over a folder that holds but one system's numbers, of which one decision is another."""
    compare = comparison(TESTS / "parity")
    arrays = dict(np.load(compare.FOLDER / "dam4sam.npz"))
    arrays["drm_selected"][0, 0] += 1
    np.savez(tmp_path / "dam4sam.npz", **arrays)
    monkeypatch.setattr(compare, "FOLDER", tmp_path)
    return compare


def test_an_array_that_is_not_the_reference_s_is_told(compare: Any) -> None:
    figure = within(compare, "dam4sam")
    assert figure.value == pytest.approx(28 / 32, rel=1e-5) and not figure.holds, "4 of 32 arrays are of that check"
    assert "drm_selected: we have" in figure.unit
    assert within(compare, "samurai").value == 0.0, "what is not there is not within tolerances"


def test_without_a_checkout_one_sentence_says_so(tmp_path: Path) -> None:
    (figure,) = parity_figures(tmp_path).values()
    assert figure.value is None and "checkout" in figure.unit


def test_every_system_and_measure_is_compared() -> None:
    figures = parity_figures()
    assert all(figure.holds for figure in figures.values())
    assert {f"track_parity_{system}" for system in SYSTEMS} <= figures.keys()
    for name in ("j", "f", "auc", "ao", "sr", "precision"):
        assert figures[f"track_metric_{name}"].target == 1e-6
