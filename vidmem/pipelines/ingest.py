"""From a source to a store: decode, encode, remember, commit, clip by clip."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vidmem.errors import BadInput, CorruptMedia
from vidmem.index import ClipBlocks, FrameRows, NewClip, Store, StoredVideo, VideoRow
from vidmem.ingest import Source, clips, next_tick, prefetch
from vidmem.memory import Memory, MemoryConfig
from vidmem.memory.scenes import SceneStream
from vidmem.pipelines.behind import Behind
from vidmem.pipelines.remembering import elements_of
from vidmem.types import Clip, Frame, Span, VideoId, View, format_time

if TYPE_CHECKING:
    from vidmem.kv.compress import Seen
    from vidmem.models.encoder import FrameEncoder
    from vidmem.models.language import VideoLanguageModel
    from vidmem.pipelines.kv_ingest import BlockStream

BlocksOf = Callable[[StoredVideo, float | None], "BlockStream"]
"""Opens the KV blocks of a video for writing; the number is its length in seconds, None while unknown."""

Progress = Callable[[float, float | None], None]
"""Called with the seconds of video committed and the seconds there are, None while that is unknown."""

THUMBNAIL = View(320, 320, keep_aspect=True)
_THUMBNAIL_QUALITY = 80
_CLIPS_AHEAD = 2
_CLIPS_BETWEEN_SAVES = 32
"""The memory's state is committed with every so many clips and the last one; between, it can be made again."""
CLIPS_TOGETHER = 4
"""Most clips in one transaction (docs/decisions/0005-kv-tiers.md)."""
_BYTES_TOGETHER = 32 * 1024**2
"""A clip that fills this is committed at once: of a large model one clip's blocks are hundreds of megabytes."""
_PATIENCE_SECONDS = 0.25
"""So long a clip waits for others to be committed with; a camera's never finds one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """What is taken of a video. Two ingests of one content differ if any of these does."""

    fps: float | None = 1.0
    """Frames looked at in a second; None for every frame."""
    clip_seconds: float = 8.0
    max_similarity: float | None = None
    """Drop a frame more alike than this, in [0, 1], to the one kept before it; None keeps all."""

    def __post_init__(self) -> None:
        if self.fps is not None and not 0 < self.fps < 1e6:
            raise BadInput(f"a video can't be looked at {self.fps} times a second: give --fps above 0.")
        if self.max_similarity is not None and not 0 <= self.max_similarity <= 1:
            raise BadInput(f"frames can't be {self.max_similarity} alike: give --max-similarity in [0, 1].")

    kv: Mapping[str, object] | None = None
    """In kv mode, what a block's numbers depend on; None in tokens mode."""

    def settings_hash(self, memory: MemoryConfig) -> str:
        settings = asdict(self) | {"memory": asdict(memory)}
        if self.kv is None:
            del settings["kv"]  # so that what was ingested before there was another mode is still recognised
        return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did. Times are seconds; decoding runs beside the rest, so shares may exceed the whole."""

    video_id: VideoId
    source: str
    already_there: bool
    """It was all in the store; nothing was done."""
    resumed_from: float
    """Where an ingest that was cut short went on; 0.0 for a new one."""
    frames: int
    """Frames added."""
    clips: int
    video_seconds: float
    """Seconds of video added."""
    scenes: int = 0
    """Scenes that begin in it, as far as that is known by its end."""
    skipped: int = 0
    """Damaged packets and pictures passed over."""
    speed: float = 0.0
    """Seconds of video for each second of work."""
    wall_seconds: float = 0.0
    decode_seconds: float = 0.0
    encode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    """In kv mode: running frames through the video-LLM."""
    memory_seconds: float = 0.0
    store_seconds: float = 0.0
    """Putting clips on disk, while the next ones are encoded: these seconds pass beside the others."""


@dataclass(slots=True)
class _Clock:
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


class _Timed(Generic[T]):
    """An iterator whose own time goes to the clock's `decode`, on whatever thread it runs."""

    def __init__(self, iterator: Iterator[T], clock: _Clock) -> None:
        self._iterator, self._clock = iterator, clock

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._clock.timed("decode", lambda: next(self._iterator))


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

    @property
    def num_bytes(self) -> int:
        blocks = sum(seen.block.keys.nbytes + seen.block.values.nbytes for seen in self.prefilled)
        return blocks + self.tokens.nbytes + sum(picture.nbytes for picture in self.pictures)

    def rows(self) -> FrameRows:
        return FrameRows(self.spans[:, 0], self.embeddings.numpy(), self.tokens, list(map(jpeg, self.pictures)))


class Ingester:
    """Brings videos into one store with one pair of models.

    Interrupted at any moment (Ctrl-C, a lost source, a full disk) it leaves every committed clip in the store, and the
    next ingest of the same content with the same settings goes on behind the last one.
    """

    def __init__(
        self,
        store: Store,
        encoder: FrameEncoder,
        language: VideoLanguageModel,
        memory_config: MemoryConfig,
        blocks_of: BlocksOf | None = None,
    ) -> None:
        """`blocks_of` opens a video's stream of KV blocks; None in tokens mode."""
        self._store, self._encoder, self._language = store, encoder, language
        self._memory_config, self._blocks_of = memory_config, blocks_of
        views = [encoder.view, language.view, THUMBNAIL]
        self._views = list(dict.fromkeys(views))
        self._view_index = [self._views.index(view) for view in views]

    def ingest(
        self,
        source: Source,
        config: IngestConfig,
        *,
        memory: Memory,
        scenes: SceneStream,
        there: StoredVideo | None,
        progress: Progress | None = None,
        partial: bool = False,
    ) -> IngestReport:
        """Ingest what the store lacks of a source.

        Args:
            memory: what is remembered of `there`, else empty; it is written to.
            scenes: where `there` was cut into scenes, else empty; it goes on with what is watched.
            there: the video as the store holds it, of `find_video`.
            partial: keep what can be read of a damaged file, instead of refusing it.

        Raises:
            CorruptMedia: the file ends before it should and `partial` is not set. Nothing of it is kept; one that an
                interrupted ingest had begun keeps its clips and stays unfinished.
            BadInput, SourceLost: what the source raises; committed clips stay.
            StorageFull: committed clips stay.
        """
        clock = _Clock()
        resumed_from = there.committed_until if there else 0.0
        video, num_frames, num_clips = there, 0, 0
        num_scenes = 0 if scenes.num_frames else 1
        blocks: BlockStream | None = None

        def told(until: float) -> None:
            if progress is not None:
                progress(until, source.info.duration_seconds)

        def commit(encoded: list[_Encoded]) -> None:
            assert video is not None
            self._commit(video, encoded, memory, blocks, clock)

        with ExitStack() as stack, committing(commit) as behind:
            for clip, is_last in self._clips(source, config, resumed_from, clock):
                if video is None:
                    video = self._begin(source, config)
                if blocks is None and self._blocks_of is not None:
                    blocks = stack.enter_context(
                        self._opened(video, source.info.duration_seconds, is_new=there is None)
                    )
                saves = is_last or (num_clips + 1) % _CLIPS_BETWEEN_SAVES == 0
                # Clips are committed while the next ones are encoded.
                encoded = self._encoded(clip, blocks, clock, saves=saves)
                behind.give(encoded, num_bytes=encoded.num_bytes, then=functools.partial(told, clip.span.end))
                num_frames, num_clips = num_frames + len(clip.frames), num_clips + 1
                num_scenes += len(scenes.push(encoded.embeddings))
            behind.finish()
        if video is None:
            raise CorruptMedia(f"{source.info.name} gave no picture: check that it plays elsewhere.")
        if not partial:
            self._check_whole(source, video, until=max(resumed_from, source.decoded_until), is_new=there is None)
        done = self._store.video(video.video_id).committed_until
        self._store.finish_video(video.video_id, done)
        wall = time.perf_counter() - clock.begun
        return IngestReport(
            video.video_id,
            video.source,
            already_there=False,
            resumed_from=resumed_from,
            frames=num_frames,
            clips=num_clips,
            video_seconds=done - resumed_from,
            scenes=num_scenes,
            skipped=source.num_skipped,
            speed=(done - resumed_from) / wall,
            wall_seconds=wall,
            decode_seconds=clock.decode,
            encode_seconds=clock.encode,
            prefill_seconds=clock.prefill,
            memory_seconds=clock.memory,
            store_seconds=clock.store,
        )

    def _clips(self, source: Source, config: IngestConfig, start: float, clock: _Clock) -> Iterator[tuple[Clip, bool]]:
        """The clips from `start` on, decoded ahead in a thread, each with whether it is the last."""
        duration = source.info.duration_seconds
        if start and duration is not None and start >= duration:
            return
        if start and config.fps is not None:
            start = next_tick(start, fps=config.fps)
        frames: Iterator[Frame] = _Timed(source.frames(fps=config.fps, views=self._views, start=start), clock)
        cut = clips(
            frames,
            seconds=config.clip_seconds,
            end=lambda: _end_of(source),
            max_similarity=config.max_similarity,
        )
        with closing(prefetch(cut, depth=_CLIPS_AHEAD)) as ahead:  # type: ignore[type-var]
            yield from _with_last(ahead)

    def _begin(self, source: Source, config: IngestConfig) -> StoredVideo:
        info = source.info
        content = info.content_id or VideoId(secrets.token_hex(8))
        settings = config.settings_hash(self._memory_config)
        taken = {video.video_id for video in self._store.videos()}
        name = content if content not in taken else _mixed(content, settings)
        return self._store.begin_video(
            VideoRow(
                video_id=VideoId(name),
                content_id=content,
                settings_hash=settings,
                source=info.uri,
                name=info.name,
                width=info.width,
                height=info.height,
                average_fps=info.average_fps,
                codec=info.codec,
                pts_offset_seconds=info.pts_offset_seconds,
            )
        )

    def _encoded(self, clip: Clip, blocks: BlockStream | None, clock: _Clock, *, saves: bool) -> _Encoded:
        """Run the models over a clip."""
        embeddings, tokens = clock.timed("encode", lambda: self._encode(clip))
        pts = np.array([frame.pts_seconds for frame in clip.frames])
        spans = np.stack([pts, np.append(pts[1:], clip.span.end)], axis=1)
        prefilled = clock.timed("prefill", lambda: blocks.prefill(tokens, spans)) if blocks is not None else []
        pictures = [frame.views[self._view_index[2]] for frame in clip.frames]
        return _Encoded(clip.span, spans, embeddings, tokens, pictures, prefilled, saves)

    def _commit(
        self, video: StoredVideo, encoded: list[_Encoded], memory: Memory, blocks: BlockStream | None, clock: _Clock
    ) -> None:
        """Remember clips and commit them together."""
        for clip in encoded:
            elements = elements_of(clip.embeddings, clip.tokens, clip.spans)
            clock.timed("memory", functools.partial(memory.write, elements))
        state = clock.timed("memory", memory.state_dict) if any(clip.saves for clip in encoded) else None
        rows = clock.timed("store", lambda: [clip.rows() for clip in encoded])
        stored: Sequence[ClipBlocks | None] = [None] * len(encoded)
        if blocks is not None:
            stored = clock.timed("store", lambda: blocks.keep([clip.prefilled for clip in encoded]))
        spans = [clip.span for clip in encoded]
        clips = list(map(NewClip, spans, rows, stored))
        clock.timed("store", lambda: self._store.append_clips(video.video_id, clips, state))

    def _encode(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Embeddings (F, C) float32 and tokens (F, P, D) in 16 bit, both on the CPU."""
        embeddings = self._encoder.encode_frames(clip.view(self._view_index[0])).cpu()
        tokens = self._language.encode_frames(clip.view(self._view_index[1]))
        dtype = torch.bfloat16 if tokens.dtype == torch.bfloat16 else torch.float16
        return embeddings, tokens.to("cpu", dtype)

    def _opened(self, video: StoredVideo, duration: float | None, *, is_new: bool) -> BlockStream:
        """A video's stream of blocks. A new video that can't have one, as its preset is wrong, is no more there."""
        assert self._blocks_of is not None
        try:
            return self._blocks_of(video, duration)
        except BaseException:
            if is_new:
                self._store.remove_video(video.video_id)
            raise

    def _check_whole(self, source: Source, video: StoredVideo, *, until: float, is_new: bool) -> None:
        """Raise CorruptMedia if a video ends, `until` in seconds, well before its container says that it does."""
        stated = source.info.duration_seconds
        if stated is None or until >= stated - max(2.0, 0.02 * stated):
            return
        if is_new:
            self._store.remove_video(video.video_id)
        raise CorruptMedia(
            f"{source.info.name} is cut off or damaged: of {format_time(stated)} only the first"
            f" {format_time(until, hours=stated >= 3600)} can be read. Get a whole copy, or ingest what there is with"
            " partial=True (--partial).",
            decoded_until=until,
        )


def committing(commit: Callable[[list[T]], None]) -> Behind[T]:
    """A thread that commits clips of an ingest, those that come soon after each other together."""
    return Behind(
        "vidmem-commit",
        commit,
        together=CLIPS_TOGETHER,
        most_bytes=_BYTES_TOGETHER,
        patience_seconds=_PATIENCE_SECONDS,
    )


def find_video(store: Store, source: Source, config: IngestConfig, memory_config: MemoryConfig) -> StoredVideo | None:
    """The same content with the same settings, if it is in the store, finished or begun. Needs no model."""
    content = source.info.content_id
    return store.find_video(content, config.settings_hash(memory_config)) if content else None


def already_there(video: StoredVideo) -> IngestReport:
    """The report of an ingest that found all of it in the store."""
    return IngestReport(
        video.video_id, video.source, True, resumed_from=video.committed_until, frames=0, clips=0, video_seconds=0.0
    )


def jpeg(image: np.ndarray) -> bytes:
    """A uint8 RGB image (H, W, 3) as a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=_THUMBNAIL_QUALITY)
    return file.getvalue()


def progress_bar(name: str) -> tuple[Progress, ExitStack]:
    """A bar on stderr, if that is a terminal; leave the stack to take it away."""
    from tqdm import tqdm

    stack = ExitStack()
    form = "{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of video [{elapsed}<{remaining}]"
    bar = stack.enter_context(tqdm(desc=name, total=1.0, disable=None, bar_format=form, leave=False))

    def progress(done: float, duration: float | None) -> None:
        bar.total = max(done, duration or done)
        bar.update(done - bar.n)

    return progress, stack


def _end_of(source: Source) -> float:
    """Where a video ends once it was read: what could be read of it, not what its container claims."""
    return source.decoded_until


def _with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    iterator = iter(items)
    held = next(iterator, None)
    while held is not None:
        following = next(iterator, None)
        yield held, following is None
        held = following


def _mixed(content: str, settings: str) -> str:
    return hashlib.sha256(f"{content}:{settings}".encode()).hexdigest()[:16]
