"""Every picture of a video file, one after the other: the plain way, which damage can't stop."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import av.error

from vidmem.ingest.clock import Clock
from vidmem.ingest.demux import Demuxer
from vidmem.ingest.probe import Facts
from vidmem.ingest.sampling import Timed
from vidmem.ingest.source import Tally


def scan(demuxer: Demuxer, facts: Facts, tally: Tally) -> Iterator[Timed[av.VideoFrame]]:
    """Decode all packets in file order and give every picture its time; counts what it must pass over."""
    jump = round(Fraction(1, 2) / facts.time_base)
    clock = Clock(origin=facts.origin, fallback_ticks=facts.fallback_ticks, container=facts.container, jump_ticks=jump)
    for frame in _decoded(demuxer, tally):
        stamp = clock.stamp(frame)
        if stamp is None:
            tally.num_skipped += 1
            continue
        tally.num_decoded += 1
        start, end = facts.seconds(stamp[0]), facts.seconds(stamp[1])
        tally.until_seconds = end
        yield Timed(start, end, frame)


def _decoded(demuxer: Demuxer, tally: Tally) -> Iterator[av.VideoFrame]:
    num_errors = demuxer.num_errors
    for packet in demuxer.packets():
        yield from _decode_or_count(demuxer, packet, tally)
    yield from _decode_or_count(demuxer, None, tally)
    tally.num_skipped += demuxer.num_errors - num_errors


def _decode_or_count(demuxer: Demuxer, packet: av.Packet | None, tally: Tally) -> list[av.VideoFrame]:
    try:
        return demuxer.decode(packet)
    except av.error.EOFError:
        return []
    except av.error.FFmpegError:
        tally.num_skipped += 1
        return []
