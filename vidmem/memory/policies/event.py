"""Events: a hierarchy of details and gist, cut where the picture changes, with each event's summary carried on.

Source: HEM-LLM (arXiv 2409.06299): events, a local memory inside each and a summary that goes into the next one, all of
which a trained network makes there; VideoLLaMB (arXiv 2409.01071): where to cut. Their own forms of cutting are in
`scenes` and `event_reference`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.grouping import average_groups
from vidmem.memory.merging import group_alike
from vidmem.memory.policies.baselines import fresh
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.scenes import neighbour_cosines, valley_cuts

NUM_RECENT = 8
"""Newest details that stay single frames, so that those after them are seen with what was before."""


@dataclass(frozen=True, slots=True)
class Event(FramePolicy):
    """Keep one summary of each event, the gist, and inside events as many details as there is room for.

    Frames that leave working memory are cut into events at valleys of the similarity of neighbours, seen together with
    the newest frames before them, which are not merged yet; what was cut stays cut. Where details are too many, the two
    neighbours inside an event that are most alike become their average; once each event has one, the oldest are
    forgotten. Where events are too many, the two neighbours that are most alike become one, so that the gist always
    spans the video.
    """

    name: ClassVar[str] = "event"
    source: ClassVar[str] = "HEM-LLM, arXiv 2409.06299; cut as VideoLLaMB, arXiv 2409.01071"
    alpha: float = 0.5
    """Deviations by which a valley must be deeper than the mean of the stretch that leaves working memory."""
    min_depth: float = 0.1
    """Depth that it must have in any case."""
    min_frames: int = 4
    """Frames that an event has at least."""
    gist_share: float = 0.02
    """Part of long-term memory for the gist; the rest is for details. Summaries are blurred, and in `vidmem bench
    policies` larger parts for them cost answers: of 60 about an hour 28 were right with 0.02, 23 with 0.25 and 19 with
    0.5."""
    carry: float = 0.1
    """Part of a summary's value that is the summary of the event before. Keys are of the event alone."""

    def __post_init__(self) -> None:
        FramePolicy.__post_init__(self)
        if self.min_frames < 1:
            raise ValueError(f"min_frames={self.min_frames} must be at least 1")
        if not self.min_depth >= 0:
            raise ValueError(f"min_depth={self.min_depth} must be at least 0")
        if not 0 <= self.gist_share <= 1 or not 0 <= self.carry < 1:
            raise ValueError(f"gist_share={self.gist_share} must be in [0, 1] and carry={self.carry} in [0, 1)")

    def levels(self, num_tokens: int, max_elements: int) -> tuple[Level, ...]:
        """Details, and the gist, which has room for one summary at least."""
        num_gist = max(1, int(max_elements * self.gist_share))
        return Level(num_tokens, max_elements - num_gist), Level(num_tokens, num_gist)

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (details, gist), (for_details, for_gist) = held, levels
        frames = fresh(leaving)
        num_open = int(gist.weight[-1:, :1].sum())
        event = self._events(frames, before=details[-NUM_RECENT:], num_open=num_open)
        of_gist = self._told(gist, frames, event, for_gist.max_elements)
        kept_starts = gist.span_seconds[of_gist.kept, 0]
        starts = torch.cat([kept_starts, of_gist.gained.span_seconds[:, 0]])
        return _detailed(details, frames, starts, for_details.max_elements), of_gist

    def _events(self, frames: Elements, *, before: Elements, num_open: int) -> Tensor:
        """The event of each frame: 0 for the one that is open and has `num_open` frames, 1 for the next, and so on.

        Args:
            before: the frames before them, as many as there are.
        """
        event, start = torch.zeros(len(frames), dtype=torch.int64), -num_open
        for place in self.cuts(torch.cat([before.key, frames.key])):
            first = place + 1 - len(before)
            if first >= max(0, start + self.min_frames):
                event[first:] += 1
                start = first
        return event

    def cuts(self, features: Tensor) -> list[int]:
        """Frames of a stretch (T, C) after which the picture changes, ascending."""
        cuts = valley_cuts(neighbour_cosines(features), alpha=self.alpha, min_depth=self.min_depth)
        return [int(place) for place in cuts.nonzero()]

    def _told(self, gist: Elements, frames: Elements, event: Tensor, max_elements: int) -> Change:
        """The gist with the frames in it, and as few events as there is room for."""
        goes_on = int(len(gist) > 0 and event[0] == 0)
        told = gist[: len(gist) - goes_on]
        before = told[-1:].value
        means, summaries = average_groups(frames, event - event[0]), []
        for number in range(len(means)):
            summary = self._with_summary(means[number : number + 1], before)
            if goes_on and number == 0:
                # Each frame brings its part of the summary before, so the average of both is as if made at once.
                summary = average_groups(Elements.cat([gist[-1:], summary]), torch.zeros(2, dtype=torch.int64))
            summaries.append(summary)
            before = summary.value
        new = Elements.cat(summaries)
        num_events = len(told) + len(new)
        # The last two stay: one goes on, and carries the other.
        apart = torch.arange(1, num_events) == (num_events - 1 if max_elements > 1 else 0)
        return _change(told, new, apart, max_elements)

    def _with_summary(self, mean: Elements, before: Tensor) -> Elements:
        if not len(before):
            return mean
        return replace(mean, value=mean.value.float().lerp(before.float(), self.carry).to(mean.value.dtype))


def _detailed(details: Elements, frames: Elements, event_starts: Tensor, max_elements: int) -> Change:
    """The details with the frames behind them, those of one event merged until they fit, or the oldest forgotten."""
    starts = torch.cat([details.span_seconds[:, 0], frames.span_seconds[:, 0]])
    event = torch.searchsorted(event_starts, starts, right=True)
    apart = event[1:] != event[:-1]
    apart[-NUM_RECENT:] = True
    return _change(details, frames, apart, max_elements)


def _change(held: Elements, new: Elements, apart: Tensor, max_elements: int) -> Change:
    """What is held followed by what is new, neighbours merged and the oldest forgotten where they are too many.

    Args:
        apart: whether each, except the last, must not be merged with the one after it.
    """
    num = len(held) + len(new)
    group = torch.arange(num)
    if num > max_elements > 0:
        key, weight = torch.cat([held.key, new.key]), torch.cat([held.weight, new.weight])[:, 0]
        group = group_alike(key, weight, max_elements, apart=apart)
    # What comes before the first merge stays where it is.
    first = min(len(held), int((group[1:] > group[:-1]).cumprod(0).sum()))
    gained = average_groups(Elements.cat([held[first:], new]), group[first:] - first)
    num_gone = max(0, first + len(gained) - max_elements)
    kept = torch.arange(min(num_gone, first), first)
    return Change(gained[max(0, num_gone - first) :], kept)
