"""ReKV against numbers from running its attention and cache manager. Tolerances are those of the fixtures' description.

A fixture's layers are independent: each gets the same inputs with weights of its own. `Layers` is a text model made of
them, so that the writer, the retrieval and the answering here are the ones that run real models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vidmem.kv.asking import LayerRecall
from vidmem.kv.attention import LayerAttention, Window, context_attend
from vidmem.kv.block import Block, Layout
from vidmem.kv.context import Context, RamBlocks, assemble_layer
from vidmem.kv.recall import block_scores, representative, top_groups
from vidmem.kv.representatives import Representatives
from vidmem.kv.rope import Rotary, place, text_positions
from vidmem.kv.tokens import FrameTokens, Tokens
from vidmem.kv.writer import StreamWriter
from vidmem.types import Span

from .fixture import Fixture


def group_of(name: str) -> str:
    return name.split("_")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    return {"S": check_scoring, "E": check_unfilled_window}.get(group, check_life)


def settings(fixture: Fixture, group: str) -> dict[str, Any]:
    return dict(json.loads(fixture.text(f"{group}_cfg")))


@dataclass
class Layers:
    """Attention layers beside each other, as a `TextModel`. `outputs` has one (L, tokens, hidden) for each run."""

    fixture: Fixture
    group: str
    num_heads: int
    outputs: list[Tensor] = field(default_factory=list)

    def project(self, x: Tensor, name: str, layer_index: int) -> Tensor:
        weight = self.fixture[f"{self.group}_w{name}"][layer_index]
        bias = self.fixture[f"{self.group}_b{name}"][layer_index]
        num_heads = self.num_heads * len(weight) // self.fixture[f"{self.group}_wq"].shape[1]
        return (x @ weight.T + bias).unflatten(1, (num_heads, -1)).transpose(0, 1)

    def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
        weights = self.fixture[f"{self.group}_wo"]
        outs = []
        for layer_index, weight in enumerate(weights):
            query, key, value = (self.project(tokens.embeds, name, layer_index) for name in "qkv")
            out = attention.attend(layer_index, query, key, value, scale=query.shape[-1] ** -0.5)
            outs.append(out.transpose(0, 1).flatten(1) @ weight.T)
        self.outputs.append(torch.stack(outs))
        return tokens.embeds


def text(x: Tensor) -> Tokens:
    return Tokens(x, text_positions(len(x), 1), torch.zeros(len(x), dtype=torch.bool))


@dataclass
class Answering:
    """The prompt and the decoded tokens, whose keys are kept: the first n_init and, once there are more, the last W."""

    context: Context
    window: Window
    rotary: Rotary

    def __post_init__(self) -> None:
        self.keys = [layer.key for layer in self.context.layers]
        self.values = [layer.value for layer in self.context.layers]

    def attend(self, layer_index: int, query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
        keys = torch.cat((self.keys[layer_index], key), dim=1)
        values = torch.cat((self.values[layer_index], value), dim=1)
        positions = text_positions(keys.shape[1], 1)
        out = context_attend(query, keys, values, positions, self.rotary, window=self.window, scale=scale)
        self.keys[layer_index], self.values[layer_index] = self.trimmed(keys), self.trimmed(values)
        return out

    def trimmed(self, held: Tensor) -> Tensor:
        first, size = self.window.num_initial, self.window.size
        return torch.cat((held[:, :first], held[:, -size:]), dim=1) if held.shape[1] > first + size else held

    def lengths(self) -> list[int]:
        return [key.shape[1] for key in self.keys]


def check_life(fixture: Fixture, group: str) -> None:
    config = settings(fixture, group)
    x_init, x_video, x_question, x_prompt, x_decode = (
        fixture[f"{group}_x_{name}"] for name in ("init", "video", "question", "prompt", "decode")
    )
    rotary = rotary_of(config)
    layers = Layers(fixture, group, config["num_heads"])
    layout = Layout(config["layers"], config["num_kv_heads"], config["head_dim"])
    window = Window(config["n_local"], num_initial=len(x_init))

    writer = StreamWriter(layers, layout, rotary, text(x_init), window=window)
    fixture.close(f"{group}_out_init", layers.outputs.pop(), atol=2e-5)
    frames = [FrameTokens(text(x), Span(i, i + 1)) for i, x in enumerate(x_video.split(config["block_size"]))]
    store, representatives = RamBlocks(), Representatives(layout)
    for num_frames in config["frames_per_append"]:
        clip, frames = frames[:num_frames], frames[num_frames:]
        for block in writer.write(clip):
            store.append(block)
            representatives.append(block)
    fixture.close(f"{group}_out_video", torch.cat(layers.outputs, dim=1), atol=2e-5)

    held = [representatives.of_layer(index) for index in range(layout.num_layers)]
    fixture.close(
        f"{group}_block_k",
        torch.stack([repeated(rep, config["num_heads"] // layout.num_kv_heads) for rep in held]),
        atol=1e-5,
    )

    choose = partial(top_groups, top_k=config["topk"], group_size=config["chunk_size"])
    question = text(x_question)
    recall = LayerRecall(writer.opening, store, representatives, rotary, question.positions, choose, window=window)
    layers.outputs.clear()
    layers.run(question, recall)
    fixture.close(f"{group}_out_question", layers.outputs.pop(), atol=2e-5)
    queries = [layers.project(x_question, "q", index) for index in range(layout.num_layers)]
    fixture.close(f"{group}_q_mean", torch.stack([query.mean(1).flatten() for query in queries]), atol=1e-5)
    scores = torch.stack(recall.scores)
    if len(store) <= config["topk"]:  # the reference then asks for no scores
        scores = torch.full_like(scores, torch.nan)
    fixture.close(f"{group}_scores", scores, atol=5e-5, rtol=1e-5)
    fixture.same(f"{group}_indices", recall.chosen)

    context = recall.context()
    fixture.close(f"{group}_ret_k", torch.stack([layer.key for layer in context.layers]), atol=1e-5)
    fixture.close(f"{group}_ret_v", torch.stack([layer.value for layer in context.layers]), atol=1e-5)
    answering = Answering(context, window, rotary)
    layers.run(text(x_prompt), answering)
    fixture.close(f"{group}_out_prompt", layers.outputs.pop(), atol=2e-5)
    lengths = [answering.lengths()]
    for x in x_decode:
        layers.run(text(x[None]), answering)
        lengths.append(answering.lengths())
    fixture.close(f"{group}_out_decode", torch.cat(layers.outputs, dim=1), atol=2e-5)
    fixture.same(f"{group}_cache_len", torch.tensor(lengths).T)


def rotary_of(config: dict[str, Any]) -> Rotary:
    half = torch.arange(0, config["head_dim"], 2, dtype=torch.float32)
    return Rotary(config["rope_base"] ** (-half / config["head_dim"]))


def repeated(representatives: Tensor, group_size: int) -> Tensor:
    """(N, KV heads, D) as the reference keeps them: each head once for each of its query heads, (N, H * D)."""
    return representatives.repeat_interleave(group_size, dim=1).flatten(1)


def check_scoring(fixture: Fixture, group: str) -> None:
    config = settings(fixture, group)
    keys, queries = fixture["S_k"], fixture["S_q"]
    by_layer = keys.unflatten(2, (-1, config["block_size"])).transpose(1, 2)  # (L, N, KV heads, block, D)
    held = [torch.stack([representative(block[None])[0] for block in blocks]) for blocks in by_layer]
    group_size = config["num_heads"] // config["num_kv_heads"]
    fixture.close("S_rep", torch.stack([repeated(rep, group_size) for rep in held]), atol=1e-5)
    scores = torch.stack([block_scores(rep, query) for rep, query in zip(held, queries, strict=True)])
    fixture.close("S_scores", scores, atol=5e-5, rtol=1e-5)
    for row, (top_k, chunk_size) in enumerate(fixture["S_settings"].tolist()):
        want = fixture[f"S_indices_{row}"]
        ours = torch.full_like(want, -1)
        for layer_index, layer_scores in enumerate(scores):
            chosen = top_groups(layer_scores, top_k, chunk_size)
            ours[layer_index, : len(chosen)] = torch.tensor(chosen)
        fixture.same(f"S_indices_{row}", ours)


def check_unfilled_window(fixture: Fixture, group: str) -> None:
    config = settings(fixture, group)
    size = config["block_size"]
    opening = Block(
        fixture["E_k_init"][None], fixture["E_v_init"][None], text_positions(config["n_init"], 1), Span(0, 0)
    )
    pairs = zip(fixture["E_k"].split(size, dim=1), fixture["E_v"].split(size, dim=1), strict=True)
    blocks = [
        Block(key[None], value[None], text_positions(size, 1), Span(i, i + 1)) for i, (key, value) in enumerate(pairs)
    ]
    scores = block_scores(torch.cat([representative(block.keys) for block in blocks]), fixture["E_q"])
    for row, top_k in enumerate(fixture.ints("E_topk")):
        chosen = top_groups(scores, top_k, config["chunk_size"])
        fixture.same(f"E_indices_{row}", chosen)
        layer = assemble_layer(opening, [blocks[index] for index in chosen], 0)
        fixture.close(f"E_ret_k_{row}", layer.key, atol=0)
        fixture.close(f"E_ret_v_{row}", layer.value, atol=0)
        assert torch.equal(layer.positions, place([text_positions(len(layer), 1)]).positions)
