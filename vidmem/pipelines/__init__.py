"""The compositions: ingest a video into a store, ask the store, search it."""

from vidmem.pipelines.answering import AnswerStream
from vidmem.pipelines.ingest import IngestReport, Progress
from vidmem.pipelines.video_memory import State, VideoMemory

__all__ = ["AnswerStream", "IngestReport", "Progress", "State", "VideoMemory"]
