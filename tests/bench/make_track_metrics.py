"""Makes tests/data/track_metrics.npz: numbers of the benchmarks' own code on scripted tracks.

Needs checkouts of davisvideochallenge/davis2017-evaluation (ac7c43f), got-10k/toolkit and visionml/pytracking, and what
these import (opencv, scikit-image, shapely):

    python tests/bench/make_track_metrics.py DAVIS GOT10K PYTRACKING
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

OUT = Path(__file__).parent.parent / "data" / "track_metrics.npz"
SIZES = ((24, 36), (90, 110), (240, 320))
LENGTHS = (1, 3, 6, 29, 200)


def load(path: Path, *missing: str) -> types.ModuleType:
    """A file of a reference as a module; `missing` are modules that its functions used here do without."""
    for name in missing:
        sys.modules.setdefault(name, types.ModuleType(name))
    spec = importlib.util.spec_from_file_location(path.stem + "_reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blob(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A box, an ellipse or both, some over the picture's edge."""
    y, x = np.mgrid[:height, :width]
    cy, cx = rng.uniform(0, height), rng.uniform(0, width)
    ry, rx = rng.uniform(1, height / 2), rng.uniform(1, width / 2)
    box, ellipse = (abs(y - cy) < ry) & (abs(x - cx) < rx), ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1
    return (box, ellipse, box ^ np.roll(ellipse, 3, 1))[rng.integers(3)]


def masks(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and track: some shifted by a little, some different, some empty, some full."""
    truth = np.stack([blob(rng, height, width) for _ in range(12)])
    track = np.stack([np.roll(mask, rng.integers(-4, 5, 2), (0, 1)) for mask in truth])
    track[3], track[4], truth[4], truth[5] = False, False, False, False
    track[6], truth[7] = True, True
    track[8], track[9] = blob(rng, height, width), truth[9]
    track[10] = truth[10] ^ (rng.random((height, width)) < 0.02)
    return truth, track


def main(davis_folder: str, got10k_folder: str, pytracking_folder: str) -> None:
    davis = load(Path(davis_folder, "davis2017", "metrics.py"))
    sys.modules["davis2017"] = types.ModuleType("davis2017")
    sys.modules["davis2017.davis"] = types.ModuleType("davis2017.davis")
    sys.modules["davis2017.davis"].DAVIS = None
    davis_utils = load(Path(davis_folder, "davis2017", "utils.py"))
    got10k = load(Path(got10k_folder, "got10k", "utils", "metrics.py"))
    loading, environment = "pytracking.utils.load_text", "pytracking.evaluation.environment"
    for name in (loading, environment):
        sys.modules[name] = types.ModuleType(name)
    sys.modules[loading].load_text = sys.modules[environment].env_settings = None
    pytracking = load(
        Path(pytracking_folder, "pytracking", "analysis", "extract_results.py"),
        "pytracking",
        "pytracking.utils",
        "pytracking.evaluation",
    )
    rng = np.random.default_rng(0)
    out: dict[str, np.ndarray] = {}
    for index, (height, width) in enumerate(SIZES):
        truth, track = masks(rng, height, width)
        out |= {
            f"masks{index}_size": np.array([height, width]),
            f"masks{index}_truth": np.packbits(truth, -1),
            f"masks{index}_track": np.packbits(track, -1),
            f"masks{index}_j": davis.db_eval_iou(truth, track),
            f"masks{index}_f": davis.db_eval_boundary(truth, track),
        }
    for length in LENGTHS:
        values = np.round(rng.random(length), 2)
        out[f"values{length}"] = values
        out[f"statistics{length}"] = np.array(davis_utils.db_statistics(values))
    truth = np.concatenate([rng.uniform(10, 200, (80, 2)), rng.uniform(5, 90, (80, 2))], 1)
    track = truth + rng.normal(0, 1, truth.shape) * rng.choice([0, 2, 15], (80, 1))
    track[:, 2:] = np.maximum(track[:, 2:], 1)
    track[7] = truth[9]
    out |= {"boxes_truth": truth, "boxes_track": track}
    overlap, offset, normalised, _ = pytracking.calc_seq_err_robust(
        torch.from_numpy(track), torch.from_numpy(truth), "otb"
    )
    ours = got10k.rect_iou(track[1:], truth[1:])
    thresholds = torch.arange(0.0, 1.05, 0.05, dtype=torch.float64)
    out |= {
        "boxes_iou": overlap.numpy(),
        "boxes_offset": offset.numpy(),
        "boxes_normalised": normalised.numpy(),
        "boxes_success": (overlap[:, None] > thresholds).double().mean(0).numpy(),
        "boxes_precision": (offset[:, None] <= torch.arange(51.0)).double().mean(0).numpy(),
        "boxes_normalised_precision": (normalised[:, None] <= torch.arange(51.0) / 100).double().mean(0).numpy(),
        # GOT-10k leaves out the first frame.
        "boxes_ao_sr": np.array([ours.mean(), (ours > 0.5).mean(), (ours > 0.75).mean()]),
    }
    np.savez_compressed(OUT, **out)


if __name__ == "__main__":
    main(*sys.argv[1:])
