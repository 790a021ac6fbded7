"""Every error that a user can mend. Each carries one sentence that names the input and the cure.

`exit_code` is what the command line ends with (DESIGN: 1 failed, 2 bad input or usage, 3 a source can't be
reached, 4 configuration or missing model, 5 not found).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class VidmemError(Exception):
    """Base of all errors that vidmem raises on purpose."""

    exit_code: ClassVar[int] = 1


class BadInput(VidmemError):
    """An argument or input that can't be used as it is."""

    exit_code = 2


class NotFound(VidmemError):
    """A file, store, video or id that does not exist."""

    exit_code = 5


class FramesGone(NotFound):
    """Frames that a reader knew of have left the store since: what it wants is to be looked up anew."""


class NoVideoStream(BadInput):
    """The file is a media file, but holds no moving pictures."""


class UnsupportedCodec(BadInput):
    """The pictures are coded in a way that no decoder here reads."""


class CorruptMedia(BadInput):
    """The file is damaged. `decoded_until` is the end in seconds of what could be read, 0.0 if nothing could."""

    def __init__(self, message: str, *, decoded_until: float = 0.0) -> None:
        super().__init__(message)
        self.decoded_until = decoded_until


class SourceLost(VidmemError):
    """A source does not answer, or no more."""

    exit_code = 3


class StoreLocked(VidmemError):
    """Another process writes to the store."""

    exit_code = 3


class StoreCorrupt(VidmemError):
    """The store on disk contradicts itself and can't be mended without its user."""


class BlocksLost(StoreCorrupt):
    """Some KV blocks of a video are damaged or gone; all others can be read.

    `block_ids` are theirs, `spans` the half-open stretches of time in seconds that they covered.
    """

    def __init__(self, message: str, *, block_ids: Sequence[int], spans: Sequence[tuple[float, float]]) -> None:
        super().__init__(message)
        self.block_ids = tuple(block_ids)
        self.spans = tuple(spans)


class StoreVersion(VidmemError):
    """The store was written in a format newer than this program reads."""

    exit_code = 4


class ModelMismatch(VidmemError):
    """The store was made with another model, revision or preset than the one asked for."""

    exit_code = 4


class MissingModel(VidmemError):
    """A model's files are not where the preset says."""

    exit_code = 4


class StorageFull(VidmemError):
    """The disk is full, or the folder can't be written."""
