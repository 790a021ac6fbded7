"""Sources of frames: files, folders of pictures, iterables; sampled by time and cut into clips."""

from vidmem.ingest.clip import clips, prefetch
from vidmem.ingest.sampling import next_tick
from vidmem.ingest.source import DecoderName, Source, SourceInfo, TimedPicture, open_source

__all__ = ["DecoderName", "Source", "SourceInfo", "TimedPicture", "clips", "next_tick", "open_source", "prefetch"]
