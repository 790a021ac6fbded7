"""The KV blocks of a store's videos, for reading: opened where a question needs them, followed as clips are committed.

A block holds a frame, or several in a row; which one holds which is on the video's timeline (`Timeline.block_ids`).
What ranks frames, their representatives, is kept of every frame.
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
from vidmem.kv.keyfile import KeyFile
from vidmem.kv.packing import unpack
from vidmem.kv.recall import representative
from vidmem.kv.records import BlockId
from vidmem.kv.representatives import Representatives
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tier import TierState
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.models.families.family import Family
from vidmem.models.preset import KvConfig
from vidmem.types import VideoId

_VIDEOS_OPEN = 3
_BLOCKS_AT_ONCE = 64


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
        blocks = [unpack(payload, form.layout, form.dtype) for payload in loan.result()]
    return dict(zip(map(int, ids), blocks, strict=True))


class VideoBlocks:
    """The committed blocks of one video."""

    def __init__(self, store: Store, video_id: VideoId, config: KvConfig, form: Form) -> None:
        self._store, self._video_id, self._form = store, video_id, form
        folder = store.blocks_folder(video_id)
        self._position = store.blocks_position(video_id)
        self._log = SegmentLog(folder, self._position, read_only=True)
        self._tiers = Tiers(self._log, form.device, TierConfig(config.accelerator_bytes, config.ram_bytes))
        self._key_file = KeyFile(folder, form.layout)
        self._representatives = Representatives(form.layout, device=form.device, dtype=torch.float16)
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

    def representatives(self, block_ids: np.ndarray) -> Representatives:
        """Of all committed frames, whose blocks these are (n,).

        They were made of whole blocks, before compression. Rows that are damaged on disk are made again from what the
        frames' blocks still hold.
        """
        held = len(self._representatives)
        new = block_ids[held:].tolist()
        if new:
            rows = self._key_file.read(held, len(new))
            means = rows.means
            damaged = (~rows.is_sound).nonzero()[0].tolist()
            for start in range(0, len(damaged), _BLOCKS_AT_ONCE):
                part = damaged[start : start + _BLOCKS_AT_ONCE]
                blocks = self.fetch(dict.fromkeys(new[index] for index in part))
                for index in part:
                    if new[index] in blocks:
                        means[index] = representative(blocks[new[index]].keys)
            self._representatives.extend(means.to(self._form.device), [self.block_tokens[block_id] for block_id in new])
        return self._representatives

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
