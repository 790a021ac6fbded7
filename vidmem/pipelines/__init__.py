"""The compositions: ingest a video into a store, ask the store, search it, look after it."""

from vidmem.pipelines.answering import AnswerStream
from vidmem.pipelines.ingest import IngestReport, Progress
from vidmem.pipelines.keeping import Keeping, Pruned
from vidmem.pipelines.loading import preset_for
from vidmem.pipelines.objects import RememberedObject, Whereabouts
from vidmem.pipelines.scenes import Scene
from vidmem.pipelines.state import State
from vidmem.pipelines.stored_memory import StoredMemory, open_store
from vidmem.pipelines.video_memory import VideoMemory
from vidmem.pipelines.watching import Watch, WatchPolicy, WatchState

__all__ = [
    "AnswerStream",
    "IngestReport",
    "Keeping",
    "Progress",
    "Pruned",
    "RememberedObject",
    "Scene",
    "State",
    "StoredMemory",
    "VideoMemory",
    "Whereabouts",
    "Watch",
    "WatchPolicy",
    "WatchState",
    "open_store",
    "preset_for",
]
