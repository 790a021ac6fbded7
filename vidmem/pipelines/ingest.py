"""From a source to a store: decode, encode, remember, commit, clip by clip."""

from __future__ import annotations

import functools
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from vidmem.errors import BadInput, CorruptMedia
from vidmem.index import Store, StoredVideo, VideoRow
from vidmem.ingest import Source, SourceInfo, clips, next_tick, prefetch
from vidmem.memory import Memory, MemoryConfig
from vidmem.memory.scenes import SceneStream
from vidmem.pipelines.writing import (
    CLIPS_TOGETHER,
    PATIENCE_SECONDS,
    BlocksOf,
    ClipToWrite,
    ClipWriter,
    Clock,
    Looker,
    opened,
)
from vidmem.types import Clip, Frame, VideoId, format_time

if TYPE_CHECKING:
    from vidmem.models.encoder import FrameEncoder
    from vidmem.models.language import VideoLanguageModel

Progress = Callable[[float, float | None], None]
"""Called with the seconds of video committed and the seconds there are, None while that is unknown."""

_CLIPS_AHEAD = 2

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


class _Timed(Generic[T]):
    """An iterator whose own time goes to the clock's `decode`, on whatever thread it runs."""

    def __init__(self, iterator: Iterator[T], clock: Clock) -> None:
        self._iterator, self._clock = iterator, clock

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return self._clock.timed("decode", lambda: next(self._iterator))


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
        self._store, self._looker = store, Looker(encoder, language)
        self._memory_config, self._blocks_of = memory_config, blocks_of

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
        clock = Clock()
        resumed_from = there.committed_until if there else 0.0
        video, writer = there, None
        num_scenes = 0 if scenes.num_frames else 1

        def told(until: float) -> None:
            if progress is not None:
                progress(until, source.info.duration_seconds)

        with ExitStack() as stack:
            for clip, is_last in self._clips(source, config, resumed_from, clock):
                if video is None or writer is None:
                    video = video or self._begin(source, config)
                    blocks = None
                    if self._blocks_of is not None:
                        opening = functools.partial(self._blocks_of, video, source.info.duration_seconds)
                        blocks = stack.enter_context(opened(opening, self._store, video, is_new=there is None))
                    writer = stack.enter_context(
                        ClipWriter(
                            self._store,
                            video,
                            self._looker,
                            memory=memory,
                            scenes=scenes,
                            blocks=blocks,
                            clock=clock,
                            together=CLIPS_TOGETHER,
                            patience_seconds=PATIENCE_SECONDS,
                        )
                    )
                writer.write([ClipToWrite(clip, is_last=is_last, then=functools.partial(told, clip.span.end))])
            if writer is not None:
                writer.finish()
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
            frames=writer.num_frames if writer else 0,
            clips=writer.num_clips if writer else 0,
            video_seconds=done - resumed_from,
            scenes=num_scenes + (writer.num_scenes if writer else 0),
            skipped=source.num_skipped,
            speed=(done - resumed_from) / wall,
            wall_seconds=wall,
            decode_seconds=clock.decode,
            encode_seconds=clock.encode,
            prefill_seconds=clock.prefill,
            memory_seconds=clock.memory,
            store_seconds=clock.store,
        )

    def _clips(self, source: Source, config: IngestConfig, start: float, clock: Clock) -> Iterator[tuple[Clip, bool]]:
        """The clips from `start` on, decoded ahead in a thread, each with whether it is the last."""
        duration = source.info.duration_seconds
        if start and duration is not None and start >= duration:
            return
        if start and config.fps is not None:
            start = next_tick(start, fps=config.fps)
        frames: Iterator[Frame] = _Timed(source.frames(fps=config.fps, views=self._looker.views, start=start), clock)
        cut = clips(
            frames,
            seconds=config.clip_seconds,
            end=lambda: _end_of(source),
            max_similarity=config.max_similarity,
        )
        with closing(prefetch(cut, depth=_CLIPS_AHEAD)) as ahead:  # type: ignore[type-var]
            yield from _with_last(ahead)

    def _begin(self, source: Source, config: IngestConfig) -> StoredVideo:
        content = source.info.content_id or VideoId(secrets.token_hex(8))
        settings = config.settings_hash(self._memory_config)
        taken = {video.video_id for video in self._store.videos()}
        name = content if content not in taken else _mixed(content, settings)
        return self._store.begin_video(video_row(source.info, VideoId(name), content, settings))

    def _check_whole(self, source: Source, video: StoredVideo, *, until: float, is_new: bool) -> None:
        """Raise CorruptMedia if a video ends, `until` in seconds, well before its container says that it does."""
        said = cut_off(source.info, until)
        if said is None:
            return
        if is_new:
            self._store.remove_video(video.video_id)
        raise CorruptMedia(
            f"{said}. Get a whole copy, or ingest what there is with partial=True (--partial).", decoded_until=until
        )


def cut_off(info: SourceInfo, until: float) -> str | None:
    """What is wrong with a video that ends, `until` in seconds, well before its container says; None if it doesn't."""
    stated = info.duration_seconds
    if stated is None or until >= stated - max(2.0, 0.02 * stated):
        return None
    return (
        f"{info.name} is cut off or damaged: of {format_time(stated)} only the first"
        f" {format_time(until, hours=stated >= 3600)} can be read"
    )


def video_row(info: SourceInfo, video_id: VideoId, content_id: str, settings_hash: str) -> VideoRow:
    """What the catalogue is told of a source when its ingest begins."""
    return VideoRow(
        video_id=video_id,
        content_id=content_id,
        settings_hash=settings_hash,
        source=info.uri,
        name=info.name,
        width=info.width,
        height=info.height,
        average_fps=info.average_fps,
        codec=info.codec,
        pts_offset_seconds=info.pts_offset_seconds,
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
