"""The video-LLM: a checkpoint of any family that has an adapter, fed with frames that were encoded before."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidmem.errors import BadInput, MissingModel
from vidmem.kv.tokens import Tokens, join
from vidmem.models.chat import Chat, StreamDecoder
from vidmem.models.families.family import Family
from vidmem.models.families.registry import family_of
from vidmem.models.folders import LANGUAGE_FILES, find_model
from vidmem.models.preset import LanguageConfig
from vidmem.types import Span, View

_PREFILL_TOKENS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class ContextFrame:
    """One frame before the model: its time as the model reads it (`Family.label`), and its tokens (P, D)."""

    time_label: str
    tokens: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Frames in temporal order that a question is asked about."""

    frames: Sequence[ContextFrame]


class VideoLanguageModel:
    """A video-LLM of transformers with its family's adapter, used in two halves.

    `encode_frames` is what ingest needs: tokens of each frame on its own, as the text model takes them. `stream` puts
    kept tokens back between text and generates. In between, tokens may have been on disk for a year.
    """

    def __init__(self, family: Family, *, name: str, revision: str, config: LanguageConfig) -> None:
        self.name, self.revision, self.config, self.family = name, revision, config, family
        self._chat = Chat(family.tokenizer)
        self._after = family.after_frames()
        self.tokens_per_frame, self.token_dim = family.tokens_per_picture, family.token_dim
        self.view = family.view
        limit = int(family.decoder.config.max_position_embeddings)
        self.max_context_tokens = min(limit, config.max_context_tokens or limit)
        self.end_ids = _end_ids(family.model, family.tokenizer)
        """Ids of tokens that end an answer."""

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
            MissingModel: files are not there, or are of a kind of model that vidmem has no adapter for.
            ModelMismatch: they are of another revision.
            BadInput: the model can't see pictures of the size that `config` asks for, or can't be shown video.
        """
        folder = find_model(config.model, LANGUAGE_FILES, revision=config.revision, base=base)
        kind = family_of(_model_type(folder.path), folder.path)
        model, tokenizer, video_processor = _load(folder.path, dtype)
        model.to(torch.device(device))
        family = kind(
            model.eval().requires_grad_(False),
            tokenizer,
            video_processor,
            view=View(config.side, config.side) if config.side else None,
            time_marks=config.time_marks,
            closing=config.image_newline,
        )
        return cls(family, name=config.model, revision=folder.revision, config=config)

    def encode_frames(self, images: np.ndarray | Tensor) -> Tensor:
        """Tokens of uint8 RGB images (F, H, W, 3) of `view`'s size: (F, P, D), on the model's device and in its dtype.

        A frame's tokens do not depend on the frames beside it (`Family.encode`).
        """
        return self.family.encode(torch.as_tensor(images))

    @property
    def opening_ids(self) -> list[int]:
        """Token ids of a prompt before its first frame."""
        return self._chat.ids("").opening

    def label(self, seconds: float, *, hours: bool = False) -> str:
        """A time as it stands before a frame, in the family's own form; `hours` for a video that has some."""
        return self.family.label(seconds, hours=hours)

    def frame_cost(self, time_label: str) -> int:
        """Tokens that one frame takes in a context, with its time mark."""
        return self.tokens_per_frame + sum(map(len, self.family.ids_around(time_label)))

    def prompt_cost(self, question: str) -> int:
        """Tokens that a context takes beside its frames: the question, and the chat around it."""
        ids = self._chat.ids(question)
        return len(ids.opening) + len(ids.closing) + (len(self._after) if self._after else 0)

    def room(self, question: str) -> int:
        """Tokens that are left for frames beside a question and its answer. Raises BadInput if there are none."""
        taken = self.prompt_cost(question) + self.config.max_new_tokens
        if taken > self.max_context_tokens:
            raise BadInput(
                f"the question and its answer make up to {taken} tokens and the model takes "
                f"{self.max_context_tokens}: shorten the question."
            )
        return self.max_context_tokens - taken

    def stream(self, context: Context, question: str, *, max_new_tokens: int | None = None) -> Iterator[str]:
        """Answer a question about frames, piece by piece as the text comes, greedily.

        Closing the generator stops the work. Each piece is computed when it is asked for, in the caller's thread.

        Raises:
            BadInput: the context is longer than the model takes.
        """
        prompt = self.assemble(context, question)
        return self._generate(prompt, max_new_tokens or self.config.max_new_tokens)

    def leaning(self, context: Context, question: str) -> float:
        """How much likelier an answer is to begin with "yes" than with "no", in nats. Raises as `stream`."""
        logits = self._read(self.assemble(context, question), self._new_cache()).float()
        yes, no = _first_ids(self.family.tokenizer, "yes"), _first_ids(self.family.tokenizer, "no")
        return float(logits[sorted(yes - no)].logsumexp(0) - logits[sorted(no - yes)].logsumexp(0))

    def assemble(self, context: Context, question: str) -> Tokens:
        """The T tokens of a prompt: text, and the frames' tokens where they belong, at positions from 0.

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
        family, parts = self.family, [self.family.text(ids.opening)]
        for frame in context.frames:
            parts.append(family.frame(frame.time_label, frame.tokens, Span(0.0, 0.0)).tokens)
        if self._after and context.frames:
            parts.append(self._after)
        return join([*parts, family.text(ids.closing)])

    def _generate(self, prompt: Tokens, max_new_tokens: int) -> Iterator[str]:
        # A loop of our own instead of `generate` in a thread with a streamer: it stops when the caller stops asking,
        # its errors come where they arise, and it makes no logits of the prompt (each as large as the vocabulary).
        cache = self._new_cache()
        decoder = StreamDecoder(self.family.tokenizer)
        token_id = int(self._read(prompt, cache).argmax())
        # Positions of pictures on several axes count fewer than there are tokens.
        start = int(prompt.positions.max()) + 1
        for position in range(start, start + max_new_tokens):
            if token_id in self.end_ids:
                break
            if piece := decoder.add(token_id):
                yield piece
            token_id = int(self._advance(self.family.text([token_id]), position, cache).argmax())
        if piece := decoder.end():
            yield piece

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.family.decoder.config)

    def _read(self, prompt: Tokens, cache: Any) -> Tensor:
        """Run the text model over a prompt. The logits (V,) of what comes behind it."""
        *parts, last = prompt.split(_PREFILL_TOKENS)
        for part in parts:
            self._advance(part, 0, cache)
        return self._advance(last, 0, cache)

    @torch.no_grad()
    def _advance(self, tokens: Tokens, start: int, cache: Any) -> Tensor:
        """Run the text model over new tokens whose positions count from `start`, growing `cache`.

        Returns the logits (V,) of the next id.
        """
        family = self.family
        hidden = family.decoder(
            inputs_embeds=tokens.embeds[None],
            past_key_values=cache,
            position_ids=family.position_ids(tokens.positions + start),
            use_cache=True,
            **family.visual(tokens),
        ).last_hidden_state
        return family.logits(hidden[:, -1])[0]


def _load(folder: Path, dtype: torch.dtype) -> tuple[Any, Any, Any]:
    """A checkpoint's model, tokenizer and video processor. Raises MissingModel."""
    from transformers import AutoModelForImageTextToText, AutoTokenizer, AutoVideoProcessor

    try:
        with _no_bars():
            model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise MissingModel(
            f"the video-LLM in {folder} can't be loaded ({_reason(error)}): put complete files there."
        ) from error
    try:
        video_processor = AutoVideoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingModel(
            f"the model in {folder} has no video processor ({_reason(error)}): use a checkpoint with video support, "
            "with its video_preprocessor_config.json."
        ) from error
    _find_template(tokenizer, folder)
    return model, tokenizer, video_processor


def _find_template(tokenizer: Any, folder: Path) -> None:
    """Older checkpoints have their chat template in a file that belongs to the processor."""
    beside = folder / "chat_template.json"
    if not tokenizer.chat_template and beside.is_file():
        tokenizer.chat_template = json.loads(beside.read_text(encoding="utf-8"))["chat_template"]
    if not tokenizer.chat_template:
        raise MissingModel(
            f"the model in {folder} has no chat template, so that it can't be asked: put its chat_template.jinja there."
        )


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


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


def _first_ids(tokenizer: Any, word: str) -> set[int]:
    """Ids with which an answer begins that begins with a word."""
    forms = (word, word.capitalize(), f" {word}", f" {word.capitalize()}")
    return {int(tokenizer(form, add_special_tokens=False)["input_ids"][0]) for form in forms}


def _model_type(folder: Path) -> str:
    """What kind of model a folder's configuration says it is. Raises MissingModel if it says nothing."""
    path = folder / "config.json"
    try:
        # Not by AutoConfig, which knows no kind that is newer than it, and of those our sentence says more.
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingModel(f"{path} is no model configuration ({_reason(error)}): put complete files there.") from error
    kind = table.get("model_type") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        raise MissingModel(f"{path} is no model configuration (no `model_type`): put complete files there.")
    return kind
