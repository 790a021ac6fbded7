"""The store on disk: catalogue, vector index, token segments, memory states, objects and thumbnails in one folder."""

from __future__ import annotations

from vidmem.index.alerts import AlertId, AlertProgress, AlertRow, Change, NewTold, StoredAlert, Told, ToldId
from vidmem.index.expired_rows import Expired, HeldClip
from vidmem.index.manifest import Manifest, StoreIdentity
from vidmem.index.masks import decode_mask, encode_mask
from vidmem.index.objects import (
    Look,
    ObjectHit,
    ObjectId,
    ObjectUpdate,
    Origin,
    StoredLook,
    StoredObject,
    Track,
)
from vidmem.index.rows import (
    ClipBlocks,
    FrameHit,
    FrameId,
    FrameRow,
    FrameRows,
    LandmarkRow,
    NewClip,
    QuestionRow,
    StoredVideo,
    StoreState,
    VideoRow,
)
from vidmem.index.store import Store
from vidmem.index.streams import StreamClock

__all__ = [
    "AlertId",
    "AlertProgress",
    "AlertRow",
    "Change",
    "ClipBlocks",
    "Expired",
    "FrameHit",
    "FrameId",
    "FrameRow",
    "FrameRows",
    "HeldClip",
    "LandmarkRow",
    "Look",
    "Manifest",
    "NewClip",
    "NewTold",
    "ObjectHit",
    "ObjectId",
    "ObjectUpdate",
    "Origin",
    "QuestionRow",
    "Store",
    "StoreIdentity",
    "StoreState",
    "StreamClock",
    "StoredAlert",
    "StoredLook",
    "StoredObject",
    "StoredVideo",
    "Told",
    "ToldId",
    "Track",
    "VideoRow",
    "decode_mask",
    "encode_mask",
]
