"""The KV blocks of a store's videos, for reading: opened where a question needs them, followed as clips are committed.

A block holds a frame, or several in a row; which one holds which is on the video's timeline (`Timeline.block_ids`).
What internal retrieval looks at, their landmarks, is of every frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

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
        self._position = store.blocks_position(video_id)
        self._log = SegmentLog(folder, self._position, read_only=True)
        self._tiers = Tiers(self._log, form.device, TierConfig(config.accelerator_bytes, config.ram_bytes))
        self.block_tokens = self._sizes()
        """Tokens of each block, by its id."""
        self._told: set[int] = set()
        self._tell(
            block_id
            for part in self._log.lost_blocks()
            for block_id in range(part.first_block, part.first_block + part.num_blocks)
        )

    def follow(self) -> None:
        """See what was committed since."""
        position = self._store.blocks_position(self._video_id)
        if position != self._position:
            self._tiers.follow(position)
            self._position, self.block_tokens = position, self._sizes()

    def fetch(self, block_ids: Iterable[int]) -> dict[int, Block]:
        """Blocks by their ids, on the model's device. Those that are lost are left out, and the store notices it."""
        blocks, lost = fetch(self._tiers, block_ids, self._form)
        if lost is not None:
            self._tell(lost.block_ids)
        return blocks

    def landmarks(self, block_ids: np.ndarray) -> LandmarkIndex:
        """Of all committed frames, whose blocks these are (n,).

        They were made of whole blocks, before compression. What the catalogue has none of, or of other heads, is looked
        up in what the frames' blocks still hold.
        """
        held = self._landmarks
        if held.num_frames == len(block_ids):
            return held
        for row in self._store.landmarks(self._video_id, after=held.num_frames):
            found = Landmarks.from_bytes(row.data, held.heads, self._form.layout.head_dim)
            if found is not None and row.first_frame + row.num_frames <= len(block_ids):
                self._look_up(block_ids[: row.first_frame])
                held.append(found, row.num_frames)
        self._look_up(block_ids)
        return held

    def _look_up(self, block_ids: np.ndarray) -> None:
        """Add landmarks of the frames whose blocks these are, which some are held of. Of lost blocks there are none."""
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
        """None where the block's record is gone, too."""
        return self._log.num_tokens()[block_id] or None

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
        """Add a sentence to the store's notices for blocks that were not told of before."""
        new = sorted(set(lost) - self._told)
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
