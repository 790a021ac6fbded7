"""Small stores for these tests: a fixed identity, and clips whose every number follows from video and place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from vidmem.index import FrameRows, NewClip, StoreIdentity, VideoRow
from vidmem.types import Span, VideoId

DIM, TOKENS, WIDTH = 16, 4, 8
IDENTITY = StoreIdentity("tiny", "encoder", "e1", "language", "l1", DIM, TOKENS, WIDTH, "moviechat")
CLIP_SECONDS = 8.0
FRAMES = 3


def video(number: int = 0, **changes: object) -> VideoRow:
    values: dict = {
        "video_id": VideoId(f"{number:016x}"),
        "content_id": f"content-{number}",
        "settings_hash": "fps=1",
        "source": f"/videos/{number}.mp4",
        "name": f"{number}.mp4",
    }
    return VideoRow(**values | changes)


def span(clip: int) -> Span:
    return Span(clip * CLIP_SECONDS, (clip + 1) * CLIP_SECONDS)


def frames(video_id: str, clip: int, num_frames: int = FRAMES, dtype: torch.dtype = torch.float16) -> FrameRows:
    """The frames of a video's n-th clip: the same numbers whenever asked for."""
    seed = int.from_bytes(hashlib.sha256(f"{video_id}/{clip}".encode()).digest()[:4])
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((num_frames, DIM)).astype(np.float32)
    return FrameRows(
        pts_seconds=clip * CLIP_SECONDS + np.arange(num_frames) * (CLIP_SECONDS / max(num_frames, 1)),
        embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        tokens=torch.from_numpy(rng.standard_normal((num_frames, TOKENS, WIDTH)).astype(np.float32)).to(dtype),
        thumbnails=[b"\xff\xd8" + f"{video_id}/{clip}/{row}".encode() for row in range(num_frames)],
    )


def memory(video_id: str, clip: int) -> dict[str, torch.Tensor]:
    return {"key": torch.full((4, DIM), float(clip)), "life": torch.arange(4) + clip}


def append(store, video_id: str, clip: int) -> None:  # type: ignore[no-untyped-def]
    store.append_clip(VideoId(video_id), span(clip), frames(video_id, clip), memory(video_id, clip))


def append_together(store, video_id: str, clips: range) -> None:  # type: ignore[no-untyped-def]
    """The same in one transaction."""
    new = [NewClip(span(clip), frames(video_id, clip)) for clip in clips]
    store.append_clips(VideoId(video_id), new, memory(video_id, clips[-1]))


def content(store) -> dict:  # type: ignore[no-untyped-def]
    """All that a store holds, read back through its public methods, by video id: clips, frames and memory."""
    found = {}
    for row in store.videos():
        rows = store.frames_between(row.video_id, 0.0, 1e9)
        pts, vectors = store.embeddings(row.video_id)
        tokens = store.load_tokens([frame.frame_id for frame in rows])
        state = store.load_memory(row.video_id)
        found[row.video_id] = {
            "clips": row.num_clips,
            "until": row.committed_until,
            "finished": row.is_finished,
            "pts": pts.tolist(),
            "vectors": vectors.tobytes(),
            "tokens": tokens.numpy().tobytes() if rows else b"",
            "thumbnails": [Path(frame.thumbnail_path).read_bytes() for frame in rows],
            "memory": None if state is None else {name: tensor.tolist() for name, tensor in state.items()},
        }
    return found


def expected(video_id: str, num_clips: int, *, finished: bool = False) -> dict:
    """What `content` must say of a video with that many clips, from the plain arrays."""
    clips = [frames(video_id, clip) for clip in range(num_clips)]
    last = memory(video_id, num_clips - 1) if num_clips else None
    return {
        "clips": num_clips,
        "until": num_clips * CLIP_SECONDS,
        "finished": finished,
        "pts": [pts for clip in clips for pts in clip.pts_seconds.tolist()],
        "vectors": b"".join(clip.embeddings.tobytes() for clip in clips),
        "tokens": b"".join(clip.tokens.numpy().tobytes() for clip in clips),
        "thumbnails": [jpeg for clip in clips for jpeg in clip.thumbnails],
        "memory": None if last is None else {name: tensor.tolist() for name, tensor in last.items()},
    }


def files(path) -> set[str]:  # type: ignore[no-untyped-def]
    """Every file in the folders of a store."""
    return {
        str(file.relative_to(path))
        for folder in ("kv", "memory", "thumbs")
        for file in (path / folder).rglob("*")
        if file.is_file()
    }
