"""The compositions: ingest a video into a store, ask the store, search it, look after it."""

from vidmem.index import StoredAlert, Told
from vidmem.pipelines.alerts import AlertsState
from vidmem.pipelines.answering import AnswerStream
from vidmem.pipelines.contents import Contents, Held
from vidmem.pipelines.following_up import in_context
from vidmem.pipelines.growth import Size
from vidmem.pipelines.ingest import IngestReport, Progress
from vidmem.pipelines.keeping import Keeping, Pruned
from vidmem.pipelines.loading import preset_for
from vidmem.pipelines.objects import RememberedObject, Whereabouts
from vidmem.pipelines.scenes import Scene
from vidmem.pipelines.state import State
from vidmem.pipelines.stored_memory import Picture, StoredMemory, open_store
from vidmem.pipelines.telling import Command, Then, Webhook
from vidmem.pipelines.tiers import TierBytes
from vidmem.pipelines.video_memory import VideoMemory
from vidmem.pipelines.watching import Watch, WatchPolicy, WatchState

__all__ = [
    "AlertsState",
    "AnswerStream",
    "Command",
    "Contents",
    "Held",
    "IngestReport",
    "Keeping",
    "Picture",
    "Progress",
    "Pruned",
    "RememberedObject",
    "Scene",
    "Size",
    "State",
    "StoredAlert",
    "StoredMemory",
    "Then",
    "TierBytes",
    "Told",
    "VideoMemory",
    "Whereabouts",
    "Watch",
    "WatchPolicy",
    "WatchState",
    "Webhook",
    "in_context",
    "open_store",
    "preset_for",
]
