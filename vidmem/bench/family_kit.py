"""One adapter beside its stock model: what the checks of every adapter, and the benchmark's exactness, compare.

A `Case` is an adapter and a way to make the stock inputs: ids with placeholders and pixels as the family's own
processor prepares them, without positions, masks or embeddings of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaOnevisionVideoProcessor, Qwen2VLVideoProcessor, Qwen3VLVideoProcessor

from vidmem.bench.random_families import random_model, token_id, tokenizer
from vidmem.kv.block import Block
from vidmem.kv.context import Context, ContextAttention, RamBlocks, assemble
from vidmem.kv.tokens import Tokens, join
from vidmem.kv.writer import StreamWriter
from vidmem.models.chat import Chat
from vidmem.models.families.family import Family
from vidmem.models.families.registry import FAMILIES
from vidmem.types import Span, View

UNEVEN = (1, 3, 2)
QUESTION = "When did the dog appear?"


@dataclass(frozen=True)
class Case:
    """An adapter, and how its stock model is given the same video."""

    family: Family
    placeholder: str
    stock_pixels: Callable[[Tensor], dict[str, Tensor]]
    newline: str = ""
    """Text that stands in the stock prompt for what `after_frames` says."""

    @property
    def chat(self) -> Chat:
        return Chat(self.family.tokenizer)

    def footage(self, num_blocks: int, seed: int = 0) -> tuple[Tensor, list[Span]]:
        """Noise, and spans that are no whole seconds and pass a minute."""
        family, chance = self.family, torch.manual_seed(seed)
        shape = (num_blocks * family.frames_per_block, family.view.height, family.view.width, 3)
        images = torch.randint(0, 256, shape, generator=chance, dtype=torch.uint8)
        return images, [Span(index * 13.5, (index + 1) * 13.5) for index in range(num_blocks)]

    def stock_inputs(self, images: Tensor, spans: Sequence[Span], tail_ids: Sequence[int]) -> dict[str, Tensor]:
        family = self.family
        picture = [token_id(self.placeholder)] * family.tokens_per_picture
        ids = list(self.chat.ids("").opening)
        for span in spans:
            before, after = family.ids_around(family.label_of(span))
            ids += [*before, *picture, *after]
        ids += family.ids(self.newline) + list(tail_ids)
        input_ids = torch.tensor([ids])
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), **self.stock_pixels(images)}
        if "video_grid_thw" in inputs:
            inputs["mm_token_type_ids"] = 2 * (input_ids == token_id(self.placeholder)).int()
        return inputs

    @torch.no_grad()
    def stock_logits(self, images: Tensor, spans: Sequence[Span], tail_ids: Sequence[int]) -> Tensor:
        """Logits (n, vocabulary) at the n last tokens, of one forward over everything."""
        out = self.family.model(**self.stock_inputs(images, spans, tail_ids), use_cache=False)
        return out.logits[0, -len(tail_ids) :]

    @torch.no_grad()
    def stock_answer(
        self, images: Tensor, spans: Sequence[Span], tail_ids: Sequence[int], num: int, **settings: Any
    ) -> list[int]:
        inputs = self.stock_inputs(images, spans, tail_ids)
        out = self.family.model.generate(**inputs, max_new_tokens=num, do_sample=False, **settings)
        return out[0, inputs["input_ids"].shape[1] :].tolist()

    def writer(self, **options: Any) -> StreamWriter:
        family = self.family
        opening = family.text(self.chat.ids("").opening)
        return StreamWriter(family, family.layout, family.rotary, opening, **options)

    def stream(
        self, writer: StreamWriter, images: Tensor, spans: Sequence[Span], clip_sizes: Sequence[int]
    ) -> RamBlocks:
        assert sum(clip_sizes) == len(spans)
        store, begin, per = RamBlocks(), 0, self.family.frames_per_block
        for size in clip_sizes:
            end = begin + size
            for block in writer.write(self.family.frames(images[begin * per : end * per], spans[begin:end])):
                store.append(block)
            begin = end
        return store

    def everything(self, writer: StreamWriter, store: RamBlocks) -> Context:
        return assemble(writer.opening, retrieved=store.fetch(range(len(store))))

    def tail(self, ids: Sequence[int]) -> Tokens:
        after = self.family.after_frames()
        return join([after, self.family.text(ids)]) if after else self.family.text(ids)

    def question_logits(self, context: Context, ids: Sequence[int]) -> Tensor:
        tail = self.tail(ids)
        attention = ContextAttention(context, self.family.rotary, tail.positions)
        return self.family.logits(self.family.run(tail, attention))[-len(ids) :]


def copies(blocks: Sequence[Block]) -> list[tuple[Tensor, Tensor]]:
    return [(block.keys.clone(), block.values.clone()) for block in blocks]


def _llava_pixels(images: Tensor) -> dict[str, Tensor]:
    processor = LlavaOnevisionVideoProcessor(
        size={"height": 56, "width": 56}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return dict(processor([images.permute(0, 3, 1, 2)], do_sample_frames=False, return_tensors="pt"))


def _smolvlm_pixels(images: Tensor) -> dict[str, Tensor]:
    return {"pixel_values": ((images.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5)[None]}


def _qwen_pixels(processor: Any) -> Callable[[Tensor], dict[str, Tensor]]:
    def pixels(images: Tensor) -> dict[str, Tensor]:
        # A video of two frames for each block: stock models number the positions of longer ones in other ways.
        pairs = list(images.permute(0, 3, 1, 2).split(2))
        made = processor(pairs, do_resize=False, do_sample_frames=False, return_tensors="pt")
        return {name: made[name] for name in ("pixel_values_videos", "video_grid_thw")}

    return pixels


@cache
def case_of(name: str, dtype: torch.dtype = torch.float32) -> Case:
    half = LlavaOnevisionVideoProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3)
    model = random_model(name)
    if dtype != torch.float32:
        model = deepcopy(model).to(dtype)
    if name == "llava_onevision":
        return Case(_family(model, half), "<video>", _llava_pixels, newline="<video>")
    if name == "smolvlm":
        return Case(_family(model, half), "<image>", _smolvlm_pixels, newline="\n\n")
    if name == "qwen2_5_vl":
        processor = Qwen2VLVideoProcessor(cap_pixels_per_frame=False)
        return Case(_family(model, processor, View(84, 56)), "<|video_pad|>", _qwen_pixels(processor))
    newer = Qwen3VLVideoProcessor(cap_pixels_per_frame=False)
    return Case(_family(model, newer, View(96, 64)), "<|video_pad|>", _qwen_pixels(newer))


def _family(model: Any, processor: Any, view: View | None = None) -> Family:
    family = FAMILIES[model.config.model_type](model, tokenizer(), processor, view=view)
    family.let_stream()
    return family
