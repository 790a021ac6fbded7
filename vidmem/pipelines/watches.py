"""The streams that are being watched into one store."""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np

from vidmem.errors import BadInput
from vidmem.index import Store, StoredAlert, StoredVideo, VideoRow
from vidmem.ingest import LiveConfig, LiveSource, open_live, open_pushed
from vidmem.ingest.live.address import parse_address
from vidmem.ingest.live.pushed import pushed_address
from vidmem.memory import MemoryConfig
from vidmem.pipelines.alerts import Checker
from vidmem.pipelines.ingest import IngestConfig, video_row
from vidmem.pipelines.loading import Models
from vidmem.pipelines.remembering import Memories
from vidmem.pipelines.retention import Keeper, Upkeep
from vidmem.pipelines.scenes import Scenes
from vidmem.pipelines.stream_clips import Cutter, Earlier
from vidmem.pipelines.timeline import Timelines
from vidmem.pipelines.watching import CLIP_SECONDS, Watch, WatchPolicy, WatchState
from vidmem.pipelines.writing import BlocksOf, ClipWriter, Clock, Looker, opened
from vidmem.types import Retention, VideoId

if TYPE_CHECKING:
    from vidmem.pipelines.object_watch import ObjectWatch

_CLIPS_TOGETHER = 16
"""Most clips in one transaction: of a stream they are short, and none waits for others."""


class Watches:
    """Starts watches, and knows those that run."""

    def __init__(
        self,
        store: Store,
        models: Models,
        memory_config: MemoryConfig,
        blocks_of: BlocksOf | None,
        kv_settings: Mapping[str, object] | None,
        keeper: Keeper,
        one_at_a_time: threading.Lock,
    ) -> None:
        """`blocks_of` and `kv_settings` are None in tokens mode. `keeper` is the store's, `one_at_a_time` as of
        `StoredTracking`."""
        self._store, self._models, self._memory_config = store, models, memory_config
        self._blocks_of, self._kv_settings, self._keeper = blocks_of, kv_settings, keeper
        self._started: list[Watch] = []
        self._objects: list[ObjectWatch] = []
        self._one_at_a_time = one_at_a_time

    def start(
        self,
        address: str,
        *,
        fps: float | None,
        policy: WatchPolicy,
        live: LiveConfig,
        user: str | None,
        password: str | None,
        keep: Retention | None,
        objects: bool,
    ) -> Watch:
        """Raises as `VideoMemory.watch`; then nothing runs and the store is as it was."""
        shown = parse_address(address, user=user, password=password).shown
        opening = functools.partial(open_live, address, fps=fps, user=user, password=password, config=live)
        return self._start(shown, opening, fps=fps, policy=policy, live=live, keep=keep, objects=objects)

    def start_pushed(
        self, name: str, first: np.ndarray, *, fps: float | None, policy: WatchPolicy, live: LiveConfig
    ) -> Watch:
        """Raises as `VideoMemory.watch_pushed`; then nothing runs and the store is as it was."""
        shown = pushed_address(name).shown
        opening = functools.partial(open_pushed, name, first, fps=fps, config=live)
        return self._start(shown, opening, fps=fps, policy=policy, live=live)

    def _start(
        self,
        shown: str,
        opening: Callable[..., LiveSource],
        *,
        fps: float | None,
        policy: WatchPolicy,
        live: LiveConfig,
        keep: Retention | None = None,
        objects: bool = False,
    ) -> Watch:
        """`opening` is given the views."""
        config = IngestConfig(fps, CLIP_SECONDS, None, self._kv_settings)
        if any(state.address == shown for state in self.states()):
            raise BadInput(f"{shown} is being watched into {self._store.path} already.")
        # Before the stream is opened: what comes while models are loaded would be dropped.
        self._models.load()
        if objects:
            self._models.tracker_for("samurai")
            _ = self._models.eye
        looker = Looker(self._models.encoder, self._models.language)
        source = opening(views=looker.views)
        try:
            settings = config.settings_hash(self._memory_config)
            there = self._store.find_stream(source.info.uri, settings)
            name = there.video_id if there else VideoId(secrets.token_hex(8))
            row = video_row(source.info, name, name, settings)
            if keep is not None:
                self._store.set_retention(keep)
            watch = Watch(
                source,
                name,
                Cutter(seconds=CLIP_SECONDS, fps=fps, earlier=self._earlier(there)),
                functools.partial(self._open_writer, there, row, looker),
                Checker(
                    self._store, self._models, name, source.info.uri, until=there.committed_until if there else 0.0
                ),
                policy=policy,
                room=live.queue_frames,
            )
        except BaseException:
            source.close()
            raise
        # Those that have ended well have nothing more to say.
        self._started = [one for one in self._started if one.is_running or one.has_failed]
        self._started.append(watch)
        if objects:
            self._find_objects(watch, there.committed_until if there else 0.0)
        return watch

    def _find_objects(self, watch: Watch, behind: float) -> None:
        from vidmem.pipelines.object_watch import ObjectWatch

        for ended in [one for one in self._objects if not one.is_running]:
            self._objects.remove(ended)
            ended.close()
        found = ObjectWatch(self._store, self._models, watch, behind=behind, one_at_a_time=self._one_at_a_time)
        self._objects.append(found)

    def states(self) -> tuple[WatchState, ...]:
        """Of those that run."""
        return tuple(watch.state() for watch in self._started if watch.is_running)

    def put_alert(self, alert: StoredAlert) -> None:
        """Check a standing question of the store, in all of them."""
        for watch in self._started:
            watch.put_alert(alert)

    def drop_alert(self, alert_id: int) -> None:
        """Check a standing question no more, in any of them."""
        for watch in self._started:
            watch.drop_alert(alert_id)

    def close(self) -> None:
        """Stop all, and wait. Raises what ended one of them, if nobody was told of it yet."""
        with ExitStack() as stack:
            running: list[Watch | ObjectWatch] = [*self._started, *self._objects]
            for one in running:
                stack.callback(one.close)
                one.stop()
            self._started, self._objects = [], []

    def _earlier(self, there: StoredVideo | None) -> Earlier | None:
        clock = self._store.stream_clock(there.video_id) if there is not None else None
        if there is None or clock is None:
            return None
        return Earlier(there.committed_until, clock.wall_at(there.committed_until))

    def _open_writer(self, there: StoredVideo | None, row: VideoRow, looker: Looker, stack: ExitStack) -> ClipWriter:
        video = there or self._store.begin_video(row, is_stream=True)
        # Its own: the store's are for the thread that asks.
        timelines = Timelines(self._store)
        memory = Memories(self._store, self._memory_config, timelines).of(video)
        scenes = Scenes(self._store, timelines).stream_of(video)
        blocks = None
        if self._blocks_of is not None:
            opening = functools.partial(self._blocks_of, video, None)
            blocks = stack.enter_context(opened(opening, self._store, video, is_new=there is None))
        return stack.enter_context(
            ClipWriter(
                self._store,
                video,
                looker,
                memory=memory,
                scenes=scenes,
                blocks=blocks,
                clock=Clock(),
                together=_CLIPS_TOGETHER,
                patience_seconds=0.0,
                upkeep=Upkeep(self._keeper),
            )
        )
