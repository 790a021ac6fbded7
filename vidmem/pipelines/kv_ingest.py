"""Prefilling a video's frames as they come, and putting their keys and values on disk, clip by clip."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np
from torch import Tensor

from vidmem.index import LandmarkRow, Store, StoredVideo
from vidmem.kv.block import Block
from vidmem.kv.heads import Heads, heads_of
from vidmem.kv.landmarks import groups, head_keys, landmarks
from vidmem.kv.packing import pack
from vidmem.kv.records import Position
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.models.kv_language import KvLanguage
from vidmem.models.preset import Preset
from vidmem.pipelines.kv_blocks import Form, fetch
from vidmem.pipelines.timeline import Timelines
from vidmem.types import Span, format_time

_RAM_BYTES = 256 * 1024**2
"""Room for blocks on their way to disk. Nobody reads them out of it."""


def window_tokens(preset: Preset) -> int:
    """How far back a frame sees: what the preset says, or as far as in a context of frames."""
    return preset.kv.window_tokens or preset.budget.context_tokens


def landmark_rows(blocks: Sequence[Block], first_frame: int, heads: Heads) -> list[LandmarkRow]:
    """Landmarks of consecutive frames' blocks, for the catalogue."""
    keys = [head_keys(block, heads) for block in blocks]
    return [
        LandmarkRow(first_frame + first, end - first, landmarks(keys[first:end], heads).to_bytes())
        for first, end in groups(len(keys))
    ]


class BlockStream:
    """One video's blocks while they are written; a context manager.

    An ingest that was cut short goes on in the same window: it is filled again with the blocks that were in it. They
    come back as they rest, so that what follows is the same to rounding where `format = "none"`, and else differs by
    what their format loses. Running the window's frames again would be no more exact: a block holds what its frame saw
    of all the windows before.
    """

    def __init__(self, store: Store, video: StoredVideo, language: KvLanguage, preset: Preset, *, hours: bool) -> None:
        """Open a video's log where it was committed, and cut what lies beyond. `hours`: print them in all times."""
        self._store, self._language, self._format, self._hours = store, language, preset.kv.format, hours
        self._form = Form.of(language.family)
        self._window_tokens = window_tokens(preset)
        folder = store.blocks_folder(video.video_id)
        self._log = SegmentLog(folder, store.blocks_position(video.video_id))
        ram_bytes = min(preset.kv.ram_bytes, _RAM_BYTES)
        self._tiers = Tiers(self._log, self._form.device, TierConfig(preset.kv.accelerator_bytes, ram_bytes))
        self._heads = heads_of(self._form.layout, preset.kv.heads)
        self._num_blocks = self._log.num_blocks
        try:
            self._writer = language.writer(self._window_tokens)
            if self._num_blocks:
                self._refill(video)
        except BaseException:
            self._tiers.close()
            raise

    def write(self, tokens: Tensor, spans_seconds: np.ndarray) -> tuple[Position, list[LandmarkRow]]:
        """Prefill the frames of a clip, tokens (F, P, D) and spans (F, 2), and force their blocks to disk.

        Returns how far the log is durable, and what finds its frames, for the catalogue to commit. After an error the
        stream must be opened anew.

        Raises:
            StorageFull: the disk is full.
        """
        frames = [
            self._language.frame(format_time(start, hours=self._hours), row, Span(start, end))
            for row, (start, end) in zip(tokens, spans_seconds.tolist(), strict=True)
        ]
        blocks = self._writer.write(frames)
        for block in blocks:
            self._tiers.put(pack(block, self._format))
        rows = landmark_rows(blocks, self._num_blocks, self._heads)
        self._num_blocks += len(blocks)
        return self._tiers.flush(), rows

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
        """Put the newest blocks back into the writer's window."""
        block_tokens = self._log.num_tokens()
        reach = self._window_tokens + len(self._writer.opening)
        first, held = len(block_tokens), 0
        while first and held < reach:
            first -= 1
            held += block_tokens[first]
        blocks, lost = fetch(self._tiers, range(first, len(block_tokens)), self._form)
        if lost is not None:
            self._store.notices.append(str(lost))
            blocks |= self._remade(video, lost.block_ids)
        window = [blocks[block_id] for block_id in range(first, len(block_tokens))]
        self._writer.resume(window, sum(block_tokens[:first]) + sum(map(len, window)))

    def _remade(self, video: StoredVideo, block_ids: tuple[int, ...]) -> dict[int, Block]:
        """Blocks that are lost, made again from their frames' tokens."""
        line = Timelines(self._store).of(video)
        rows = self._store.load_tokens([line.frame_ids[block_id] for block_id in block_ids])
        frames = [
            self._language.frame(format_time(span.start, hours=self._hours), row, span)
            for row, span in zip(rows, map(line.span_of, block_ids), strict=True)
        ]
        return dict(zip(block_ids, self._language.remade(frames), strict=True))
