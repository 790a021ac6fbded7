"""Compiling by numba, kept for later processes where it can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(signature: str, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Compile a function now, or load what an earlier process compiled from its file. It runs without Python's lock."""

    def of(function: Callable[..., None]) -> Callable[..., None]:
        try:
            return njit(signature, nogil=True, cache=True, **options)(function)
        except Exception:
            # The cache can't be written, neither beside the file nor in the user's home, or what it holds is damaged.
            return njit(signature, nogil=True, **options)(function)

    return of
