"""A first look at many vectors, in 2 bits a number: which few thousand deserve a look in 16 bits.

A flat scan of 360,000 x 256 vectors in 16 bits takes 20 ms of one core. Turned by a random rotation, two numbers at a
time stand for one of 16 points, and products are looked up (FAISS's fast scan): 64 bytes a vector in place of 512,
which takes 2 ms, and looking at 8,192 of them in 16 bits takes 1.5. Scores are those of the flat scan. What is lost is
what the first look ranks behind 8,192 others: none of the 64 best in any trial (docs/decisions/0003-store.md).

Source: product quantisation (Jegou, Douze and Schmid, PAMI 2011), scanned as in Andre, Kermarrec and Le Scouarnec
(PVLDB 2015).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np

COARSE_FROM = 65_536
"""With fewer vectors, a flat scan takes no longer than 4 ms."""
NUM_CANDIDATES = 8192
"""Vectors that the first look brings forward."""
MOST_WANTED = 256
"""Where more are asked for, so few candidates are not surely enough."""
_LEARNT_FROM = 16_384
_SEED = 1


def learnt(vectors: np.ndarray) -> Any:
    """An index for the first look at vectors (n, C) float32 and those added later; it holds none yet.

    Its points are learnt from some of them. Later ones may be unlike these: of 6,000 scenes, points learnt from the
    first 270 lost nothing. In one thread, which takes 1 s of a core: two that share their cores with others wait for
    each other, 27 s where both cores were in use.
    """
    dim = vectors.shape[1]
    num_pairs = (dim + 1) // 2
    rotation = faiss.RandomRotationMatrix(dim, 2 * num_pairs)
    rotation.init(_SEED)
    codes = faiss.IndexPQFastScan(2 * num_pairs, num_pairs, 4, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexPreTransform(rotation, codes)
    places = np.linspace(0, len(vectors) - 1, min(_LEARNT_FROM, len(vectors))).astype(np.int64)
    with one_thread():
        index.train(vectors[places])
    return index


def fill(index: Any, vectors: np.ndarray) -> None:
    """Add vectors (n, C) float32. In one thread: others would each keep a buffer of its linear algebra for good, 36 MB
    for two."""
    with one_thread():
        index.add(vectors)


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS in the calling thread alone, without waiting for others."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # of the calling thread, and torch's too, which may share the library
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
