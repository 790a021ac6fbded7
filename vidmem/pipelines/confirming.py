"""What both models say of a thing on a clip, in nats: how alike frames are to its name, and whether it was there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vidmem.models.encoder import FrameEncoder
from vidmem.models.labels import Vocabulary
from vidmem.models.language import Context, ContextFrame, VideoLanguageModel
from vidmem.models.preset import Preset
from vidmem.pipelines.sight import Look

_CLEARLY = 0.5
"""Nats: a rival must be so much more alike to a frame for that to speak against the thing."""


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A thing as the encoder knows it by its name. Both are float32 of unit length."""

    embedding: np.ndarray
    """(C,)"""
    rivals: np.ndarray
    """(n, C), of things that it may be mistaken for."""
    floor: float
    """Cosine below which no search finds a frame."""
    scale: float
    """Nats of a cosine of 1 (`FrameEncoder.scale`)."""

    def look(self, starts: np.ndarray, ends: np.ndarray, vectors: np.ndarray) -> Look:
        """What frames say for the thing, of which `vectors` are the embeddings (F, C).

        It is above 0 where a frame is as alike as any search asks for, and no rival is clearly more alike.
        """
        scores = vectors @ self.embedding
        bar = np.full_like(scores, self.floor)
        if len(self.rivals):
            bar = np.maximum(bar, (vectors @ self.rivals.T).max(axis=1) - _CLEARLY / self.scale)
        return Look(starts, ends, scores, self.scale * (scores - bar))


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
        return Query(embedding.cpu().numpy(), rivals.cpu().numpy(), self._floor, self._encoder.scale)


def leaning(language: VideoLanguageModel, phrase: str, seconds: Sequence[float], tokens: Tensor) -> float:
    """What the video-LLM says for a thing being on some frames, in nats: above 0 it says yes.

    Args:
        seconds: of each frame, counted from anywhere.
        tokens: (F, P, D) of the frames, on any device.
    """
    question = f"Was there {phrase}?"
    frames = [ContextFrame(language.label(time), row) for time, row in zip(seconds, tokens, strict=True)]
    room = language.room(question)
    while len(frames) > 1 and sum(language.frame_cost(frame.time_label) for frame in frames) > room:
        frames.pop()
    return language.leaning(Context(frames), question)
