"""The compositions: ingest a video into a store, ask the store, search it, look after it."""

from vidmem.index import StoredAlert, Told
from vidmem.pipelines.alerts import AlertsState
from vidmem.pipelines.answering import AnswerStream
from vidmem.pipelines.ingest import IngestReport, Progress
from vidmem.pipelines.loading import preset_for
from vidmem.pipelines.objects import RememberedObject, Whereabouts
from vidmem.pipelines.scenes import Scene
from vidmem.pipelines.state import State
from vidmem.pipelines.stored_memory import StoredMemory, open_store
from vidmem.pipelines.telling import Command, Then, Webhook
from vidmem.pipelines.video_memory import VideoMemory
from vidmem.pipelines.watching import Watch, WatchPolicy, WatchState

__all__ = [
    "AlertsState",
    "AnswerStream",
    "Command",
    "IngestReport",
    "Progress",
    "RememberedObject",
    "Scene",
    "State",
    "StoredAlert",
    "StoredMemory",
    "Then",
    "Told",
    "VideoMemory",
    "Whereabouts",
    "Watch",
    "WatchPolicy",
    "WatchState",
    "Webhook",
    "open_store",
    "preset_for",
]
