"""One clip tracked in a process of its own, so that its peak memory is its own.

`python -m vidmem.bench.track_once ours|package FOLDER OBJECTS SEED`; in the folder are `config.json`, and JPEGs in
`clip`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vidmem.bench.once import peak_bytes
from vidmem.bench.track_package import package_predictor, propagated
from vidmem.bench.track_speed import box_of, random_model, resident_bytes
from vidmem.models.sam_config import read_config
from vidmem.models.tracker import Tracker
from vidmem.models.tracking.prompts import Prompt


def main(who: str, folder: Path, num_objects: int, seed: int) -> None:
    """Track, and print one JSON object with the peak in bytes, on top of what the process held before."""
    config = read_config(folder / "config.json")
    model = random_model(config, seed)
    prompts = [Prompt(index, box=box_of(index, 0, num_objects)) for index in range(num_objects)]
    before = resident_bytes()
    # Loading libraries takes more than it leaves: the mark is set back to what is held now.
    Path("/proc/self/clear_refs").write_text("5")
    if who == "package":
        for _ in propagated(package_predictor(model, config), folder / "clip", prompts, dtype=torch.float32):
            pass
    else:
        tracker = Tracker(model, selection="sam2")
        for index, path in enumerate(sorted((folder / "clip").glob("*.jpg"))):
            picture = np.array(Image.open(path).convert("RGB"))
            tracker.step(picture, float(index), prompts=prompts if index == 0 else ())
    json.dump({"peak_bytes": peak_bytes() - before}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
