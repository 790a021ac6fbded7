"""Our numbers against those that the authors of the selections and of the measures get with their own code.

Those numbers lie beside the tests, so only a checkout has them; the tests make the same comparisons.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import numpy as np

from vidmem.bench.report import Figure, at_least, at_most, unmeasured
from vidmem.bench.track_metrics import (
    NORMALISED_PRECISION,
    PRECISION_PIXELS,
    boundary_accuracy,
    box_overlap,
    centre_offset,
    region_similarity,
    score_boxes,
    score_masks,
    statistics,
    success_curve,
)

SYSTEMS = ("xmem", "samurai", "dam4sam", "sam2long")
TESTS = Path(__file__).resolve().parents[2] / "tests"


def parity_figures(tests: Path = TESTS) -> dict[str, Figure]:
    """Arrays of the systems within their tolerances, and measures on scripted tracks."""
    if not (tests / "parity" / "compare.py").exists():
        return {"track_parity": unmeasured("the authors' numbers come with a checkout of vidmem: run it from one")}
    compare = comparison(tests / "parity")
    figures = {f"track_parity_{system}": within(compare, system) for system in SYSTEMS}
    errors = metric_errors(np.load(tests / "data" / "track_metrics.npz"))
    unit = "largest difference from the benchmarks' own code"
    return figures | {f"track_metric_{name}": at_most(error, unit, 1e-6) for name, error in errors.items()}


def metric_errors(numbers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of each measure from the code of DAVIS, pytracking and GOT-10k, on scripted tracks.

    Args:
        numbers: what `tests/bench/make_track_metrics.py` made.
    """
    errors: dict[str, float] = {}
    for name, ours, theirs in (*_masks(numbers), *_statistics(numbers), *_boxes(numbers)):
        apart = np.abs(np.subtract(ours, theirs)).max()
        errors[name] = float(np.maximum(errors.get(name, 0.0), apart))  # NaN stays NaN
    return errors


Compared = Iterator[tuple[str, Any, Any]]
"""A measure's name, ours, theirs."""


def _masks(numbers: Mapping[str, np.ndarray]) -> Compared:
    for case in (name.removesuffix("_size") for name in numbers if name.endswith("_size")):
        _, width = numbers[f"{case}_size"]
        truth, track = (
            np.unpackbits(numbers[f"{case}_{name}"], axis=-1)[..., :width].astype(bool) for name in ("truth", "track")
        )
        j, f = numbers[f"{case}_j"], numbers[f"{case}_f"]
        yield "j", region_similarity(track, truth), j
        yield "f", boundary_accuracy(track, truth), f
        yield "jf", score_masks(track, truth).mean, (j.mean() + f.mean()) / 2


def _statistics(numbers: Mapping[str, np.ndarray]) -> Compared:
    for name in numbers:
        if name.startswith("statistics"):
            got = statistics(numbers[name.replace("statistics", "values")])
            yield "statistics", [got.mean, got.recall, got.decay], numbers[name]


def _boxes(numbers: Mapping[str, np.ndarray]) -> Compared:
    truth, track = numbers["boxes_truth"], numbers["boxes_track"].copy()
    later, (ao, *sr) = score_boxes(track[1:], truth[1:]), numbers["boxes_ao_sr"]
    yield "ao", later.average_overlap, ao
    yield "sr", [later.success_50, later.success_75], sr
    track[0] = truth[0]  # What is given on the first frame counts as tracked there.
    yield "overlap", box_overlap(track, truth), numbers["boxes_iou"]
    yield "offset", np.hypot(*centre_offset(track, truth).T), numbers["boxes_offset"]
    yield "auc", success_curve(box_overlap(track, truth)), numbers["boxes_success"]
    scores = score_boxes(track, truth)
    yield "auc", scores.success_auc, numbers["boxes_success"].mean()
    yield "precision", scores.precision, numbers["boxes_precision"][int(PRECISION_PIXELS)]
    normalised = numbers["boxes_normalised_precision"][round(100 * NORMALISED_PRECISION)]
    yield "normalised_precision", scores.normalised_precision, normalised


def within(compare: Any, system: str) -> Figure:
    """Of a system's arrays, those that are within their tolerances."""
    good, largest, faults = 0, 0.0, []
    groups = [(path, *group) for path in compare.files_of(system) for group in compare.groups_of(path).items()]
    for path, group, arrays in groups:
        try:
            largest = max(largest, compare.compare(path, group))
            good += len(arrays)
        except Exception as error:  # a wrong shape is wrong, too, whatever it breaks
            faults.append(f"{group}: {type(error).__name__} {error}".splitlines()[0])
    count = sum(len(arrays) for _, _, arrays in groups)
    said = faults[0] if faults else f"largest difference {largest:.2g}"
    return at_least(good / max(count, 1), f"of {count} arrays (inputs, too) within their tolerances, {said}", 1.0)


def comparison(folder: Path) -> Any:
    """The module `compare` of the tests' package, which is not on the path."""
    spec = ModuleSpec("vidmem_parity", None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[spec.name] = module_from_spec(spec)
    return import_module(f"{spec.name}.compare")
