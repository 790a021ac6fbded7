"""Sources of frames: files, folders of pictures, iterables, live streams; sampled by time and cut into clips."""

from vidmem.ingest.clip import clips, prefetch
from vidmem.ingest.live import (
    Gap,
    Health,
    LiveConfig,
    LiveFrame,
    LiveSource,
    Patience,
    Transport,
    open_live,
    open_pushed,
)
from vidmem.ingest.opening import DecoderName, open_source
from vidmem.ingest.sampling import next_tick
from vidmem.ingest.source import Source, SourceInfo, TimedPicture

__all__ = [
    "DecoderName", "Gap", "Health", "LiveConfig", "LiveFrame", "LiveSource", "Patience", "Source", "SourceInfo",
    "TimedPicture", "Transport", "clips", "next_tick", "open_live", "open_pushed", "open_source",
    "prefetch",
]  # fmt: skip
