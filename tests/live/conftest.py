"""A camera to be watched."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from camera import camera, video

__all__ = ["camera", "video"]
