"""Which of XMem's steps run on which frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FrameStep:
    """What happens on one frame, in this order."""

    encodes_selection: bool
    reads: bool
    """Memory is read and the frame segmented; counts usage."""
    updates_sensory: bool
    """The normal sensory update, out of the decoder."""
    writes: bool
    """The frame becomes a memory frame: shrinkage and value are encoded and go to working memory."""
    updates_sensory_deeply: bool
    """The sensory update out of the value just encoded."""


def schedule_frames(
    num_frames: int,
    masks: Mapping[int, bool],
    *,
    memory_every: int = 5,
    deep_update_every: int = -1,
    long_term: bool = True,
) -> tuple[FrameStep, ...]:
    """Plan a video of `num_frames` frames.

    A frame is never read on the frame it is written on. The last frame is segmented, but nothing is learnt of it.

    Args:
        masks: frames that come with a mask, and whether it covers all objects known by then. Frame 0 needs one.
        memory_every: frames from one memory frame to the next.
        deep_update_every: frames from one deep update to the next, if negative one with each memory frame. A deep
            update that is due waits for the next memory frame, and normal ones go on beside it.
        long_term: whether consolidation, and so the selection of every frame, is wanted.
    """
    in_step = deep_update_every < 0
    last_memory, last_deep = 0, -deep_update_every
    steps = []
    for frame_index in range(num_frames):
        is_last = frame_index == num_frames - 1
        writes = (frame_index - last_memory >= memory_every or frame_index in masks) and not is_last
        reads = frame_index > 0 and not masks.get(frame_index, False)
        deep_is_due = writes if in_step else frame_index - last_deep >= deep_update_every and not is_last
        deepens = deep_is_due and writes
        is_normal = not is_last and not (in_step and deep_is_due)
        steps.append(FrameStep(long_term or reads, reads, reads and is_normal, writes, deepens))
        if writes:
            last_memory = frame_index
        if deepens:
            last_deep = frame_index
    return tuple(steps)
