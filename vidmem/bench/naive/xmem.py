"""XMem's memory of one object, transcribed from its specification."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class NaiveXMem:
    """Keys (C, N) and values (D, N) of one object's tokens, joined anew with every write and every read."""

    def __init__(self, *, top_k: int, max_frames: int, min_frames: int, num_prototypes: int, max_elements: int) -> None:
        self.top_k, self.max_frames, self.min_frames = top_k, max_frames, min_frames
        self.num_prototypes, self.max_elements = num_prototypes, max_elements
        self.working: dict[str, Tensor] = {}
        self.long_term: dict[str, Tensor] = {}

    def read(self, query: Tensor, selection: Tensor) -> Tensor:
        """Values (D, Q) for queries (C, Q)."""
        stores = [store for store in (self.long_term, self.working) if store]
        key, shrinkage, value = (
            torch.cat([store[name] for store in stores], dim=1) for name in ("key", "shrinkage", "value")
        )
        similarity = self._similarity(key, shrinkage, query, selection)
        values, index = similarity.topk(min(self.top_k, len(similarity)), dim=0)
        share = values.exp()
        share = share / share.sum(0, keepdim=True)
        affinity = torch.zeros_like(similarity).scatter_(0, index, share)
        usage = affinity.sum(1)
        for store, part in zip(stores, usage.split([store["use"].shape[0] for store in stores]), strict=True):
            store["use"] = store["use"] + part
            store["life"] = store["life"] + 1
        return value @ affinity

    def write(self, key: Tensor, shrinkage: Tensor, selection: Tensor, value: Tensor) -> None:
        """One frame: keys (C, HW), shrinkage (1, HW), selection (C, HW), values (D, HW)."""
        new = {"key": key, "shrinkage": shrinkage, "selection": selection, "value": value}
        new |= {"use": torch.zeros(key.shape[1]), "life": torch.full((key.shape[1],), 1e-7)}
        self.working = (
            {name: torch.cat([self.working[name], rows], -1) for name, rows in new.items()} if self.working else new
        )
        if self.working["key"].shape[1] >= self.max_frames * key.shape[1]:
            self._consolidate(key.shape[1])

    def _consolidate(self, frame: int) -> None:
        num = self.working["key"].shape[1]
        last = num - (self.min_frames - 1) * frame
        if self.long_term and self.long_term["key"].shape[1] > self.max_elements - self.num_prototypes:
            self._evict()
        of = {name: rows[..., frame:last] for name, rows in self.working.items()}
        frequency = of["use"] / of["life"]
        chosen = frequency.sort(descending=True, stable=True).indices[: self.num_prototypes]
        similarity = self._similarity(of["key"], of["shrinkage"], of["key"][:, chosen], of["selection"][:, chosen])
        affinity = (similarity - similarity.max(0, keepdim=True).values).exp()
        affinity = affinity / affinity.sum(0, keepdim=True)
        new = {"key": of["key"][:, chosen], "shrinkage": of["shrinkage"] @ affinity, "value": of["value"] @ affinity}
        new |= {"use": torch.zeros(len(chosen)), "life": torch.full((len(chosen),), 1e-7)}
        self.working = {
            name: torch.cat([rows[..., :frame], rows[..., last:]], -1) for name, rows in self.working.items()
        }
        self.long_term = (
            {name: torch.cat([self.long_term[name], rows], -1) for name, rows in new.items()} if self.long_term else new
        )

    def _evict(self) -> None:
        frequency = self.long_term["use"] / self.long_term["life"]
        num_gone = len(frequency) - (self.max_elements - self.num_prototypes)
        survived = frequency > frequency.sort().values[num_gone - 1]
        self.long_term = {name: rows[..., survived] for name, rows in self.long_term.items()}

    @staticmethod
    def _similarity(key: Tensor, shrinkage: Tensor, query: Tensor, selection: Tensor) -> Tensor:
        a = key.square().T @ selection
        b = 2 * (key.T @ (query * selection))
        c = (selection * query.square()).sum(0, keepdim=True)
        return (-a + b - c) * shrinkage.T / math.sqrt(len(key))
