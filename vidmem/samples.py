"""Where the sample videos lie: beside the package in a checkout, under `share/` where vidmem was installed."""

from __future__ import annotations

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from vidmem.errors import NotFound


def sample_folder() -> Path:
    """The folder of sample videos. Raises NotFound if this installation has none."""
    checkout = Path(__file__).resolve().parent.parent / "sample_videos"
    installed = Path(sysconfig.get_path("data")) / "share" / "vidmem" / "sample_videos"
    for folder in (checkout, installed):
        if any(folder.glob("*.mp4")):
            return folder
    raise NotFound(f"no sample videos in {checkout} or {installed}: render one with `vidmem world render`")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample video, and of the truth beside it what a person is shown before asking."""

    path: Path
    seconds: float
    questions: tuple[str, ...]


def samples() -> list[Sample]:
    """The sample videos, the shortest first. Raises NotFound if this installation has none."""
    return sorted(map(_sample, sample_folder().glob("*.mp4")), key=lambda sample: sample.seconds)


def _sample(path: Path) -> Sample:
    truth = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    first_of_kind: dict[str, str] = {}
    for question in truth["questions"]:
        first_of_kind.setdefault(question["kind"], question["text"])
    return Sample(path, float(truth["duration"]), tuple(first_of_kind.values()))
