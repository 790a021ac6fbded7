"""Streaming on a device as an ingest in kv mode does it, without a store; and a plain loop to measure it against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from vidmem.kv.attention import Window
from vidmem.kv.block import Block
from vidmem.kv.compress import Compression, Seen, compress, seen_of
from vidmem.kv.formats import Format
from vidmem.kv.heads import heads_of
from vidmem.kv.known import drop_known
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.landmarks import Landmarks, grouped, head_keys
from vidmem.kv.packing import pack
from vidmem.kv.payload import Payload
from vidmem.kv.records import Position
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.kv.tokens import FrameTokens, join
from vidmem.kv.writer import StreamWriter
from vidmem.models.chat import Chat
from vidmem.models.families.family import Family
from vidmem.types import Span

Drop = Literal["none", "after", "before"]
"""Whether tokens are dropped: not, from blocks once they are made (`compress`), or before the prefill (`known`)."""
DROPS: tuple[Drop, ...] = get_args(Drop)
FORMAT: Format = "int4"
KEEP = Compression(keep_ratio=0.25)
_RAM_BYTES = 4 * 1024**3
"""Room for blocks on their way to disk."""


@dataclass(frozen=True, slots=True)
class Footage:
    """Noise that repeats after a few clips: uint8 pictures (F, H, W, 3) in host memory, one frame a second."""

    clips: Sequence[Tensor]
    frames_per_block: int

    @classmethod
    def of(cls, family: Family, clip_frames: int, seed: int) -> Footage:
        chance = torch.Generator().manual_seed(seed)
        shape = clip_frames, family.view.height, family.view.width, 3
        made = [torch.randint(0, 256, shape, generator=chance, dtype=torch.uint8) for _ in range(2)]
        return cls(made, family.frames_per_block)

    def endless(self) -> Iterator[tuple[Tensor, list[Span]]]:
        """Clips, each with one span for every block it makes."""
        per, start = self.frames_per_block, 0
        while True:
            for images in self.clips:
                spans = [Span(at, at + per) for at in range(start, start + len(images), per)]
                start += len(images)
                yield images, spans


def window_of(family: Family, num_frames: int) -> Window:
    """A window over as many whole frames as a question brings back, behind the opening, which stays visible."""
    opening = len(opening_ids(family))
    before, after = family.ids_around(family.label(0.0))
    block = family.tokens_per_picture + len(before) + len(after)
    return Window(num_frames // family.frames_per_block * block + opening, opening)


def opening_ids(family: Family) -> Sequence[int]:
    return Chat(family.tokenizer).ids("").opening


class Stream:
    """One video: pictures become tokens, blocks, bytes, and landmarks, which stay in RAM; a context manager.

    Args:
        folder: of the log of blocks; there need be none.
    """

    def __init__(self, family: Family, folder: Path, window: Window, drop: Drop = "none") -> None:
        self._family, self._drop = family, drop
        self.writer = StreamWriter(
            family, family.layout, family.rotary, family.text(opening_ids(family)), window=window
        )
        self._tiers = Tiers(SegmentLog(folder), family.device, TierConfig(64 * 1024**2, _RAM_BYTES))
        self.landmarks = LandmarkIndex(heads_of(family.layout, ()), family.layout.head_dim)
        self._last_frame: FrameTokens | None = None
        self._last_seen: Seen | None = None
        self.last: tuple[list[Payload], Landmarks] | None = None
        """The newest blocks that have landmarks together, as they are stored."""

    def write(self, images: Tensor, spans: Sequence[Span]) -> None:
        """Take in a clip. Nothing of it is committed yet."""
        frames = self._family.frames(images, spans)
        kept = drop_known(frames, KEEP, before=self._last_frame) if self._drop == "before" else frames
        blocks = self.writer.write(kept)
        keys = [head_keys(block, self.landmarks.heads) for block in blocks]  # of whole blocks, as an ingest takes them
        if self._drop == "after":
            blocks = self._dropped(blocks, frames)
        self._last_frame = frames[-1]
        payloads, heads = [pack(block, FORMAT) for block in blocks], self.landmarks.heads
        for first, end, group in grouped(keys, heads):
            self.put(payloads[first:end], group)

    @property
    def num_blocks(self) -> int:
        return self.landmarks.num_frames  # to which a frame is what makes one block

    def _dropped(self, blocks: Sequence[Block], frames: Sequence[FrameTokens]) -> list[Block]:
        seen = seen_of(blocks, frames)
        kept = compress(seen, KEEP, before=self._last_seen).blocks
        self._last_seen = seen[-1]
        return kept

    def put(self, payloads: list[Payload], group: Landmarks) -> None:
        """Add a few blocks as they are stored, and their landmarks."""
        for payload in payloads:
            self._tiers.put(payload)
        self.landmarks.append(group, len(payloads))
        self.last = payloads, group

    def commit(self) -> Position:
        """Force all blocks to disk."""
        return self._tiers.flush()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self._tiers.close()


class PlainLoop:
    """What ReKV does, written down plainly: one picture at a time, and every layer's pieces copied one by one.

    A picture is encoded, run through the stock text model behind a cache that slides over the window, and its keys and
    values are copied to the host, two small copies a layer; its representative is the mean key with KV heads repeated
    for their query heads. Keys are offloaded as transformers caches them, turned: ReKV's own code holds them before
    RoPE, which costs the same bytes.

    Source: spec/rekv.md, write rules 1 to 6.
    """

    def __init__(self, family: Family, window: Window) -> None:
        from transformers import DynamicCache

        self._family, self._window = family, window
        self._cache = DynamicCache(config=family.decoder.config)
        self._next = 0
        self.pieces: list[tuple[Tensor, Tensor]] = []
        """The last picture's keys and values in host memory, layer by layer."""
        self.representatives: list[Tensor] = []
        """One a picture: (layers, query heads * D)."""
        opening = FrameTokens(family.text(opening_ids(family)), Span(0, 0))
        self._forward(opening)

    def write(self, images: Tensor, spans: Sequence[Span]) -> None:
        """Take in pictures, one by one."""
        per = self._family.frames_per_block
        for index, span in enumerate(spans):
            (frame,) = self._family.frames(images[index * per : (index + 1) * per], [span])
            self._forward(frame)
            self._offload(len(frame.tokens))
            self._slide()

    @torch.no_grad()
    def _forward(self, frame: FrameTokens) -> None:
        family, tokens = self._family, join([frame.tokens])
        positions = (tokens.positions + self._next).to(family.device)
        self._next += int(tokens.positions.max()) + 1
        family.decoder(
            inputs_embeds=tokens.embeds[None],
            position_ids=positions[:, None] if len(positions) > 1 else positions,
            past_key_values=self._cache,
            use_cache=True,
            **family.visual(tokens),
        )

    def _offload(self, num_tokens: int) -> None:
        group = self._family.decoder.config.num_attention_heads // self._family.layout.num_kv_heads
        pieces, means = [], []
        for layer in self._layers():
            keys, values = (held[0, :, -num_tokens:].contiguous() for held in (layer.keys, layer.values))
            pieces.append((keys.to("cpu", non_blocking=True), values.to("cpu", non_blocking=True)))
            means.append(keys.mean(dim=1).repeat_interleave(group, dim=0).flatten())
        self.pieces = pieces
        self.representatives.append(torch.stack(means))

    def _slide(self) -> None:
        size, initial = self._window.size, self._window.num_initial
        for layer in self._layers():
            if layer.keys.shape[2] > size + initial:
                layer.keys = torch.cat((layer.keys[:, :, :initial], layer.keys[:, :, -size:]), dim=2)
                layer.values = torch.cat((layer.values[:, :, :initial], layer.values[:, :, -size:]), dim=2)

    def _layers(self) -> list[Any]:
        return list(self._cache.layers)
