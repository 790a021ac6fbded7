"""The KV blocks of a store's videos, for reading: opened where a question needs them, followed as clips are committed.

A block holds a frame, or several in a row; which one holds which is on the video's timeline (`Timeline.block_ids`).
What internal retrieval looks at, their landmarks, is of every frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter

import numpy as np
import torch

from vidmem.errors import BlocksLost
from vidmem.index import Store, StoredVideo
from vidmem.kv.block import Block, Layout
from vidmem.kv.heads import heads_of
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import Landmarks, groups, head_keys, landmarks
from vidmem.kv.packing import unpack_all
from vidmem.kv.records import BlockId
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tier import TierState
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.models.families.family import Family
from vidmem.models.preset import KvConfig
from vidmem.pipelines.timeline import Timeline
from vidmem.types import VideoId

_VIDEOS_OPEN = 3


@dataclass(frozen=True, slots=True)
class Form:
    """In what shape a model takes blocks."""

    layout: Layout
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, family: Family) -> Form:
        return cls(family.layout, family.dtype, family.device)


def fetch(tiers: Tiers, block_ids: Iterable[int], form: Form) -> tuple[dict[int, Block], BlocksLost | None]:
    """Blocks by their ids, on the model's device; those that are damaged are left out and told of."""
    ids = [BlockId(block_id) for block_id in block_ids]
    lost: BlocksLost | None = None
    try:
        return _fetched(tiers, ids, form), None
    except BlocksLost as error:
        lost = error
    return _fetched(tiers, [block_id for block_id in ids if block_id not in lost.block_ids], form), lost


def _fetched(tiers: Tiers, ids: Sequence[BlockId], form: Form) -> dict[int, Block]:
    with closing(tiers.fetch(ids)) as loan:
        blocks = unpack_all(loan.result(), form.layout, form.dtype)
    return dict(zip(map(int, ids), blocks, strict=True))


class VideoBlocks:
    """The committed blocks of one video."""

    def __init__(self, store: Store, video_id: VideoId, config: KvConfig, form: Form) -> None:
        self._store, self._video_id, self._form = store, video_id, form
        self._landmarks = LandmarkIndex(heads_of(form.layout, config.heads), form.layout.head_dim)
        folder = store.blocks_folder(video_id)
        self._position, begin = store.blocks_position(video_id), store.blocks_beginning(video_id)
        self._log = SegmentLog(folder, self._position, begin=begin, read_only=True)
        self._described: Timeline | None = None
        """The frames that there are landmarks of, as `landmarks` last saw them."""
        self._tiers = Tiers(self._log, form.device, TierConfig(config.accelerator_bytes, config.ram_bytes))
        self.block_tokens = self._sizes()
        """Tokens of each block of the log, from its first one on."""
        self._told: set[int] = set()
        self._tell(
            block_id
            for part in self._log.lost_blocks()
            for block_id in range(part.first_block, part.first_block + part.num_blocks)
        )

    def follow(self) -> None:
        """See what was committed, and what has left, since."""
        position, begin = self._store.blocks_position(self._video_id), self._store.blocks_beginning(self._video_id)
        if position != self._position or begin.block != self._log.first_block:
            self._tiers.follow(position, begin)
            self._position, self.block_tokens = position, self._sizes()

    def fetch(self, block_ids: Iterable[int]) -> dict[int, Block]:
        """Blocks by their ids in the log, on the model's device.

        Those that are lost are left out, and the store notices it; and those that have left.
        """
        blocks, lost = fetch(self._tiers, (one for one in block_ids if one >= self._log.first_block), self._form)
        if lost is not None:
            self._tell(lost.block_ids)
        return blocks

    def sizes_of(self, log_ids: np.ndarray) -> list[int]:
        """Tokens of blocks (m,) by their ids in the log. One that has left, or is lost, counts as the largest: it will
        be made again from its frame's tokens."""
        sizes = np.array(self.block_tokens, np.int64)
        places = log_ids - self._log.first_block
        return np.where(places >= 0, sizes[np.maximum(places, 0)], sizes.max(initial=0)).tolist()

    def landmarks(self, line: Timeline) -> LandmarkIndex:
        """Of all frames of a timeline of this video, which is no older than that of the call before.

        They were made of whole blocks, before compression. What the catalogue has none of, or of other heads, is looked
        up in what the frames' blocks still hold.
        """
        held = self._landmarks
        if self._described is not None and self._described.expired != line.expired:
            known = np.array(self._described.frame_ids[: held.num_frames], np.int64)
            held.keep(np.isin(known, np.array(line.frame_ids, np.int64)))
        self._described = line
        if held.num_frames == len(line):
            return held
        block_ids, first = line.log_ids[line.block_ids], held.num_frames
        places = {clip_id: place for place, clip_id in reversed(list(enumerate(line.clip_ids[first:], start=first)))}
        found_rows = self._store.landmarks(self._video_id, start=float(line.pts_seconds[first]))
        for clip_id, group in groupby(found_rows, key=itemgetter(0)):
            rows = [row for _, row in group]
            for row in rows if clip_id in places else ():
                found = Landmarks.from_bytes(row.data, held.heads, self._form.layout.head_dim)
                place = places[clip_id] + row.first_frame - rows[0].first_frame
                if found is not None and place + row.num_frames <= len(line):
                    self._look_up(block_ids[:place])
                    held.append(found, row.num_frames)
        self._look_up(block_ids)
        return held

    def _look_up(self, block_ids: np.ndarray) -> None:
        """Add landmarks of the frames whose blocks, by their ids in the log, these are, some of which are held. Of lost
        blocks, and of those that have left, there are none."""
        heads, begin = self._landmarks.heads, self._landmarks.num_frames
        if begin < len(block_ids):
            self._store.notices.append(
                f"{len(block_ids) - begin} frames of {self._video_id} have no landmarks of the preset's heads: they are"
                " looked up in their blocks each time the store is opened. Ingest the video anew to keep them."
            )
        nothing = torch.empty(
            len(heads), 0, self._form.layout.head_dim, dtype=self._form.dtype, device=self._form.device
        )
        for first, end in groups(len(block_ids) - begin):
            wanted = block_ids[begin + first : begin + end].tolist()
            blocks = self.fetch(dict.fromkeys(wanted))
            found = {block_id: head_keys(block, heads) for block_id, block in blocks.items()}
            # An entry for each frame, as an owner is a frame's place: a block's keys are its first one's.
            keys = [found.pop(block_id, nothing) for block_id in wanted]
            self._landmarks.append(landmarks(keys, heads) if blocks else None, end - first)

    def tokens_when_written(self, block_id: int) -> int | None:
        """Of a block by its id in the log; None where its record is gone, too, and where it has left."""
        place = block_id - self._log.first_block
        return self._log.num_tokens()[place] or None if place >= 0 else None

    def state(self) -> tuple[TierState, ...]:
        return self._tiers.state()

    def close(self) -> None:
        self._tiers.close()

    def _sizes(self) -> list[int]:
        """A block whose record is gone counts as the largest: it will be made again from its frame's tokens."""
        sizes = self._log.num_tokens()
        largest = max(sizes, default=0) or self._store.identity.tokens_per_frame
        return [size or largest for size in sizes]

    def _tell(self, lost: Iterable[int]) -> None:
        """Add a sentence to the store's notices for blocks that were not told of before and did not leave meanwhile."""
        first = self._store.blocks_beginning(self._video_id).block
        new = sorted({block_id for block_id in lost if block_id >= first} - self._told)
        if new:
            self._told.update(new)
            self._store.notices.append(str(self._log.lost(map(BlockId, new))))


class OpenBlocks:
    """The blocks of the videos that were asked about last, each video's in tiers of its own."""

    def __init__(self, store: Store, config: KvConfig, form: Callable[[], Form]) -> None:
        """`form` is called when blocks are first needed: it needs the model."""
        self._store, self.config, self._form = store, config, form
        self._open: OrderedDict[tuple[VideoId, str], VideoBlocks] = OrderedDict()

    def of(self, video: StoredVideo) -> VideoBlocks:
        """A video's blocks, as far as they are committed now."""
        key = video.key
        blocks = self._open.pop(key, None)
        if blocks is None:
            blocks = VideoBlocks(self._store, video.video_id, self.config, self._form())
        else:
            blocks.follow()
        self._open[key] = blocks
        while len(self._open) > _VIDEOS_OPEN:
            self._open.popitem(last=False)[1].close()
        return blocks

    def keep_only(self, videos: Iterable[StoredVideo]) -> None:
        """Let go of all other videos: they were removed, here or by another process."""
        for key in self._open.keys() - {video.key for video in videos}:
            self._open.pop(key).close()

    def state(self) -> tuple[TierState, ...]:
        """What the accelerator and RAM hold of all open videos."""
        states = [blocks.state() for blocks in self._open.values()]
        return tuple(_sum(tier) for tier in zip(*states, strict=True) if tier[0].name != "disk")

    def close(self) -> None:
        self.keep_only([])


def _sum(tiers: Sequence[TierState]) -> TierState:
    return replace(
        tiers[0],
        num_blocks=sum(tier.num_blocks for tier in tiers),
        num_bytes=sum(tier.num_bytes for tier in tiers),
        num_reserved_bytes=sum(tier.num_reserved_bytes for tier in tiers),
        budget_bytes=sum(tier.budget_bytes or 0 for tier in tiers),
    )
