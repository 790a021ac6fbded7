"""Which known object something looks like: XMem's readout over the looks of tracked objects.

Each look is an element: an appearance's embedding as key, the object that it shows as value. A query reads all looks by
affinity, so its readout is how much of it each object explains. What an object keeps of its looks follows XMem too: the
first and the newest, as in working memory, and of the others those that were read most.

Source: XMem (Cheng and Schwing, ECCV 2022, arXiv 2207.07115), sections 3.2 and 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from vidmem.memory.elements import NEVER_READ_LIFE
from vidmem.memory.policies.xmem import most_frequent
from vidmem.memory.similarity import affinity, anisotropic_similarity, cosine_similarity, readout


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """N looks of objects in time order, on one device."""

    key: Tensor
    """(N, C) float32, of length 1."""
    object_index: Tensor
    """(N,) int64: the object that each shows, from 0."""
    usage: Tensor
    """(N,) float32: affinity received in all reads."""
    life: Tensor
    """(N,) float32: queries that could have read it."""

    def __len__(self) -> int:
        return len(self.key)

    def __getitem__(self, index: Tensor) -> Looks:
        return Looks(self.key[index], self.object_index[index], self.usage[index], self.life[index])


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """What Q queries look like among K objects."""

    share: Tensor
    """(Q, K) affinity with each object's looks; sums to 1, to 0 where there are no looks at all. It tells known objects
    from each other, not known ones from new ones: for that there is `nearest`."""
    nearest: Tensor
    """(Q, K) cosine with the object's look that is most alike, -1 if it has none."""
    usage: Tensor
    """(N,) affinity that each look gave."""


@dataclass(frozen=True, slots=True, eq=False)
class Returns:
    """Which lost objects newly found things are."""

    objects: list[int | None]
    """Of each thing; None for one that is new."""
    looks: Looks
    """All looks, with what this read of them."""


def no_looks(num_channels: int, *, device: torch.device | None = None) -> Looks:
    """Nothing known yet."""
    nothing = torch.zeros(0, device=device)
    return Looks(torch.zeros(0, num_channels, device=device), nothing.long(), nothing, nothing)


def recognise(
    looks: Looks, query: Tensor, num_objects: int, *, top_k: int = 30, logit_scale: float = 100.0
) -> Recognition:
    """Read all looks with embeddings (Q, C) of any length. Nothing is changed; `counted` adds the usage.

    Args:
        num_objects: K, above every index in `looks`.
        top_k: looks that share one query's affinity.
        logit_scale: factor on cosines in the softmax, 100 as CLIP is trained.
    """
    query = functional.normalize(query.float(), dim=-1)
    # Keys and queries have length 1, so that this is the scaled cosine but for a term that is the same for all.
    similarity = anisotropic_similarity(looks.key, query) * (logit_scale * math.sqrt(query.shape[-1]) / 2)
    weight = affinity(similarity, top_k=top_k)
    shows = functional.one_hot(looks.object_index, num_objects).float()
    cosine = cosine_similarity(looks.key, query)
    nearest = torch.full((num_objects, len(query)), -1.0, device=query.device)
    nearest.scatter_reduce_(0, looks.object_index[:, None].expand_as(cosine), cosine, "amax")
    return Recognition(readout(weight, shows), nearest.mT, weight.sum(-1))


def returned(
    looks: Looks, query: Tensor, lost: Sequence[int], *, min_cosine: float = 0.8, min_share: float = 0.5
) -> Returns:
    """Which lost object each of Q newly found things is. No object returns as two things.

    Only the looks of lost objects are read: what is followed elsewhere on the frame can't be what was found, however
    alike. Doubles that are lost at the same time can't be told apart by their looks.

    Args:
        looks: of any objects.
        query: (Q, C) embeddings of any length.
        lost: objects that it may be.
        min_cosine: with the nearest look of the object. Below this it is another thing: of the sample world's, seen 2 s
            later or more, 94 % are above it by the embedded encoder, and of pairs of different things 1.2 %.
        min_share: of the affinity with all lost objects, which the object's own looks must have: more than all others
            together.
    """
    found: list[int | None] = [None] * len(query)
    if not lost or not found:
        return Returns(found, looks)
    known = torch.tensor(lost, device=looks.key.device)
    readable = torch.isin(looks.object_index, known)
    read = recognise(looks[readable], query, int(known.max()) + 1)
    likely = (read.nearest >= min_cosine) & (read.share >= min_share)
    pairs = likely.nonzero()
    order = read.nearest[likely].argsort(descending=True, stable=True)
    for thing, known_object in pairs[order].tolist():
        if found[thing] is None and known_object not in found:
            found[thing] = known_object
    return Returns(found, counted(looks, readable, read))


def counted(looks: Looks, readable: Tensor, recognition: Recognition) -> Looks:
    """N looks after a read of those that are `readable` (N,) bool: what they gave counts as usage."""
    usage = looks.usage.index_put((readable,), recognition.usage, accumulate=True)
    return replace(looks, usage=usage, life=looks.life + len(recognition.share) * readable)


def remember(looks: Looks, key: Tensor, object_index: Tensor, *, max_looks: int = 16, num_newest: int = 4) -> Looks:
    """Add looks (M, C) of objects (M,). An object keeps its first, its `num_newest` newest, and the most read others.

    Args:
        max_looks: an object's looks in all, above `num_newest`.

    Raises:
        ValueError: `max_looks` is not above `num_newest`.
    """
    if not 0 < num_newest < max_looks:
        raise ValueError(f"{max_looks=} must be above {num_newest=}, which must be above 0")
    unread = torch.zeros(len(key), device=looks.key.device)
    grown = Looks(
        torch.cat([looks.key, functional.normalize(key.float(), dim=-1)]),
        torch.cat([looks.object_index, object_index]),
        torch.cat([looks.usage, unread]),
        torch.cat([looks.life, unread + NEVER_READ_LIFE]),
    )
    stays = torch.ones(len(grown), dtype=torch.bool, device=looks.key.device)
    for index in object_index.unique().tolist():
        own = (grown.object_index == index).nonzero().squeeze(1)
        if len(own) > max_looks:
            others = own[1:-num_newest]
            frequency = grown.usage[others] / grown.life[others]
            stays[others] = False
            stays[others[most_frequent(frequency, max_looks - num_newest - 1)]] = True
    return grown[stays]
