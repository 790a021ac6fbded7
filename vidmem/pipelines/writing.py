"""Clips into a store: the models run over each, it is remembered, and committed while the next is looked at."""

from __future__ import annotations

import functools
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidmem.index import ClipBlocks, FrameRows, NewClip, Store, StoredVideo
from vidmem.memory import Memory
from vidmem.memory.scenes import SceneStream
from vidmem.pipelines.behind import Behind
from vidmem.pipelines.remembering import elements_of
from vidmem.types import Clip, Frame, Gap, View

if TYPE_CHECKING:
    from vidmem.kv.compress import Seen
    from vidmem.models.encoder import FrameEncoder
    from vidmem.models.language import VideoLanguageModel
    from vidmem.pipelines.kv_ingest import BlockStream
    from vidmem.pipelines.retention import Upkeep

BlocksOf = Callable[[StoredVideo, float | None], "BlockStream"]
"""Opens the KV blocks of a video for writing; the number is its length in seconds, None while unknown."""

THUMBNAIL = View(320, 320, keep_aspect=True)
_THUMBNAIL_QUALITY = 80
_CLIPS_BETWEEN_SAVES = 32
"""The memory's state is committed with every so many clips and the last one; between, it can be made again."""
CLIPS_TOGETHER = 4
"""Most clips of a file in one transaction (docs/decisions/0005-kv-tiers.md)."""
_BYTES_TOGETHER = 32 * 1024**2
"""A clip that fills this is committed at once: of a large model one clip's blocks are hundreds of megabytes."""
PATIENCE_SECONDS = 0.25
"""So long a clip of a file waits for others to be committed with."""

T = TypeVar("T")


@dataclass(slots=True)
class Clock:
    """Seconds spent in each step."""

    decode: float = 0.0
    encode: float = 0.0
    prefill: float = 0.0
    memory: float = 0.0
    store: float = 0.0
    begun: float = field(default_factory=time.perf_counter)

    def timed(self, step: str, work: Callable[[], T]) -> T:
        begun = time.perf_counter()
        try:
            return work()
        finally:
            setattr(self, step, getattr(self, step) + time.perf_counter() - begun)


class Looker:
    """The pair of models that looks at frames, and the sizes in which it wants them."""

    def __init__(self, encoder: FrameEncoder, language: VideoLanguageModel) -> None:
        self._encoder, self._language = encoder, language
        wanted = [encoder.view, language.view, THUMBNAIL]
        self.views = list(dict.fromkeys(wanted))
        self._view_index = [self.views.index(view) for view in wanted]

    def look(self, frames: Sequence[Frame]) -> tuple[Tensor, Tensor]:
        """Embeddings (F, C) float32 and tokens (F, P, D) in 16 bit, both on the CPU."""
        for_encoder, for_language = (
            np.stack([frame.views[index] for frame in frames]) for index in self._view_index[:2]
        )
        embeddings = self._encoder.encode_frames(for_encoder).cpu()
        tokens = self._language.encode_frames(for_language)
        dtype = torch.bfloat16 if tokens.dtype == torch.bfloat16 else torch.float16
        return embeddings, tokens.to("cpu", dtype)

    def pictures(self, clip: Clip) -> list[np.ndarray]:
        """For thumbnails."""
        return [frame.views[self._view_index[2]] for frame in clip.frames]


@dataclass(frozen=True, slots=True, eq=False)
class ClipToWrite:
    """A clip to be written."""

    clip: Clip
    is_last: bool = False
    wall_start: float | None = None
    gap: Gap | None = None
    """Both of a stream, see `NewClip`."""
    at_commit: Callable[[], None] | None = None
    """Called in the thread that commits, as soon as it is."""
    then: Callable[[], None] | None = None
    """Called in the thread that writes, once it is committed, by a later `write` or by `finish`."""

    @property
    def spans(self) -> np.ndarray:
        """(F, 2), of the frames: each until the next one begins."""
        pts = np.array([frame.pts_seconds for frame in self.clip.frames])
        return np.stack([pts, np.append(pts[1:], self.clip.span.end)], axis=1)

    @property
    def walls(self) -> list[float | None]:
        """When each frame was, in seconds since 1970."""
        start, begun = self.wall_start, self.clip.frames[0].pts_seconds
        return [None if start is None else start + frame.pts_seconds - begun for frame in self.clip.frames]


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """A clip that the models were run over, and what is left to be remembered and committed of it."""

    to_write: ClipToWrite
    embeddings: Tensor
    tokens: Tensor
    pictures: list[np.ndarray]
    """For thumbnails."""
    prefilled: list[Seen]
    """Empty in tokens mode."""
    saves: bool
    """Whether the memory's state is to be committed with it."""

    @property
    def num_bytes(self) -> int:
        blocks = sum(seen.block.keys.nbytes + seen.block.values.nbytes for seen in self.prefilled)
        return blocks + self.tokens.nbytes + sum(picture.nbytes for picture in self.pictures)

    def stored(self, rows: FrameRows, blocks: ClipBlocks | None) -> NewClip:
        return NewClip(self.to_write.clip.span, rows, blocks, self.to_write.wall_start, self.to_write.gap)

    def rows(self) -> FrameRows:
        return FrameRows(
            self.to_write.spans[:, 0], self.embeddings.numpy(), self.tokens, list(map(jpeg, self.pictures))
        )


class ClipWriter:
    """Takes the clips of one video in order; a context manager. Leaving waits until what was taken is committed."""

    def __init__(
        self,
        store: Store,
        video: StoredVideo,
        looker: Looker,
        *,
        memory: Memory,
        scenes: SceneStream,
        blocks: BlockStream | None,
        clock: Clock,
        together: int,
        patience_seconds: float,
        upkeep: Upkeep | None = None,
    ) -> None:
        """
        Args:
            memory, scenes: as they are after the video's last committed clip; both are written to.
            blocks: the video's, in kv mode.
            together: most clips in one transaction.
            patience_seconds: how long a clip may wait for others to be committed with.
            upkeep: of the store, done between commits.
        """
        self._store, self._video, self._looker = store, video, looker
        self._memory, self._scenes, self._blocks, self._clock = memory, scenes, blocks, clock
        self._upkeep = upkeep
        self.num_frames = self.num_clips = self.num_scenes = 0
        """Taken so far; scenes that were found to end in them."""
        self._behind = committing(self._commit, together=together, patience_seconds=patience_seconds)

    def write(self, clips: Sequence[ClipToWrite]) -> None:
        """Run the models over clips, all at once, and have them committed, while the next ones are looked at.

        Raises:
            StorageFull: one of these clips, or one before them, could not be committed.
        """
        frames = [frame for one in clips for frame in one.clip.frames]
        embeddings, tokens = self._clock.timed("encode", lambda: self._looker.look(frames))
        prefilled: list[Seen] = []
        if (blocks := self._blocks) is not None:
            spans = np.concatenate([one.spans for one in clips])
            walls = [wall for one in clips for wall in one.walls]
            prefilled = self._clock.timed("prefill", lambda: blocks.prefill(tokens, spans, walls))
        begin = 0
        for one in clips:
            part = slice(begin, begin + len(one.clip.frames))
            self._give(one, embeddings[part], tokens[part], prefilled[part])
            begin = part.stop

    def _give(self, one: ClipToWrite, embeddings: Tensor, tokens: Tensor, prefilled: list[Seen]) -> None:
        """Hand over a clip that was looked at."""
        saves = one.is_last or (self.num_clips + 1) % _CLIPS_BETWEEN_SAVES == 0
        pictures = self._looker.pictures(one.clip)
        encoded = _Encoded(one, embeddings, tokens, pictures, prefilled, saves)
        self._behind.give(encoded, num_bytes=encoded.num_bytes, then=one.then)
        self.num_frames, self.num_clips = self.num_frames + len(one.clip.frames), self.num_clips + 1
        self.num_scenes += len(self._scenes.push(embeddings))

    def finish(self) -> None:
        """Wait until all is committed."""
        self._behind.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._behind.__exit__(kind, error, trace)

    def _commit(self, encoded: list[_Encoded]) -> None:
        """Remember clips and commit them together."""
        clock, memory = self._clock, self._memory
        for clip in encoded:
            elements = elements_of(clip.embeddings, clip.tokens, clip.to_write.spans)
            clock.timed("memory", functools.partial(memory.write, elements))
        state = clock.timed("memory", memory.state_dict) if any(clip.saves for clip in encoded) else None
        rows = clock.timed("store", lambda: [clip.rows() for clip in encoded])
        stored: Sequence[ClipBlocks | None] = [None] * len(encoded)
        if (blocks := self._blocks) is not None:
            stored = clock.timed("store", lambda: blocks.keep([clip.prefilled for clip in encoded]))
        clips = [clip.stored(row, block) for clip, row, block in zip(encoded, rows, stored, strict=True)]
        clock.timed("store", lambda: self._store.append_clips(self._video.video_id, clips, state))
        for clip in encoded:
            if clip.to_write.at_commit is not None:
                clip.to_write.at_commit()
        if self._upkeep is not None and self._upkeep.committed(len(encoded)) and self._blocks is not None:
            self._blocks.forget()


def opened(opening: Callable[[], BlockStream], store: Store, video: StoredVideo, *, is_new: bool) -> BlockStream:
    """A video's stream of blocks. A new video that can't have one, as its preset is wrong, is no more there."""
    try:
        return opening()
    except BaseException:
        if is_new:
            store.remove_video(video.video_id)
        raise


def committing(commit: Callable[[list[T]], None], *, together: int, patience_seconds: float) -> Behind[T]:
    """A thread that commits clips of an ingest, those that come soon after each other together."""
    return Behind(
        "vidmem-commit", commit, together=together, most_bytes=_BYTES_TOGETHER, patience_seconds=patience_seconds
    )


def jpeg(image: np.ndarray) -> bytes:
    """A uint8 RGB image (H, W, 3) as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()
