"""Whether there can be a camera here."""

from __future__ import annotations

import pytest

from vidmem.bench.live_camera import what_is_missing


def need_gstreamer() -> None:
    if (command := what_is_missing()) is not None:
        pytest.skip(f"NO RTSP SERVER HERE, SO NO CAMERA WAS TRIED: {command}")
