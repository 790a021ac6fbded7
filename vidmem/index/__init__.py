"""The store on disk: catalogue, vector index, token segments, memory states and thumbnails in one folder."""

from __future__ import annotations

from vidmem.index.manifest import Manifest, StoreIdentity
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

__all__ = [
    "ClipBlocks",
    "FrameHit",
    "FrameId",
    "FrameRow",
    "FrameRows",
    "LandmarkRow",
    "Manifest",
    "NewClip",
    "QuestionRow",
    "Store",
    "StoreIdentity",
    "StoreState",
    "StoredVideo",
    "VideoRow",
]
