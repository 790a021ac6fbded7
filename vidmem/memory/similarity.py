"""Similarity, affinity and readout: how a query meets memory. Pure functions.

One layout throughout: N memory entries are rows, Q queries are columns, so similarity and affinity are (N, Q). All
functions take leading batch axes too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def anisotropic_similarity(
    key: Tensor, query: Tensor, *, shrinkage: Tensor | None = None, selection: Tensor | None = None
) -> Tensor:
    """Negative squared distance of keys and queries, weighted per channel and per key.

    `S_ij = -s_i / sqrt(C) * sum_c e_jc (k_ic - q_jc)^2`, by expansion, so that no (N, Q, C) tensor is made.

    Args:
        key: (..., N, C).
        query: (..., Q, C).
        shrinkage: (..., N), at least 1 in XMem: how sharply a key tells near from far; None counts as 1.
        selection: (..., Q, C) in (0, 1): which channels matter to a query. None drops the query's own square, a
            term that softmax over N cancels where shrinkage is the same for all keys, and only there.

    Returns:
        (..., N, Q); larger is more alike.

    Source: XMem (Cheng and Schwing, ECCV 2022), section 3.2.
    """
    if selection is None:
        similarity = 2 * key @ query.mT - key.square().sum(-1, keepdim=True)
    else:
        weighted = query * selection
        similarity = 2 * key @ weighted.mT - key.square() @ selection.mT
        similarity = similarity - (weighted * query).sum(-1).unsqueeze(-2)
    if shrinkage is not None:
        similarity = similarity * shrinkage.unsqueeze(-1)
    return similarity / math.sqrt(key.shape[-1])


def cosine_similarity(key: Tensor, query: Tensor) -> Tensor:
    """Cosine of every key (..., N, C) with every query (..., Q, C): (..., N, Q) in [-1, 1]."""
    return functional.normalize(key, dim=-1) @ functional.normalize(query, dim=-1).mT


def affinity(similarity: Tensor, *, top_k: int | None = None) -> Tensor:
    """Softmax over the N rows of (..., N, Q): each column sums to 1.

    With `top_k` only the k most alike entries of a column share it and the rest get exactly 0; k above N means all.
    A column that is -inf throughout (a query with nothing to read) gets all zeros.

    XMem does not subtract the maximum before its top-k softmax, so that similarities below about -103 give NaN
    there; we do, with equal results elsewhere.
    """
    num_entries = similarity.shape[-2]
    if num_entries == 0:
        return torch.zeros_like(similarity)
    if top_k is not None and top_k < num_entries:
        kept, kept_index = similarity.topk(top_k, dim=-2)
        return torch.zeros_like(similarity).scatter(-2, kept_index, _softmax(kept))
    return _softmax(similarity)


def _softmax(similarity: Tensor) -> Tensor:
    unreadable = similarity.amax(-2, keepdim=True) == -torch.inf
    return similarity.softmax(-2).masked_fill(unreadable, 0.0)


def readout(affinity: Tensor, value: Tensor) -> Tensor:
    """Affinity-weighted mean of values: (..., N, Q) and (..., N, D) give (..., Q, D)."""
    return affinity.mT @ value


def frame_readout(affinity: Tensor, value: Tensor) -> Tensor:
    """Affinity-weighted mean of frames: (N, Q) and (N, P, D) give (Q, P, D) in float32.

    Reads only frames that got any affinity, so that after top-k most of a large memory is never touched.
    """
    read_index = (affinity != 0).any(dim=1).nonzero().squeeze(1)
    rows = value[read_index].to(torch.float32).flatten(1)
    return readout(affinity[read_index].to(torch.float32), rows).unflatten(1, value.shape[1:])
