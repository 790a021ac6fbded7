"""The video-LLM: any LLaVA-OneVision checkpoint of transformers, fed with frames that were encoded before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidmem.errors import BadInput, MissingModel
from vidmem.models.chat import Chat, StreamDecoder
from vidmem.models.families.family import Family
from vidmem.models.families.registry import family_of
from vidmem.models.folders import LANGUAGE_FILES, find_model
from vidmem.models.preset import LanguageConfig
from vidmem.types import View

_FRAMES_AT_ONCE = 16
_PREFILL_TOKENS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ContextFrame:
    """One frame before the model: its time as people read it, and its tokens (P, D)."""

    time_label: str
    tokens: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Frames in temporal order that a question is asked about."""

    frames: Sequence[ContextFrame]


class VideoLanguageModel:
    """A `LlavaOnevisionForConditionalGeneration` with its tokenizer, used in two halves.

    `encode_frames` is what ingest needs: tokens of each frame on its own, after projector and pooling. `stream` puts
    kept tokens back between text and generates. In between, tokens may have been on disk for a year.
    """

    def __init__(
        self, model: Any, tokenizer: Any, video_processor: Any, *, name: str, revision: str, config: LanguageConfig
    ) -> None:
        self.name, self.revision, self.config = name, revision, config
        self._model = model.eval().requires_grad_(False)
        self._tokenizer, self._chat = tokenizer, Chat(tokenizer)
        vision, text = model.config.vision_config, model.config.get_text_config()
        side = -(-(vision.image_size // vision.patch_size) // 2)
        self.tokens_per_frame = side * side
        self.token_dim = int(text.hidden_size)
        self.view = View(vision.image_size, vision.image_size)
        limit = int(text.max_position_embeddings)
        self.max_context_tokens = min(limit, config.max_context_tokens or limit)
        self._embed = model.get_input_embeddings()
        weight = self._embed.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._video_processor = video_processor
        self._mean = torch.tensor(video_processor.image_mean, device=weight.device).view(1, 3, 1, 1)
        self._std = torch.tensor(video_processor.image_std, device=weight.device).view(1, 3, 1, 1)
        self._end_ids = _end_ids(model, tokenizer)

    @classmethod
    def load(
        cls,
        config: LanguageConfig,
        *,
        base: Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VideoLanguageModel:
        """Load from a folder or from the local cache of the hub.

        Raises:
            MissingModel: files are not there, or are of another kind of model.
            ModelMismatch: they are of another revision.
        """
        from transformers import AutoTokenizer, AutoVideoProcessor, LlavaOnevisionForConditionalGeneration

        folder = find_model(config.model, LANGUAGE_FILES, revision=config.revision, base=base)
        _check_architecture(folder.path)
        try:
            with _no_bars():
                model = LlavaOnevisionForConditionalGeneration.from_pretrained(
                    folder.path, dtype=dtype, local_files_only=True
                )
            tokenizer = AutoTokenizer.from_pretrained(folder.path, local_files_only=True)
            video_processor = AutoVideoProcessor.from_pretrained(folder.path, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise MissingModel(
                f"the video-LLM in {folder.path} can't be loaded ({reason}): put complete files there."
            ) from error
        model.to(torch.device(device))  # type: ignore[arg-type]  # transformers' wrapper loses the signature
        return cls(model, tokenizer, video_processor, name=config.model, revision=folder.revision, config=config)

    def encode_frames(self, images: np.ndarray | Tensor) -> Tensor:
        """Tokens of uint8 RGB images (F, H, W, 3) of `view`'s size: (F, P, D), on the model's device and in its dtype.

        A frame's tokens do not depend on the frames beside it. They are what transformers' `get_video_features` gives,
        but for the newline that it puts behind the last frame.
        """
        pixels = torch.as_tensor(images).to(self._device)
        side = self.view.width
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (side, side, 3):
            raise ValueError(f"frames must be (F, {side}, {side}, 3), got {tuple(pixels.shape)}")
        parts = [self._encode(part) for part in pixels.split(_FRAMES_AT_ONCE)] if len(pixels) else []
        empty = torch.empty(0, self.tokens_per_frame, self.token_dim, device=self._device, dtype=self._dtype)
        return torch.cat(parts) if parts else empty

    @torch.no_grad()
    def _encode(self, pixels: Tensor) -> Tensor:
        normal = (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std
        features = self._model.get_video_features(normal.to(self._dtype)[None]).pooler_output
        return features[0, :-1].view(len(pixels), self.tokens_per_frame, self.token_dim)

    def family(self) -> Family:
        """The model as KV memory runs it. Raises BadInput if it can't."""
        kind = family_of(self._model)
        return kind(
            self._model,
            self._tokenizer,
            self._video_processor,
            time_marks=self.config.time_marks,
            closing=self.config.image_newline,
        )

    @property
    def opening_ids(self) -> list[int]:
        """Token ids of a prompt before its first frame."""
        return self._chat.ids("").opening

    def mark_ids(self, time_label: str) -> Sequence[int]:
        """Token ids that mark a frame's time; none if the model is shown no times."""
        return self._chat.mark_ids(time_label) if self.config.time_marks else ()

    def frame_cost(self, time_label: str) -> int:
        """Tokens that one frame takes in a context, with its time mark."""
        return self.tokens_per_frame + len(self.mark_ids(time_label))

    def prompt_cost(self, question: str) -> int:
        """Tokens that a context takes beside its frames: the question, and the chat around it."""
        ids = self._chat.ids(question)
        return len(ids.opening) + len(ids.closing) + int(self.config.image_newline)

    def stream(self, context: Context, question: str, *, max_new_tokens: int | None = None) -> Iterator[str]:
        """Answer a question about frames, piece by piece as the text comes, greedily.

        Closing the generator stops the work. Each piece is computed when it is asked for, in the caller's thread.

        Raises:
            BadInput: the context is longer than the model takes.
        """
        embeds = self.assemble(context, question)
        return self._generate(embeds, max_new_tokens or self.config.max_new_tokens)

    @torch.no_grad()
    def assemble(self, context: Context, question: str) -> Tensor:
        """Input embeddings (1, T, D) of a prompt: text embeddings, and the frames' tokens where they belong.

        Raises:
            BadInput: T is more than `max_context_tokens`.
        """
        ids = self._chat.ids(question)
        cost = self.prompt_cost(question) + sum(self.frame_cost(frame.time_label) for frame in context.frames)
        if cost > self.max_context_tokens:
            raise BadInput(
                f"{len(context.frames)} frames and the question make {cost} tokens and the model takes "
                f"{self.max_context_tokens}: lower `context_tokens` in the preset, or shorten the question."
            )
        parts = [self._text(ids.opening)]
        for frame in context.frames:
            if mark := self.mark_ids(frame.time_label):
                parts.append(self._text(mark))
            parts.append(frame.tokens.to(self._device, self._dtype))
        if self.config.image_newline and context.frames:
            parts.append(self._model.model.image_newline[None].to(self._dtype))
        parts.append(self._text(ids.closing))
        return torch.cat(parts)[None]

    def _text(self, ids: Sequence[int]) -> Tensor:
        return self._embed(torch.tensor(ids, dtype=torch.long, device=self._device))

    def _generate(self, embeds: Tensor, max_new_tokens: int) -> Iterator[str]:
        from transformers import DynamicCache

        # A loop of our own instead of `generate` in a thread with a streamer: it stops when the caller stops asking,
        # its errors come where they arise, and it makes no logits of the prompt (each as large as the vocabulary).
        cache = DynamicCache(config=self._model.config.get_text_config())
        decoder = StreamDecoder(self._tokenizer)
        token_id = self._prefill(embeds, cache)
        for _ in range(max_new_tokens):
            if token_id in self._end_ids:
                break
            if piece := decoder.add(token_id):
                yield piece
            token_id = self._advance(self._text([token_id])[None], cache)
        if piece := decoder.end():
            yield piece

    def _prefill(self, embeds: Tensor, cache: Any) -> int:
        token_id = -1
        for part in embeds.split(_PREFILL_TOKENS, dim=1):
            token_id = self._advance(part, cache)
        return token_id

    @torch.no_grad()
    def _advance(self, embeds: Tensor, cache: Any) -> int:
        """Run the text model over new embeddings (1, T, D), growing `cache`; returns the likeliest next id."""
        begin = cache.get_seq_length()
        positions = torch.arange(begin, begin + embeds.shape[1], device=self._device)[None]
        decoder = self._model.get_decoder()
        hidden = decoder(
            inputs_embeds=embeds, past_key_values=cache, position_ids=positions, use_cache=True
        ).last_hidden_state
        return int(self._model.lm_head(hidden[:, -1]).argmax(-1))


@contextmanager
def _no_bars() -> Iterator[None]:
    """Keep transformers from drawing a progress bar of its own between ours."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids that end an answer: what the checkpoint's generation settings say, and the tokenizer's end of sequence."""
    said = model.generation_config.eos_token_id
    ids = {tokenizer.eos_token_id, *(said if isinstance(said, list) else [said])}
    return frozenset(int(token_id) for token_id in ids if token_id is not None)


def _check_architecture(folder: Path) -> None:
    from transformers import AutoConfig

    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise MissingModel(
            f"{folder}/config.json is no model configuration ({reason}): put complete files there."
        ) from error
    if kind != "llava_onevision":
        raise MissingModel(f"{folder} holds a {kind} model: vidmem's video-LLM must be a llava_onevision checkpoint.")
