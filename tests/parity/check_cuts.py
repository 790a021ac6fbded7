"""Cuts of TDC-Video (from running its code) and of HEM-LLM (transcribed from its paper), groups of `policies_other`."""

from __future__ import annotations

from vidmem.memory.policies.event_reference import tdc_cuts
from vidmem.memory.scenes import lowest_cuts, neighbour_cosines

from .fixture import Fixture


def check_tdc(fixture: Fixture, group: str) -> None:
    (max_segments,) = fixture.ints(f"{group}__max_segments")
    got = tdc_cuts(fixture[f"{group}__x"], max_segments)
    fixture.same(f"{group}__kept_frames", got.kept_frames)
    fixture.same(f"{group}__cut_after", got.cut_after)


def check_hem(fixture: Fixture, group: str) -> None:
    (num_events,) = fixture.ints(f"{group}__k")
    cuts = lowest_cuts(neighbour_cosines(fixture[f"{group}__x"]), num_events - 1)
    fixture.same(f"{group}__cut_after", cuts.nonzero().flatten())
