"""The web page: pick a video, watch it, ask, click the evidence. Thin over `vidmem.pipelines`."""

from __future__ import annotations

from vidmem.ui.app import launch

__all__ = ["launch"]
