"""What vidmem needs to know of a model family, and what all families share. One small file a family does the rest.

A new family is a subclass of `Family` that says how it `see`s pictures, where their tokens stand (`pattern`), how it
writes and `mark`s their time and what stands `around` them, and an entry in `vidmem.models.families.registry`.
`tests/kv/test_families.py` and `tests/pipelines/test_families_end_to_end.py` run the same checks on every one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.attention import LayerAttention
from vidmem.kv.block import Layout
from vidmem.kv.copies import lift
from vidmem.kv.rope import Rotary, text_positions
from vidmem.kv.tokens import FrameTokens, Tokens, join
from vidmem.models.chat import plain
from vidmem.models.kv_attention import install, rotary_of, run_text_model
from vidmem.models.prompt import time_mark
from vidmem.types import Span, View, format_time

_PICTURES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Surround:
    """Special tokens right before and after a picture, by their names."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Family(ABC):
    """A `...ForConditionalGeneration` of transformers with its tokenizer, as vidmem shows it video.

    A picture's tokens are kept as rows (P, D) with D = `token_dim`: the embeddings, and behind them along D what a
    family adds to its first layers (DeepStack). Rows know no position; `pattern` says it for all pictures of a view.
    Calls may come from several threads.

    Args:
        model: in evaluation mode, without gradients, all of it in one dtype.
        tokenizer: with the model's special tokens.
        video_processor: of it only the normalisation of pixels is used.
        view: picture size; None is the model's own where it has one.
        time_marks: put a text that marks its time before every picture, so that "when" can be answered.
        closing: put what the checkpoint was trained to find between the last picture and the question there, if its
            family has such a thing (`closing`).

    Raises:
        BadInput: the model can't see pictures of this size, its weights differ in dtype, or its tokenizer lacks what
            stands around pictures.
    """

    model_type: ClassVar[str]
    """`config.model_type` of the checkpoints that the family takes."""
    frames_per_block: ClassVar[int] = 1
    """Consecutive frames that the model merges into one picture."""
    num_axes: ClassVar[int] = 1
    """Axes of a position: 1, or 3 (time, height, width) with M-RoPE."""
    interleaved: ClassVar[bool] = False
    """Whether the three axes of M-RoPE take turns over the frequencies."""
    around: ClassVar[Surround] = Surround()
    """What stands around a picture, behind its time mark."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        video_processor: Any,
        *,
        view: View | None = None,
        time_marks: bool = True,
        closing: bool = True,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.decoder = model.get_decoder()
        weight = model.get_input_embeddings().weight
        self.device, self.dtype = weight.device, weight.dtype
        self._check_dtypes()
        self._check_tokens()
        self._time_marks, self._closing = time_marks, closing
        self.view = self._check_view(view)
        self._mean = torch.tensor(video_processor.image_mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(video_processor.image_std, device=self.device).view(1, 3, 1, 1)
        self.ids_around = lru_cache(maxsize=4096)(self._ids_around)

    # -- what a family says --

    @property
    @abstractmethod
    def tokens_per_picture(self) -> int:
        """Visual tokens of one picture, without the text around it: P."""

    @property
    def num_deepstack(self) -> int:
        """Layers that add rows of their own to a picture's tokens."""
        return 0

    @cached_property
    def pattern(self) -> Tensor:
        """Where a picture's tokens stand: (axes, P), from 0 on every axis."""
        return text_positions(self.tokens_per_picture, self.num_axes)

    @abstractmethod
    def _check_view(self, view: View | None) -> View:
        """The picture size to use. Raises BadInput if the model can't see pictures of this one."""

    def only_square(self, view: View | None, side: int) -> View:
        """The view of a model that sees pictures of side x side alone. Raises BadInput for any other."""
        if view not in (None, View(side, side)):
            raise BadInput(
                f"this {self.model_type} model sees pictures of {side} x {side}, not of {view.width} x {view.height}: "
                "leave `side` out of [language] in the preset."
            )
        return View(side, side)

    @abstractmethod
    def see(self, pixels: Tensor) -> Tensor:
        """Encode normalised pixels (F, 3, H, W), F a multiple of `frames_per_block`: rows (blocks, P, `token_dim`).

        A picture must not depend on those beside it in the call, or streaming could not be exact.
        """

    def label(self, seconds: float, *, hours: bool = False) -> str:
        """A time as the model reads it in a mark; `hours` for a video that has some."""
        return format_time(seconds, hours=hours)

    def mark(self, label: str) -> str:
        """The text before a picture that marks its time, from `label`, which may have a video's name before it."""
        return time_mark(label)

    def closing(self) -> Tokens | None:
        """What the family's checkpoints were trained to find behind the last picture, if anything."""
        return None

    # -- pictures --

    @property
    def token_dim(self) -> int:
        """D, what is kept of one token."""
        return int(self.decoder.config.hidden_size) * (1 + self.num_deepstack)

    def encode(self, images: Tensor) -> Tensor:
        """Rows (F, P, D) of uint8 RGB images (F, H, W, 3) of `view`'s size, each seen by itself.

        Where the model merges frames into one picture, it is shown each as often, as its own processor repeats a still
        image: one sampled frame is one picture, whatever the family.
        """
        shape = (self.view.height, self.view.width, 3)
        if tuple(images.shape[1:]) != shape:
            raise ValueError(f"frames must be (F, {', '.join(map(str, shape))}), got {tuple(images.shape)}")
        return self._encode(images.repeat_interleave(self.frames_per_block, dim=0))

    def frames(self, images: Tensor, spans: Sequence[Span]) -> list[FrameTokens]:
        """Encode uint8 RGB images (F, H, W, 3) of `view`'s size: one `FrameTokens` for each of `spans`.

        Raises:
            BadInput: F is not `frames_per_block` times the number of spans, or the pictures are of another size.
        """
        wanted = (len(spans) * self.frames_per_block, self.view.height, self.view.width, 3)
        if tuple(images.shape) != wanted:
            raise BadInput(
                f"{len(spans)} spans need frames of shape {wanted}, got {tuple(images.shape)}: "
                f"{self.model_type} makes one block of {self.frames_per_block} frame(s)."
            )
        labels = map(self.label_of, spans)
        return [self.frame(*given) for given in zip(labels, self._encode(images), spans, strict=True)]

    def label_of(self, span: Span) -> str:
        """The label of a block that shows `frames_per_block` frames evenly over a span: their mean time."""
        return self.label(span.start + span.seconds * (self.frames_per_block - 1) / (2 * self.frames_per_block))

    def frame(self, label: str, rows: Tensor, span: Span) -> FrameTokens:
        """A picture's rows (P, D) between its time mark and what stands around it: what becomes one block."""
        embeds, *deepstack = lift(rows, self.device).to(self.dtype).split(int(self.decoder.config.hidden_size), dim=-1)
        seen = torch.ones(len(embeds), dtype=torch.bool)
        visual = Tokens(embeds, self.pattern, seen, torch.stack(deepstack) if deepstack else None)
        before, after = self.ids_around(label)
        return FrameTokens(join([self.text(before), visual, self.text(after)]), span)

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        rows = [torch.empty(0, self.tokens_per_picture, self.token_dim, device=self.device, dtype=self.dtype)]
        for part in images.split(_PICTURES_AT_ONCE * self.frames_per_block) if len(images) else ():
            pixels = lift(part, self.device).permute(0, 3, 1, 2).float() / 255
            rows.append(self.see(((pixels - self._mean) / self._std).to(self.dtype)))
        return torch.cat(rows)

    # -- text --

    def _ids_around(self, label: str) -> tuple[list[int], list[int]]:
        """Token ids before and after a picture, its time mark among them."""
        mark = plain(self.tokenizer, self.mark(label)) if self._time_marks else ""
        return self.ids(mark + "".join(self.around.before)), self.ids("".join(self.around.after))

    def after_frames(self) -> Tokens | None:
        """What goes between the last picture and the question, if anything."""
        return self.closing() if self._closing else None

    def ids(self, text: str) -> list[int]:
        """Token ids of text in which special tokens stand by their names."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def text(self, ids: Sequence[int]) -> Tokens:
        embed = self.model.get_input_embeddings()
        embeds = embed(lift(torch.tensor(ids, dtype=torch.long), self.device))
        seen = torch.zeros(len(ids), dtype=torch.bool)
        return Tokens(embeds, text_positions(len(ids), self.num_axes), seen)

    # -- the text model --

    def let_stream(self) -> None:
        """Switch the model's text attention to one that vidmem can take over for single calls (`run`).

        Stock use of the same object goes on as before.

        Raises:
            BadInput: the model can't be streamed exactly.
        """
        _ = self.rotary
        install(self.model)

    @cached_property
    def rotary(self) -> Rotary:
        """How positions become angles. Raises BadInput if keys can't be moved."""
        return rotary_of(self.decoder, interleaved=self.interleaved)

    @cached_property
    def layout(self) -> Layout:
        """In what shape the model's keys and values come."""
        config = self.decoder.config
        return Layout(
            num_layers=config.num_hidden_layers,
            num_kv_heads=config.num_key_value_heads,
            head_dim=self.rotary.head_dim,
            num_axes=self.num_axes,
        )

    def position_ids(self, positions: Tensor) -> Tensor:
        """Positions (axes, T) as the text model takes them: (1, T), or (3, 1, T)."""
        here = lift(positions, self.device)
        return here[:, None] if len(here) > 1 else here

    def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
        """Last hidden states (T, C) of a forward whose attention is `attention` (`vidmem.kv.tokens.TextModel`).

        `let_stream` comes first.
        """
        return run_text_model(self.decoder, tokens.embeds, attention, **self.visual(tokens))

    def visual(self, tokens: Tokens) -> dict[str, Any]:
        """Further arguments of the text model's forward that the pictures in `tokens` need."""
        return {}

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., vocabulary) of the next token from last hidden states (..., C)."""
        scores: Tensor = self.model.lm_head(hidden)
        return scores

    # -- checks --

    def _check_dtypes(self) -> None:
        dtypes = sorted({str(weight.dtype) for weight in self.model.parameters() if weight.is_floating_point()})
        if len(dtypes) > 1:
            kinds = " and ".join(name.removeprefix("torch.") for name in dtypes)
            raise BadInput(
                f"the weights of this {self.model_type} model are in {kinds}: load a checkpoint whose weights can all "
                "be in one dtype."
            )

    def _check_tokens(self) -> None:
        known = self.tokenizer.get_vocab()
        lacking = [name for name in (*self.around.before, *self.around.after) if name not in known]
        if lacking:
            raise BadInput(
                f"the tokenizer of this {self.model_type} model has no {lacking[0]}, which stands beside every "
                "picture: use a checkpoint with video support, with the tokenizer that belongs to it."
            )
