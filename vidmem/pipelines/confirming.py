"""What both models say of a thing on a clip: how alike frames are to its name, and whether it was there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vidmem.models.encoder import FrameEncoder
from vidmem.models.labels import Vocabulary
from vidmem.models.language import Context, ContextFrame, VideoLanguageModel
from vidmem.models.preset import Preset
from vidmem.pipelines.sight import Look

_CLEARLY = 0.1
"""Of the floor: a rival must be so much more alike to a frame for it to be what the frame shows."""
_ANSWER_TOKENS = 8
_YES = re.compile(r"\W*(?:yes|yeah|there (?:is|are|was|were)(?! no\b))\b", re.I)
_NO = re.compile(r"\W*(?:no|not|none|nothing|never|there (?:is|are|was|were) no(?:t|ne|thing)?)\b", re.I)


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A thing as the encoder knows it by its name. Both are float32 of unit length."""

    embedding: np.ndarray
    """(C,)"""
    rivals: np.ndarray
    """(n, C), of things that it may be mistaken for."""
    floor: float

    def look(self, starts: np.ndarray, ends: np.ndarray, vectors: np.ndarray) -> Look:
        """How alike frames are, of which `vectors` are the embeddings (F, C).

        A frame may show the thing if it is as alike as any search asks for, and no rival is clearly more alike.
        """
        scores = vectors @ self.embedding
        likes = scores >= self.floor
        if len(self.rivals):
            likes &= (vectors @ self.rivals.T).max(axis=1) <= scores + _CLEARLY * abs(self.floor)
        return Look(starts, ends, scores, likes, self.floor)


class Queries:
    """Makes queries of names. Rivals come from the preset's own vocabulary.

    The general vocabulary gives none: it has kinds of one thing beside the thing, such as a puppy beside a dog.
    """

    def __init__(self, encoder: FrameEncoder, preset: Preset) -> None:
        self._encoder, self._floor = encoder, preset.encoder.relevance_floor
        has_own = bool(preset.tracker.vocabulary)
        self._words = Vocabulary.read(preset.vocabulary, encoder, floor=self._floor) if has_own else None

    def of(self, phrase: str) -> Query:
        embedding = self._encoder.encode_text([phrase])[0]
        rivals = self._words.rivals_of(phrase, embedding) if self._words is not None else embedding[None][:0]
        return Query(embedding.cpu().numpy(), rivals.cpu().numpy(), self._floor)


def is_there(language: VideoLanguageModel, phrase: str, seconds: Sequence[float], tokens: Tensor) -> bool | None:
    """Ask the video-LLM whether a thing is on some frames; None if its answer is neither yes nor no.

    Args:
        seconds: of each frame, counted from anywhere.
        tokens: (F, P, D) of the frames, on any device.
    """
    question = f"Was there {phrase}?"
    frames = [ContextFrame(language.label(time), row) for time, row in zip(seconds, tokens, strict=True)]
    room = language.room(question)
    while len(frames) > 1 and sum(language.frame_cost(frame.time_label) for frame in frames) > room:
        frames.pop()
    with torch.no_grad():
        return says_yes("".join(_begun(language.stream(Context(frames), question, max_new_tokens=_ANSWER_TOKENS))))


def says_yes(answer: str) -> bool | None:
    """What an answer to a question of yes or no begins with; None if with neither."""
    if _NO.match(answer):
        return False
    return True if _YES.match(answer) else None


def _begun(pieces: Iterator[str]) -> Iterator[str]:
    """An answer up to where a word behind its first one ends: no more of it is read."""
    text = ""
    with ExitStack() as stack:
        if (close := getattr(pieces, "close", None)) is not None:
            stack.callback(close)
        for piece in pieces:
            yield piece
            text += piece
            if re.match(r"\W*(?:yes|no)\b\W", text, re.I):
                return
