"""`VideoMemory`: a store, the models of a preset, and what people do with both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from vidmem.errors import BadInput, FramesGone, NotFound
from vidmem.index import Store, StoredAlert, StoredVideo
from vidmem.ingest import DecoderName, TimedPicture, Transport, open_source
from vidmem.kv.tier import TierState
from vidmem.memory import Memory, MemoryConfig
from vidmem.memory.scenes import SceneStream
from vidmem.models.language import Context
from vidmem.models.preset import Preset
from vidmem.pipelines.alerts import GONE_SECONDS
from vidmem.pipelines.answering import AnswerStream, with_gaps
from vidmem.pipelines.finding import RecallConfig
from vidmem.pipelines.ingest import (
    IngestConfig,
    Ingester,
    IngestReport,
    Progress,
    already_there,
    find_video,
    progress_bar,
)
from vidmem.pipelines.kv_blocks import Form, OpenBlocks
from vidmem.pipelines.kv_ingest import BlockStream, window_tokens
from vidmem.pipelines.loading import Models, choose_preset, made_with
from vidmem.pipelines.object_memory import ObjectMemory, words_of
from vidmem.pipelines.objects import Whereabouts, latest, where_of_frames
from vidmem.pipelines.planning import strong
from vidmem.pipelines.question import search_phrases
from vidmem.pipelines.recall import Recall, Recalled
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.timeline import Timelines
from vidmem.pipelines.watches import Watches
from vidmem.pipelines.watching import Watch, WatchPolicy, WatchState, live_config
from vidmem.types import Answer, Hit, Retention, VideoId

T = TypeVar("T")

_READ_ATTEMPTS = 5
_STRETCHES = 32
"""Stretches that look most like words, among which the last one tells where something was."""


class VideoMemory(ObjectMemory):
    """An open store with its models: ingest videos, ask about them, search them. Made by `vidmem.open`.

    For use from one thread at a time: see `reader`. Readers in other processes may be open beside it (`read_only`).
    """

    def __init__(self, store: Store, models: Models, memory_config: MemoryConfig) -> None:
        timelines = Timelines(store)
        super().__init__(store, Memories(store, memory_config, timelines), timelines, models)
        self._memory_config = memory_config
        self._log_question: Callable[[Answer], object] = store.log_question
        self._blocks = (
            OpenBlocks(store, models.preset.kv, lambda: Form.of(models.kv_language.family))
            if models.preset.mode == "kv"
            else None
        )
        blocks_of = self._block_stream if self._blocks is not None else None
        self._watches = Watches(
            store, models, memory_config, blocks_of, self._kv_settings(), self._keeper, self._one_at_a_time
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        preset: str | os.PathLike[str] | None = None,
        *,
        create: bool = True,
        read_only: bool = False,
        models: Models | None = None,
    ) -> VideoMemory:
        """Open the store at `path`, or make one there.

        Args:
            preset: name or TOML file; None for the one that the store was made with (a new store: `tiny`).
            create: make the store if nothing is there.
            read_only: only ask and search; any number may, while another process ingests.
            models: in place of a preset: those of one, shared with other stores. None loads its own.

        Raises:
            ValueError: both a preset and models are given.
            NotFound: nothing is there, and none is to be made.
            MissingModel: the preset's model files are not here.
            ModelMismatch: the store was made with other models.
            BadInput, StoreLocked, StoreVersion, StoreCorrupt: see `Store.open`.
        """
        folder = Path(path)
        made = made_with(folder, create=create and not read_only)
        if models is None:
            models = Models(choose_preset(folder, preset, made))
        elif preset is not None:
            raise ValueError(f"{preset=} goes with no models: theirs is {models.preset.name}")
        chosen = models.preset
        try:
            config = MemoryConfig(**chosen.memory)
            Memory(config)  # knows whether there is such a policy, with such options
        except (TypeError, ValueError) as error:
            raise BadInput(f"the preset {chosen.name} has a wrong [memory]: {error}") from error
        store = Store.open(folder, models.identity(made, config.policy), create=create, read_only=read_only)
        return cls(store, models, config)

    @property
    def preset(self) -> Preset:
        return self._models.preset

    def another(self, path: str | os.PathLike[str]) -> VideoMemory:
        """The store at `path`, opened or made, with this one's loaded models: for one more camera.

        Raises as `open`.
        """
        return VideoMemory.open(path, models=self._models)

    def close(self) -> None:
        """Stop what is watched, save the index and let the store go. Closing again does nothing."""
        try:
            self._watches.close()
        finally:
            if self._blocks is not None:
                self._blocks.close()
            super().close()

    def reader(self) -> VideoMemory:
        """The same store once more, read-only and with the same loaded models, for asks from another thread.

        So a question waits for no ingest, as it would behind one in this thread. Its answers are logged here. Close it
        before this one.
        """
        store = Store.open(self.path, self._store.identity, create=False, read_only=True)
        beside = VideoMemory(store, self._models, self._memory_config)
        beside._log_question = self._store.log_question
        return beside

    def ingest(
        self,
        video: str | os.PathLike[str] | Iterable[TimedPicture],
        *,
        fps: float | None = 1.0,
        decoder: DecoderName = "auto",
        max_similarity: float | None = None,
        partial: bool = False,
        objects: bool = False,
        progress: bool | Progress = True,
    ) -> IngestReport:
        """Watch a video and keep it. The same content with the same settings is recognised and left alone.

        Interrupted, it leaves every committed clip; called again, it goes on behind them.

        Args:
            video: a file, a folder of pictures, or an iterable of `(pts_seconds, uint8 (H, W, 3) picture)`.
            fps: frames to look at in a second of video, None for all.
            max_similarity: drop frames more alike than this, in [0, 1], to the one kept before.
            partial: keep what can be read of a damaged file, instead of refusing it.
            objects: find and follow objects in it afterwards; see `find_objects`.
            progress: True shows a bar on a terminal; a function is called with seconds done and seconds in all.

        Raises:
            NotFound, BadInput, SourceLost: see `open_source`.
            CorruptMedia: the file is cut off; nothing of it is kept, but for what an interrupted ingest had committed.
            StorageFull: the disk is full; committed clips stay.
        """
        self._check_writable("ingest")
        if objects and not isinstance(video, (str, os.PathLike)):
            raise BadInput("objects can be followed in files only: ingest these pictures without objects.")
        report = self._ingest(video, fps, decoder, max_similarity, partial, progress)
        if objects:
            self.find_objects(report.video_id, progress=progress)
        return report

    def _ingest(
        self,
        video: str | os.PathLike[str] | Iterable[TimedPicture],
        fps: float | None,
        decoder: DecoderName,
        max_similarity: float | None,
        partial: bool,
        progress: bool | Progress,
    ) -> IngestReport:
        config = IngestConfig(fps, self.preset.budget.clip_seconds, max_similarity, self._kv_settings())
        with ExitStack() as stack:
            source = stack.enter_context(open_source(video, decoder=decoder))
            there = find_video(self._store, source, config, self._memory_config)
            if there is not None and there.is_finished:
                return already_there(there)
            ingester = Ingester(
                self._store,
                self._models.encoder,
                self._models.language,
                self._memory_config,
                self._block_stream if self._blocks is not None else None,
            )
            report = progress if callable(progress) else None
            if progress is True:
                report, bar = progress_bar(source.info.name)
                stack.enter_context(bar)
            if there is not None:
                stack.callback(self._memories.forget, there)
            return ingester.ingest(
                source,
                config,
                memory=self._memories.of(there) if there else self._memories.new(),
                scenes=self._scenes.stream_of(there) if there else SceneStream(),
                there=there,
                progress=report,
                partial=partial,
            )

    def watch(
        self,
        address: str,
        *,
        fps: float | None = 1.0,
        policy: WatchPolicy = "drop-oldest",
        transport: Transport = "tcp",
        user: str | None = None,
        password: str | None = None,
        speed: float = 1.0,
        loop: bool = False,
        keep: Retention | None = None,
        objects: bool = False,
        allow_private: bool = True,
    ) -> Watch:
        """Watch a stream and keep it, in a thread of its own, until it is stopped or this is closed.

        Watching the same address again, with the same `fps`, goes on with the same video: what was not watched between
        is a gap. It is asked about meanwhile as ever, from other threads by a `reader` each.

        Args:
            address: `rtsp://`, `rtmp://`, `http://` ..., `webcam:0`, or a file that is played at its own pace.
            fps: frames to look at in a second, None for all.
            policy: what happens while frames come faster than they can be looked at, see `WatchPolicy`.
            transport: of RTSP.
            user, password: for the server, in the place of those in the address.
            speed, loop: of a file, times its own pace, and round and round.
            keep: how long clips of streams stay in this store, from now on; `Retention()` keeps all. None: as was last
                said, to an earlier watch or to `prune`; a new store keeps all. What has left can't be seen any more,
                but the long-term memory keeps its gist.
            objects: find and follow objects, too, as `find_objects`: every half minute, in what came since.
            allow_private: whether the stream's server may be on this machine or in its network.

        Raises:
            BadInput, NotFound, SourceLost: see `open_live`; or this address is being watched into this store already.
            MissingModel: objects are wanted, and the preset's tracker, or its vocabulary, is not here.
        """
        if self._store.is_read_only:
            raise BadInput(f"{self.path} was opened read-only: open it without read_only to watch.")
        live = live_config(policy, transport=transport, speed=speed, loop=loop, allow_private=allow_private)
        return self._watches.start(
            address, fps=fps, policy=policy, live=live, user=user, password=password, keep=keep, objects=objects
        )

    def watch_pushed(
        self, name: str, first: np.ndarray, *, fps: float | None = 1.0, policy: WatchPolicy = "drop-oldest"
    ) -> Watch:
        """Watch pictures that the caller hands over as they come, such as those of a browser's camera.

        As `watch` otherwise: the next picture is handed over with `Watch.push`, at the moment it is of, and where none
        comes for five seconds there is a gap. The same name goes on with the same video.

        Args:
            first: the first picture, uint8 RGB (H, W, 3).

        Raises:
            BadInput: that is no picture, the name is empty, or pictures of this name are being watched already.
        """
        if self._store.is_read_only:
            raise BadInput(f"{self.path} was opened read-only: open it without read_only to watch.")
        live = live_config(policy, transport="tcp", speed=1.0, loop=False)
        return self._watches.start_pushed(name, first, fps=fps, policy=policy, live=live)

    def alert(self, text: str, *, gone_seconds: float = GONE_SECONDS) -> StoredAlert:
        alert = super().alert(text, gone_seconds=gone_seconds)
        self._watches.put_alert(alert)
        return alert

    def remove_alert(self, alert_id: int) -> StoredAlert:
        removed = super().remove_alert(alert_id)
        self._watches.drop_alert(alert_id)
        return removed

    def ask(self, question: str, *, video_ids: Sequence[str] | None = None) -> Answer:
        """Answer a question out of the store, with the stretches that show it. Raises as `ask_stream`."""
        return self.ask_stream(question, video_ids=video_ids).result

    def ask_stream(self, question: str, *, video_ids: Sequence[str] | None = None) -> AnswerStream:
        """Answer a question, piece by piece. Evidence is there at once, `result` holds all at the end.

        The first question loads the models, the video-LLM only where tracks of objects don't answer. Its timings have
        that as `load`, which is in none of the others.

        Args:
            video_ids: ask only about these.

        Raises:
            BadInput: the question is empty, or too long for the model.
            NotFound: the store is empty, or holds no such video.
        """
        begun = time.perf_counter()
        question = words_of(question, "question")
        if (known := self._anew(lambda videos: self._recall.beyond(question, videos), video_ids)) is not None:
            timings = {"embed": 0.0, "recall": time.perf_counter() - begun, "context": 0.0}
            return AnswerStream(question, iter([known]), (), timings, begun=begun, on_end=self._log_question)
        loading = self._models.load(language=False)
        recalled = self._anew(lambda videos: self._recall.recall(question, videos), video_ids)
        loading += recalled.load_seconds
        timings = ({"load": loading} if loading else {}) | recalled.timings
        return AnswerStream(
            question,
            self._pieces(recalled, question),
            recalled.evidence,
            timings,
            begun=begun + loading,
            on_end=self._log_question,
            reading=recalled.reading,
        )

    def search(
        self, words: str, k: int = 5, *, video_ids: Sequence[str] | None = None, merge: bool = True
    ) -> list[Hit]:
        """The k stretches that look most like some words, best first; fewer if fewer are like them at all.

        Args:
            merge: join neighbouring frames into stretches; otherwise each frame is a hit.

        Raises as `ask_stream`.
        """
        if k < 1:
            raise BadInput(f"{k} hits can't be found: ask for at least 1.")
        words = words_of(words, "search")
        return self._anew(lambda videos: self._recall.search(words, k, videos, merge=merge), video_ids)

    def where(self, text: str, *, video: str | None = None) -> Whereabouts | None:
        """Where something was last seen: when, and in which part of the frame.

        Of the objects that the words name, the one that was seen last tells it; of several videos, the one that came
        into the store last. Where no such object was followed, the frames do that look most like the words, the last of
        them, and `from_track` says so. None: never seen.

        Args and errors as of `objects`.
        """
        text = words_of(text, "search for an object")
        videos = self._videos_named(video)
        last = latest(self.objects(text, video=video), videos)
        if last is not None:
            return self._objects.where(last)
        videos = [one for one in videos if one.num_frames]
        if not videos:
            return None
        hits = self._recall.search((*search_phrases(text), text)[0], _STRETCHES, videos)
        floor = self.preset.encoder.relevance_floor
        kept = strong(np.array([hit.score for hit in hits]), floor=floor)
        return where_of_frames([hit for hit, is_kept in zip(hits, kept, strict=True) if is_kept], text, videos)

    @cached_property
    def _recall(self) -> Recall:
        config = RecallConfig.of(self.preset)
        return Recall(self._store, self._models, self._timelines, self._memories, config, self._blocks)

    def _pieces(self, recalled: Recalled, question: str) -> Iterator[str]:
        pieces: Iterator[str]
        if isinstance(recalled.context, str):
            pieces = iter([recalled.context])
        elif isinstance(recalled.context, Context):
            pieces = self._models.language.stream(recalled.context, question)
        else:
            pieces = self._models.kv_language.stream(recalled.context, question)
        is_bare = not recalled.gaps and not recalled.notes
        return pieces if is_bare else with_gaps(pieces, recalled.gaps, recalled.notes)

    def _block_stream(self, video: StoredVideo, duration_seconds: float | None) -> BlockStream:
        hours = duration_seconds is not None and duration_seconds >= 3600
        return BlockStream(self._store, video, self._models.kv_language, self.preset, hours=hours)

    def _kv_settings(self) -> dict[str, object] | None:
        """What the numbers of a block depend on, beside the models: part of what makes an ingest another one."""
        if self._blocks is None:
            return None
        kv = self.preset.kv
        settings = {"format": kv.format, "keep_ratio": kv.keep_ratio, "absorb": kv.absorb}
        return {"window_tokens": window_tokens(self.preset), **settings}

    def _watching(self) -> tuple[WatchState, ...]:
        return self._watches.states()

    def _kv_state(self) -> tuple[TierState, ...]:
        return (*super()._kv_state(), *(self._blocks.state() if self._blocks is not None else ()))

    def _present(self) -> list[StoredVideo]:
        videos = super()._present()
        if self._blocks is not None:
            self._blocks.keep_only(videos)
        return videos

    def _preset_name(self) -> str:
        return self.preset.name

    def _anew(self, read: Callable[[list[StoredVideo]], T], video_ids: Sequence[str] | None) -> T:
        """What is read of some videos. A writer may let frames go between two steps: then it is read once more."""
        for _ in range(_READ_ATTEMPTS - 1):
            try:
                return read(self._chosen(video_ids))
            except FramesGone:
                continue
        return read(self._chosen(video_ids))

    def _chosen(self, video_ids: Sequence[str] | None) -> list[StoredVideo]:
        videos = self._present()
        if video_ids is not None:
            videos = [self._store.video(VideoId(video_id)) for video_id in dict.fromkeys(video_ids)]
        videos = [video for video in videos if video.num_frames]
        if not videos:
            raise NotFound(
                f"nothing is ingested yet in {self.path}: run `vidmem ingest VIDEO --store {self.path}` first."
            )
        return videos
