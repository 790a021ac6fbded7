"""Prefilling a video's frames as they come, and putting their keys and values on disk, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from torch import Tensor

from vidmem.index import ClipBlocks, LandmarkRow, Store, StoredVideo
from vidmem.kv.block import Block
from vidmem.kv.compress import Compressed, Compression, Seen, compress, seen_of
from vidmem.kv.heads import Heads, heads_of
from vidmem.kv.landmarks import grouped, head_keys
from vidmem.kv.packing import pack
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.kv.tokens import FrameTokens
from vidmem.models.kv_language import KvLanguage
from vidmem.models.preset import Preset
from vidmem.pipelines.kv_blocks import Form, fetch
from vidmem.pipelines.time_of_day import clock_label
from vidmem.pipelines.timeline import Timeline, Timelines
from vidmem.types import Span

_RAM_BYTES = 16 * 1024**2
_BLOCKS_IN_RAM = 16
_MOST_TEXT_TOKENS = 64
"""Room for so many blocks on their way to disk, or for `_RAM_BYTES` of them. Nobody reads them out of it, and memory
that was just used is written to sooner than memory that is new to the process."""


def window_tokens(preset: Preset) -> int:
    """How far back a frame sees: what the preset says, or as far as in a context of frames."""
    return preset.kv.window_tokens or preset.budget.context_tokens


def landmark_rows(blocks: Sequence[Block], first_frame: int, heads: Heads) -> list[LandmarkRow]:
    """Landmarks of consecutive frames' blocks, for the catalogue."""
    keys = [head_keys(block, heads) for block in blocks]
    return [
        LandmarkRow(first_frame + first, end - first, group.to_bytes()) for first, end, group in grouped(keys, heads)
    ]


class BlockStream:
    """One video's blocks while they are written; a context manager.

    Blocks are compressed as they go to disk, clip by clip. The window that frames see holds them whole, and so do the
    landmarks.

    An ingest that was cut short goes on in the same window: it is filled again with the blocks that were in it. They
    come back as they rest, so that what follows is the same to rounding where `format = "none"`, and else differs by
    what their format loses. Running the window's frames again would be no more exact: a block holds what its frame saw
    of all the windows before.

    With `keep_ratio` below 1 it differs by more, until the window has moved past what was there: as many tokens are in
    it, but of more frames, each with what was kept of it; and what of the first new picture is novel is told against
    what was kept of the last block, so that the first clip keeps some of what would have been dropped.
    """

    def __init__(self, store: Store, video: StoredVideo, language: KvLanguage, preset: Preset, *, hours: bool) -> None:
        """Open a video's log where it was committed, and cut what lies beyond. `hours`: print them in all times.

        Before the frames of a stream stands the time of day.
        """
        self._store, self._language, self._format = store, language, preset.kv.format
        self._hours = hours
        self._compression = Compression(preset.kv.keep_ratio, absorb=preset.kv.absorb)
        self._before: Seen | None = None
        self._form = Form.of(language.family)
        self._heads = heads_of(self._form.layout, preset.kv.heads)
        self._window_tokens = window_tokens(preset)
        folder = store.blocks_folder(video.video_id)
        self._video_id = video.video_id
        begin = store.blocks_beginning(video.video_id)
        self._log = SegmentLog(folder, store.blocks_position(video.video_id), begin=begin)
        whole_block = self._form.layout.bytes_per_token(4) * (language.family.tokens_per_picture + _MOST_TEXT_TOKENS)
        ram_bytes = min(preset.kv.ram_bytes, max(_RAM_BYTES, _BLOCKS_IN_RAM * whole_block))
        self._tiers = Tiers(self._log, self._form.device, TierConfig(preset.kv.accelerator_bytes, ram_bytes))
        self._num_frames = store.video(video.video_id).num_frames + store.expired(video.video_id).num_frames
        try:
            self._writer = language.writer(self._window_tokens)
            if self._log.num_blocks:
                self._refill(video)
        except BaseException:
            self._tiers.close()
            raise

    def prefill(
        self, tokens: Tensor, spans_seconds: np.ndarray, walls: Sequence[float | None] | None = None
    ) -> list[Seen]:
        """The whole blocks of consecutive frames, tokens (F, P, D) and spans (F, 2), for `keep`.

        `walls`: when each of a stream's frames was, in seconds since 1970.
        """
        frames = [
            self._language.frame(self._label(start, wall), row, Span(start, end))
            for row, (start, end), wall in zip(
                tokens, spans_seconds.tolist(), walls or [None] * len(tokens), strict=True
            )
        ]
        return seen_of(self._writer.write(frames), frames)

    def keep(self, clips: Sequence[Sequence[Seen]]) -> list[ClipBlocks]:
        """Force the blocks of some clips to disk, compressed. May run in another thread than the next `prefill`.

        Returns for each clip how far the log is durable with it, which block holds which frame and what finds them,
        for the catalogue to commit. After an error the stream must be opened anew.

        Raises:
            StorageFull: the disk is full.
        """
        # Each step for all clips before the next one: so its code is in the CPU's caches, which blocks of megabytes and
        # the model beside them empty. That takes 0.4 to 0.8 ms a clip less than clip by clip (four clips).
        found = [self._landmarks(clip) for clip in clips]
        compressed = [self._compressed(clip) for clip in clips]
        position = self._log.position
        self._tiers.put_all([pack(block, self._format) for part in compressed for block in part.blocks])
        self._tiers.flush()
        stored = []
        for part, rows in zip(compressed, found, strict=True):
            block_ids = [position.num_blocks + index for index in part.block_index]
            if part.blocks:  # else it is where the clip before ended, which a damaged record can't tell
                position = self._log.position_of(position.num_blocks + len(part.blocks))
            stored.append(ClipBlocks(position, block_ids, rows))
        return stored

    def _label(self, seconds: float, wall: float | None) -> str:
        """The time before a frame; `wall` in seconds since 1970 of a stream's."""
        if wall is not None:
            return clock_label(wall)
        return self._language.family.label(seconds, hours=self._hours)

    def _landmarks(self, clip: Sequence[Seen]) -> list[LandmarkRow]:
        rows = landmark_rows([seen.block for seen in clip], self._num_frames, self._heads)
        self._num_frames += len(clip)
        return rows

    def _compressed(self, clip: Sequence[Seen]) -> Compressed:
        compressed = compress(clip, self._compression, before=self._before)
        self._before = clip[-1] if clip else self._before
        return compressed

    def forget(self) -> None:
        """Hold nothing any more of blocks that have left. Not beside `keep`."""
        self._log.forget(self._store.blocks_beginning(self._video_id))

    def close(self) -> None:
        """Let the files go. What was not committed is cut by the next opening."""
        self._tiers.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refill(self, video: StoredVideo) -> None:
        """Put the newest blocks back into the writer's window, and the last one before the next picture."""
        line = Timelines(self._store).of(video)
        block_tokens, begin = self._log.num_tokens(), self._log.first_block
        reach = self._window_tokens + len(self._writer.opening)
        first, held = len(block_tokens), 0
        while first and held < reach:
            first -= 1
            held += block_tokens[first]
        ids = range(begin + first, self._log.num_blocks)
        blocks, lost = fetch(self._tiers, ids, self._form)
        if lost is not None:
            self._store.notices.append(str(lost))
            frames = self._frames(line, line.blocks_of(lost.block_ids))
            blocks |= zip(lost.block_ids, self._language.remade(frames), strict=True)
        window = [blocks[block_id] for block_id in ids]
        # Of blocks that have left nobody knows the tokens. They lay far behind the window, where numbers don't count.
        self._writer.resume(window, sum(block_tokens[:first]) + sum(map(len, window)))
        if self._compression.keep_ratio < 1:
            (last,) = self._frames(line, [line.num_blocks - 1])
            self._before = self._language.seen(window[-1], last)

    def _frames(self, line: Timeline, block_ids: Sequence[int]) -> list[FrameTokens]:
        """The first frames of some blocks of a timeline, from their stored tokens, each for all of its block's time."""
        rows = self._store.load_tokens([line.frame_ids[line.places_in(block_id)[0]] for block_id in block_ids])
        return [
            self._language.frame(
                self._label(span.start, line.clock.wall_at(span.start) if line.clock else None), row, span
            )
            for row, span in zip(rows, map(line.span_of_block, block_ids), strict=True)
        ]
