"""Objects that nobody points at: found on a frame, told from those that are followed, recognised, named."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vidmem.errors import BadInput
from vidmem.index.objects import Box
from vidmem.memory.tracking.boxes import box_iou
from vidmem.memory.tracking.novelty import unclaimed
from vidmem.memory.tracking.recognition import Looks, no_looks, remember, returned
from vidmem.models.encoder import FrameEncoder
from vidmem.models.labels import Vocabulary, crop_of
from vidmem.models.preset import EncoderConfig
from vidmem.models.tracker import ObjectResult, Proposal, ProposalConfig, Tracker
from vidmem.models.tracking.results import PixelBox

_SAME_BOX = 0.6
"""Overlap from which a proposal is the object that somebody has pointed at in an earlier pass."""


class Eye:
    """Makes pictures of objects into embeddings, and embeddings into names."""

    def __init__(self, encoder: FrameEncoder, vocabulary: Vocabulary, config: EncoderConfig) -> None:
        """`config` is what the encoder was loaded with."""
        self._encoder, self._vocabulary, self._config = encoder, vocabulary, config

    @property
    def dim(self) -> int:
        return self._encoder.dim

    def crop(self, picture: np.ndarray, box: PixelBox, mask: np.ndarray) -> np.ndarray:
        """An object as `embed` is to see it, out of a picture, uint8 RGB (H, W, 3), that box and mask are of."""
        margin, squashed = self._config.crop_margin, self._config.crop_squashed
        return crop_of(picture, box, self._encoder.view, mask=mask, margin=margin, squashed=squashed)

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Embed what `crop` made: (n, C) float32 of unit length."""
        if not crops:
            return np.empty((0, self.dim), dtype=np.float32)
        return self._encoder.encode_frames(np.stack(crops)).cpu().numpy()

    def label(self, appearance: np.ndarray) -> tuple[str, float]:
        """What looks like an embedding (C,), of any length, and how much; ("", 0.0) if nothing does."""
        label = self._vocabulary.label_of(torch.tensor(appearance).to(self._vocabulary.embeddings.device))
        return ("", 0.0) if label is None else (label.word, label.cosine)


@dataclass(frozen=True, slots=True)
class NoticeConfig:
    """How much is followed that nobody asked for. Raises BadInput on numbers that allow nothing."""

    max_followed: int = 8
    """Objects that are followed at once, seen or looked for."""
    max_new: int = 4
    """Objects that one look at a frame adds."""
    proposals: ProposalConfig = field(default_factory=ProposalConfig)

    def __post_init__(self) -> None:
        if min(self.max_followed, self.max_new) < 1:
            raise BadInput(
                f"no object can be found with max_followed = {self.max_followed} and max_new = {self.max_new}: give at"
                " least 1 of each."
            )


@dataclass(frozen=True, slots=True, eq=False)
class Noticed:
    """Something on the present frame that should be followed from here on."""

    mask: Tensor
    """Bool (H, W)."""
    embedding: np.ndarray
    number: int | None
    """The lost object that it looks like; None for a new one."""


class Noticer:
    """Looks at frames for objects that are not followed, within a budget, and knows those that were lost.

    It keeps some embeddings of how each object looked, so that it knows it after any time.
    """

    def __init__(
        self, eye: Eye, config: NoticeConfig | None = None, *, claims: Callable[[float], Sequence[Box]] | None = None
    ) -> None:
        """`claims` gives, for a time, the boxes of what others follow: what lies there is passed over."""
        self._eye, self._config, self._claims = eye, config or NoticeConfig(), claims
        self._looks: Looks = no_looks(eye.dim)
        self._numbers: list[int] = []
        """Of each object index in `_looks`."""

    def remember(self, number: int, embedding: np.ndarray) -> None:
        """Note how an object looks: (C,)."""
        if number not in self._numbers:
            self._numbers.append(number)
        index = torch.tensor([self._numbers.index(number)])
        self._looks = remember(self._looks, torch.tensor(embedding)[None], index)

    def forget(self, number: int) -> None:
        """Know an object no more."""
        if number not in self._numbers:
            return
        index = self._numbers.index(number)
        looks = self._looks[self._looks.object_index != index]
        self._looks = Looks(
            looks.key, looks.object_index - (looks.object_index > index).long(), looks.usage, looks.life
        )
        del self._numbers[index]

    def look(
        self,
        tracker: Tracker,
        seen: Sequence[ObjectResult],
        lost: Collection[int],
        picture: np.ndarray,
        seconds: float,
    ) -> list[Noticed]:
        """What should be followed of the tracker's present frame, the best first. The tracker is not changed.

        Args:
            seen: objects that are visible on it; what shows one of them is passed over.
            lost: numbers of objects that may have come back.
            picture: uint8 RGB (H, W, 3), the frame in the pixels of the tracker's boxes.
            seconds: the frame's time.
        """
        claimed = self._claims(seconds) if self._claims is not None else ()
        proposals = [
            proposal
            for proposal in tracker.propose(self._config.proposals)
            if not any(box_iou(_fractions(proposal.box, picture), box) >= _SAME_BOX for box in claimed)
        ]
        fresh = [proposals[index] for index in _new(proposals, seen)]
        embeddings = self._eye.embed([self._eye.crop(picture, one.box, one.mask.cpu().numpy()) for one in fresh])
        known = [index for index, number in enumerate(self._numbers) if number in lost]
        back = returned(self._looks, torch.from_numpy(embeddings), known)
        self._looks = back.looks
        num_followed, num_new = len(tracker.object_ids), 0
        noticed = []
        for proposal, embedding, place in zip(fresh, embeddings, back.objects, strict=True):
            number = None if place is None else self._numbers[place]
            joins = number not in tracker.object_ids
            if joins and num_followed >= self._config.max_followed:
                continue
            if number is None and num_new >= self._config.max_new:
                continue
            num_followed, num_new = num_followed + joins, num_new + (number is None)
            noticed.append(Noticed(proposal.mask, embedding, number))
        return noticed


def _new(proposals: Sequence[Proposal], seen: Sequence[ObjectResult]) -> list[int]:
    """Which proposals show nothing that is seen already, the best first."""
    if not proposals:
        return []
    masks = torch.stack([proposal.low_res_logits > 0 for proposal in proposals])
    scores = torch.tensor([proposal.score for proposal in proposals], device=masks.device)
    known = [found.low_res_logits > 0 for found in seen]
    return unclaimed(masks, scores, torch.stack(known) if known else masks[:0]).tolist()


def _fractions(box: PixelBox, picture: np.ndarray) -> Box:
    height, width = picture.shape[:2]
    return box[0] / width, box[1] / height, box[2] / width, box[3] / height
