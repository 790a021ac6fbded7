"""XMem's memory of image tokens: one key per token shared by all objects, one value per token and object.

Source: XMem (Cheng and Schwing, ECCV 2022, arXiv 2207.07115), sections 3.2 and 3.3, and its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vidmem.memory.buffer import RowBuffer
from vidmem.memory.elements import NEVER_READ_LIFE
from vidmem.memory.policies.xmem import above_threshold, most_used
from vidmem.memory.similarity import affinity, anisotropic_similarity, readout


@dataclass(frozen=True, slots=True)
class TokenMemoryConfig:
    """Bounds of a token memory. Names in brackets are the reference's."""

    top_k: int = 30
    """Tokens that share one query's affinity; more than there are means all."""
    max_frames: int = 10
    """Working memory is consolidated once it holds this many frames (T_max)."""
    min_frames: int = 5
    """Frames that stay then: the first of all and the newest others (T_min)."""
    num_prototypes: int = 128
    """Prototypes made in one consolidation, or all candidates if they are fewer (P)."""
    max_elements: int = 10_000
    """Bound on long-term tokens (LT_max)."""
    late_groups: Literal["aligned", "reference"] = "aligned"
    """How values of objects that joined late find their keys: each its own, or, as coded in the reference, always the
    last keys there are. The latter reads some values against keys of other frames and loses others."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_frames < self.max_frames:
            raise ValueError(f"min_frames={self.min_frames} must be in [1, {self.max_frames}), below max_frames")
        if not 1 <= self.num_prototypes <= self.max_elements:
            raise ValueError(f"num_prototypes={self.num_prototypes} must be in [1, {self.max_elements}], max_elements")


@dataclass(frozen=True, slots=True, eq=False)
class Consolidation:
    """What one consolidation did."""

    candidate_frequency: Tensor
    """(candidates,) usage per life of the tokens that left working memory."""
    prototype_index: Tensor
    """(P,) which candidates became prototypes, in the order they are stored: most used first."""
    num_evicted: int
    """Long-term tokens that were forgotten to make room."""


class _Group:
    """Values of the objects that joined on one frame, and which key each value belongs to (`column`)."""

    def __init__(self, value: Tensor, max_working: int, max_long_term: int) -> None:
        self.num_objects = value.shape[1]
        like = {"value": value, "column": torch.empty(0, dtype=torch.int64, device=value.device)}
        self.working = RowBuffer(like, max_rows=max_working)
        self.long_term = RowBuffer(like, max_rows=max_long_term)


class TokenMemory:
    """Working and long-term memory for the objects of one video.

    Tensors are token-major: keys (N, C), values (N, objects, D). Objects that are new in a write form a group.
    """

    def __init__(self, config: TokenMemoryConfig | None = None) -> None:
        self.config = config or TokenMemoryConfig()
        self.working: RowBuffer | None = None
        self.long_term: RowBuffer | None = None
        self.groups: list[_Group] = []

    def write(self, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> Consolidation | None:
        """Add one frame's tokens to working memory, and consolidate if it is full.

        Args:
            key: (HW, C). shrinkage: (HW,). selection: (HW, C), for the frame's turn as a prototype.
            value: (HW, objects, D): all known objects in their order, then new ones. No object may be left out.

        Raises:
            ValueError: there are fewer objects than before.
        """
        num_known = sum(group.num_objects for group in self.groups)
        if value.shape[1] < num_known:
            raise ValueError(f"values for {value.shape[1]} objects given, but {num_known} are known")
        counters = torch.zeros(len(key), dtype=torch.float32, device=key.device)
        rows = {"key": key, "shrinkage": shrinkage, "use": counters, "life": counters + NEVER_READ_LIFE}
        max_working = self.config.max_frames * len(key)
        if self.working is None or self.long_term is None:
            self.working = RowBuffer({**rows, "selection": selection}, max_rows=max_working)
            self.long_term = RowBuffer(rows, max_rows=self.config.max_elements)
        if value.shape[1] > num_known:
            self.groups.append(_Group(value[:, num_known:], max_working, self.config.max_elements))
        column = torch.arange(len(self.working), len(self.working) + len(key), device=key.device)
        self.working.append({**rows, "selection": selection})
        for group, part in zip(self.groups, value.split([g.num_objects for g in self.groups], dim=1), strict=True):
            group.working.append({"value": part, "column": column})
        done = None
        if len(self.working) >= max_working:
            done = self._consolidate(self.working, self.long_term, len(key))
        if self.config.late_groups == "reference":
            self._align_to_last(self.working, self.long_term)
        return done

    def read(self, query: Tensor, selection: Tensor | None = None) -> Tensor:
        """Read values (objects, D, Q) for queries (Q, C), and count usage by the first group's affinity.

        Raises:
            ValueError: nothing was written yet.
        """
        working, long_term = self.working, self.long_term
        if working is None or long_term is None:
            raise ValueError("this memory is empty: write a frame before reading")
        similarity = torch.cat(
            [
                anisotropic_similarity(part["key"], query, shrinkage=part["shrinkage"], selection=selection)
                for part in (long_term, working)
            ]
        )
        values = []
        for group in self.groups:
            column = torch.cat([group.long_term["column"], group.working["column"] + len(long_term)])
            is_first = group is self.groups[0]
            weight = affinity(similarity if is_first else similarity[column], top_k=self.config.top_k)
            of_long_term, of_working = weight.split([len(group.long_term), len(group.working)])
            value = readout(of_long_term, group.long_term["value"].flatten(1))
            value = value + readout(of_working, group.working["value"].flatten(1))
            values.append(value.unflatten(1, (group.num_objects, -1)).permute(1, 2, 0))
            if is_first:
                for part, received in ((long_term, of_long_term), (working, of_working)):
                    part["use"].add_(received.sum(dim=1))
                    part["life"].add_(1)
        return torch.cat(values)

    def _consolidate(self, working: RowBuffer, long_term: RowBuffer, num_frame_tokens: int) -> Consolidation:
        num_evicted = self._evict(long_term)
        first, last = num_frame_tokens, len(working) - (self.config.min_frames - 1) * num_frame_tokens
        key, shrinkage = working["key"][first:last], working["shrinkage"][first:last]
        frequency = working["use"][first:last] / working["life"][first:last]
        chosen = most_used(frequency, min(self.config.num_prototypes, last - first))
        # Potentiation: every candidate gives to the prototypes near it, so no top-k here.
        similarity = anisotropic_similarity(
            key, key[chosen], shrinkage=shrinkage, selection=working["selection"][first:last][chosen]
        )
        for group in self.groups:
            self._consolidate_group(group, similarity, chosen, range(first, last), len(long_term))
        unread = torch.zeros(len(chosen), dtype=torch.float32, device=key.device)
        long_term.append(
            {
                "key": key[chosen],
                "shrinkage": affinity(similarity).mT @ shrinkage,
                "use": unread,
                "life": unread + NEVER_READ_LIFE,
            }
        )
        done = Consolidation(frequency.clone(), chosen, num_evicted)
        column = torch.arange(len(working), device=key.device)
        working.keep(column[(column < first) | (column >= last)])
        return done

    def _consolidate_group(
        self, group: _Group, similarity: Tensor, chosen: Tensor, candidates: range, num_long_term: int
    ) -> None:
        """Give a group's candidates (working columns `candidates`) to the prototypes that it has, and drop them."""
        column = group.working["column"]
        place = torch.arange(len(column), device=column.device)
        leaves = (column >= candidates.start) & (column < candidates.stop)
        gives = leaves
        if self.config.late_groups == "reference" and group is not self.groups[0]:
            leaves, gives = self._leaving_as_coded(place, candidates)
            column = place + candidates.stop - len(place) + (self.config.min_frames - 1) * candidates.start
        candidate_index = column[gives] - candidates.start
        has_prototype = torch.isin(chosen, candidate_index)
        weight = affinity(similarity[candidate_index][:, has_prototype])
        if bool(has_prototype.any()):
            value = readout(weight, group.working["value"][gives].flatten(1))
            prototype_column = has_prototype.nonzero().squeeze(1) + num_long_term
            group.long_term.append({"value": value.unflatten(1, (group.num_objects, -1)), "column": prototype_column})
        group.working.keep(place[~leaves])
        column = group.working["column"]
        column[column >= candidates.stop] -= len(candidates)

    def _leaving_as_coded(self, place: Tensor, candidates: range) -> tuple[Tensor, Tensor]:
        """Which of a late group's values leave working memory and which give to prototypes, as in the reference.

        It counts frames of the group's own values: the first and the newest others stay, whatever their keys do. One
        frame of values more than stay is dropped without giving.
        """
        num_frame_tokens, num_values = candidates.start, len(place)
        num_kept = self.config.min_frames * num_frame_tokens
        middle = (place >= num_frame_tokens) & (place < num_values - num_kept + num_frame_tokens)
        num_working = candidates.stop + num_kept - num_frame_tokens
        gives = num_values > num_kept + num_frame_tokens or num_values == num_working
        leaves = num_values >= num_kept + num_frame_tokens
        return middle & leaves, middle & gives

    def _evict(self, long_term: RowBuffer) -> int:
        """Forget what is read least, if the next prototypes may not fit. Returns the number of tokens forgotten."""
        num_before = len(long_term)
        kept = above_threshold(
            long_term["use"] / long_term["life"], self.config.max_elements - self.config.num_prototypes
        )
        if len(kept) == num_before:
            return 0
        stays = torch.zeros(num_before, dtype=torch.bool, device=kept.device)
        stays[kept] = True
        new_column = stays.cumsum(0) - 1
        for group in self.groups:
            column = group.long_term["column"]
            group.long_term.keep(stays[column].nonzero().squeeze(1))
            group.long_term["column"].copy_(new_column[group.long_term["column"]])
        long_term.keep(kept)
        return num_before - len(kept)

    def _align_to_last(self, working: RowBuffer, long_term: RowBuffer) -> None:
        for group in self.groups:
            for keys, values in ((working, group.working), (long_term, group.long_term)):
                column = values["column"]
                column.copy_(torch.arange(len(keys) - len(values), len(keys), device=column.device))
