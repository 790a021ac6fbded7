"""Streams: cameras, servers, and files played as if they were live, on one timeline over every outage.

Why PyAV in a process of its own, and not an `ffmpeg` program behind a pipe: it gives each picture's own time, typed
errors and read timeouts that work (those of the program did not end a frozen RTSP session), and no password shows in
the list of processes. The process adds what no thread can have: it can be ended at any moment, also in a look-up of a
name that hangs, and a codec that crashes takes nothing else with it. It stays over reconnects, so that an outage of
hours costs one attempt every few seconds and not one start of Python each.
"""

from vidmem.ingest.live.handover import Policy
from vidmem.ingest.live.health import Health
from vidmem.ingest.live.item import Gap, LiveFrame
from vidmem.ingest.live.link import Patience, Phase
from vidmem.ingest.live.source import LiveConfig, LiveSource, Transport, open_live, open_pushed

__all__ = [
    "Gap", "Health", "LiveConfig", "LiveFrame", "LiveSource", "Patience", "Phase", "Policy", "Transport", "open_live",
    "open_pushed",
]  # fmt: skip
