"""What KV memory needs to know of a model family, and what all families share. One small file a family does the rest.

A new family is a subclass of `Family` that says how it `see`s pictures, how it `mark`s their time and what stands
`around` them, and an entry in `vidmem.models.families.registry`. `tests/kv/test_families.py` runs the same checks on
every one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.attention import LayerAttention
from vidmem.kv.block import Layout
from vidmem.kv.copies import lift
from vidmem.kv.rope import text_positions
from vidmem.kv.tokens import FrameTokens, Tokens, join
from vidmem.models.kv_attention import install, rotary_of, run_text_model
from vidmem.types import Span, View

_PICTURES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One frame, or the frames that the model merges into one, as the text model is fed it.

    `embeds` (P, C); `positions` (axes, P), the picture's own pattern from 0 on every axis; `deepstack`
    (layers, P, C) or None.
    """

    embeds: Tensor
    positions: Tensor
    deepstack: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Surround:
    """Text right before and after a picture, special tokens by their names."""

    before: str = ""
    after: str = ""


class Family(ABC):
    """A `...ForConditionalGeneration` of transformers with its tokenizer, as KV memory runs it.

    The model's text attention is switched to one that vidmem can take over for single calls; stock use of the same
    object goes on as before. Calls may come from several threads.

    Args:
        model: in evaluation mode, without gradients.
        tokenizer: with the model's special tokens.
        video_processor: of it only the normalisation of pixels is used.
        view: picture size; None is the model's own where it has one.
        time_marks: put a text that marks its time before every picture, so that "when" can be answered.
        closing: put what the checkpoint was trained to find between the last picture and the question there, if its
            family has such a thing (`closing`).

    Raises:
        BadInput: the model can't be streamed exactly, or not at this picture size.
    """

    model_type: ClassVar[str]
    """`config.model_type` of the checkpoints that the family takes."""
    frames_per_block: ClassVar[int] = 1
    """Consecutive frames that the model merges into one picture."""
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
        install(model)
        self.model, self.tokenizer = model, tokenizer
        self.decoder = model.get_decoder()
        self.rotary = rotary_of(self.decoder, interleaved=self.interleaved)
        config = self.decoder.config
        self.layout = Layout(
            num_layers=config.num_hidden_layers,
            num_kv_heads=config.num_key_value_heads,
            head_dim=self.rotary.head_dim,
            num_axes=self.rotary.num_axes,
        )
        weight = model.get_input_embeddings().weight
        self.device, self.dtype = weight.device, weight.dtype
        self._time_marks, self._closing = time_marks, closing
        self.view = self._check_view(view)
        self._mean = torch.tensor(video_processor.image_mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(video_processor.image_std, device=self.device).view(1, 3, 1, 1)

    @property
    @abstractmethod
    def tokens_per_picture(self) -> int:
        """Visual tokens of one picture, without the text around it."""

    @abstractmethod
    def _check_view(self, view: View | None) -> View:
        """The picture size to use. Raises BadInput if the model can't see pictures of this one."""

    def only_square(self, view: View | None, side: int) -> View:
        """The view of a model that sees pictures of side x side alone. Raises BadInput for any other."""
        if view not in (None, View(side, side)):
            raise BadInput(f"this {self.model_type} model sees pictures of {side} x {side}, not of {view}.")
        return View(side, side)

    @abstractmethod
    def see(self, pixels: Tensor) -> list[Picture]:
        """Encode normalised pixels (F, 3, H, W), F a multiple of `frames_per_block`: one picture for each block.

        A picture must not depend on those beside it in the call, or streaming could not be exact.
        """

    @abstractmethod
    def mark(self, span: Span) -> str:
        """The text that marks a picture's time."""

    def closing(self) -> Tokens | None:
        """What the family's checkpoints were trained to find behind the last picture, if anything."""
        return None

    def after_frames(self) -> Tokens | None:
        """What goes between the last picture and the question, if anything."""
        return self.closing() if self._closing else None

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
        if not spans:
            return []
        pictures = self._see_images(images)
        return [self._frame(picture, span) for picture, span in zip(pictures, spans, strict=True)]

    @torch.no_grad()
    def _see_images(self, images: Tensor) -> list[Picture]:
        pictures = []
        for part in images.split(_PICTURES_AT_ONCE * self.frames_per_block):
            pixels = lift(part, self.device).permute(0, 3, 1, 2).float() / 255
            pictures += self.see(((pixels - self._mean) / self._std).to(self.dtype))
        return pictures

    def _frame(self, picture: Picture, span: Span) -> FrameTokens:
        seen = torch.ones(len(picture.embeds), dtype=torch.bool)
        visual = Tokens(picture.embeds, picture.positions, seen, picture.deepstack)
        before, after = self.ids_around(span)
        return FrameTokens(join([self.text(before), visual, self.text(after)]), span)

    def ids_around(self, span: Span) -> tuple[list[int], list[int]]:
        """Token ids before and after a picture, its time mark among them."""
        mark = self.mark(span) if self._time_marks else ""
        return self.ids(mark + self.around.before), self.ids(self.around.after)

    def ids(self, text: str) -> list[int]:
        """Token ids of text in which special tokens stand by their names."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.no_grad()
    def text(self, ids: Sequence[int]) -> Tokens:
        embed = self.model.get_input_embeddings()
        embeds = embed(lift(torch.tensor(ids, dtype=torch.long), self.device))
        seen = torch.zeros(len(ids), dtype=torch.bool)
        return Tokens(embeds, text_positions(len(ids), self.rotary.num_axes), seen)

    def run(self, tokens: Tokens, attention: LayerAttention) -> Tensor:
        """Last hidden states (T, C) of a forward whose attention is `attention` (`vidmem.kv.tokens.TextModel`)."""
        return run_text_model(self.decoder, tokens.embeds, attention, **self.visual(tokens))

    def visual(self, tokens: Tokens) -> dict[str, Any]:
        """Further arguments of the text model's forward that the pictures in `tokens` need."""
        return {}

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (..., vocabulary) of the next token from last hidden states (..., C)."""
        scores: Tensor = self.model.lm_head(hidden)
        return scores
