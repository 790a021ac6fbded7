"""The web page: bring videos into a store, watch, ask, click the evidence. Thin over `vidmem.pipelines`."""

from __future__ import annotations

from vidmem.ui.app import launch

__all__ = ["launch"]
