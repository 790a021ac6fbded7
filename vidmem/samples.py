"""Where the sample videos lie: beside the package in a checkout, under `share/` where vidmem was installed."""

from __future__ import annotations

import sysconfig
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


def sample_videos() -> list[Path]:
    """The sample videos, by name. Raises NotFound if this installation has none."""
    return sorted(sample_folder().glob("*.mp4"))
