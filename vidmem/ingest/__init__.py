"""Sources of frames: files, folders of pictures, iterables; sampled by time and cut into clips."""

from vidmem.ingest.clip import clips, prefetch
from vidmem.ingest.opening import DecoderName, open_source
from vidmem.ingest.sampling import next_tick
from vidmem.ingest.source import Source, SourceInfo, TimedPicture

__all__ = ["DecoderName", "Source", "SourceInfo", "TimedPicture", "clips", "next_tick", "open_source", "prefetch"]
