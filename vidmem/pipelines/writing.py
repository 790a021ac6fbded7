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
from vidmem.types import Clip, Gap, Span, View

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
"""Most clips in one transaction (docs/decisions/0005-kv-tiers.md)."""
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

    def look(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Embeddings (F, C) float32 and tokens (F, P, D) in 16 bit, both on the CPU."""
        embeddings = self._encoder.encode_frames(clip.view(self._view_index[0])).cpu()
        tokens = self._language.encode_frames(clip.view(self._view_index[1]))
        dtype = torch.bfloat16 if tokens.dtype == torch.bfloat16 else torch.float16
        return embeddings, tokens.to("cpu", dtype)

    def pictures(self, clip: Clip) -> list[np.ndarray]:
        """For thumbnails."""
        return [frame.views[self._view_index[2]] for frame in clip.frames]


@dataclass(frozen=True, slots=True, eq=False)
class _Encoded:
    """A clip that the models were run over, and what is left to be remembered and committed of it."""

    span: Span
    spans: np.ndarray
    """(F, 2), of the frames."""
    embeddings: Tensor
    tokens: Tensor
    pictures: list[np.ndarray]
    """For thumbnails."""
    prefilled: list[Seen]
    """Empty in tokens mode."""
    saves: bool
    """Whether the memory's state is to be committed with it."""
    wall_start: float | None
    gap: Gap | None
    at_commit: Callable[[], None] | None

    @property
    def num_bytes(self) -> int:
        blocks = sum(seen.block.keys.nbytes + seen.block.values.nbytes for seen in self.prefilled)
        return blocks + self.tokens.nbytes + sum(picture.nbytes for picture in self.pictures)

    def stored(self, rows: FrameRows, blocks: ClipBlocks | None) -> NewClip:
        return NewClip(self.span, rows, blocks, self.wall_start, self.gap)

    def rows(self) -> FrameRows:
        return FrameRows(self.spans[:, 0], self.embeddings.numpy(), self.tokens, list(map(jpeg, self.pictures)))


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
        patience_seconds: float = PATIENCE_SECONDS,
        upkeep: Upkeep | None = None,
    ) -> None:
        """
        Args:
            memory, scenes: as they are after the video's last committed clip; both are written to.
            blocks: the video's, in kv mode.
            patience_seconds: how long a clip may wait for others to be committed with.
            upkeep: of the store, done between commits.
        """
        self._store, self._video, self._looker = store, video, looker
        self._memory, self._scenes, self._blocks, self._clock = memory, scenes, blocks, clock
        self._upkeep = upkeep
        self.num_frames = self.num_clips = self.num_scenes = 0
        """Taken so far; scenes that were found to end in them."""
        self._behind = committing(self._commit, patience_seconds)

    def write(
        self,
        clip: Clip,
        *,
        is_last: bool = False,
        wall_start: float | None = None,
        gap: Gap | None = None,
        at_commit: Callable[[], None] | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        """Run the models over a clip and have it committed, while the next ones are looked at.

        Args:
            wall_start, gap: of a stream, see `NewClip`.
            at_commit: called in the thread that commits, as soon as it is.
            then: called in this thread, once it is committed, by a later `write` or by `finish`.

        Raises:
            StorageFull: this clip, or one before it, could not be committed.
        """
        saves = is_last or (self.num_clips + 1) % _CLIPS_BETWEEN_SAVES == 0
        embeddings, tokens = self._clock.timed("encode", lambda: self._looker.look(clip))
        pts = np.array([frame.pts_seconds for frame in clip.frames])
        spans = np.stack([pts, np.append(pts[1:], clip.span.end)], axis=1)
        prefilled: list[Seen] = []
        if (blocks := self._blocks) is not None:
            prefilled = self._clock.timed("prefill", lambda: blocks.prefill(tokens, spans, wall_start))
        pictures = self._looker.pictures(clip)
        encoded = _Encoded(clip.span, spans, embeddings, tokens, pictures, prefilled, saves, wall_start, gap, at_commit)
        self._behind.give(encoded, num_bytes=encoded.num_bytes, then=then)
        self.num_frames, self.num_clips = self.num_frames + len(clip.frames), self.num_clips + 1
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
            elements = elements_of(clip.embeddings, clip.tokens, clip.spans)
            clock.timed("memory", functools.partial(memory.write, elements))
        state = clock.timed("memory", memory.state_dict) if any(clip.saves for clip in encoded) else None
        rows = clock.timed("store", lambda: [clip.rows() for clip in encoded])
        stored: Sequence[ClipBlocks | None] = [None] * len(encoded)
        if (blocks := self._blocks) is not None:
            stored = clock.timed("store", lambda: blocks.keep([clip.prefilled for clip in encoded]))
        clips = [clip.stored(row, block) for clip, row, block in zip(encoded, rows, stored, strict=True)]
        clock.timed("store", lambda: self._store.append_clips(self._video.video_id, clips, state))
        for clip in encoded:
            if clip.at_commit is not None:
                clip.at_commit()
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


def committing(commit: Callable[[list[T]], None], patience_seconds: float = PATIENCE_SECONDS) -> Behind[T]:
    """A thread that commits clips of an ingest, those that come soon after each other together."""
    return Behind(
        "vidmem-commit",
        commit,
        together=CLIPS_TOGETHER,
        most_bytes=_BYTES_TOGETHER,
        patience_seconds=patience_seconds,
    )


def jpeg(image: np.ndarray) -> bytes:
    """A uint8 RGB image (H, W, 3) as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()
