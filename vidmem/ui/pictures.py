"""Pictures as parts of the page are told of them: by short paths within one folder."""

from __future__ import annotations

import os
from collections.abc import Iterable


def common_folder(paths: Iterable[str | None]) -> str:
    """What all paths begin with, up to a slash, so that it is told once; those that are None or "" do not count."""
    shared = os.path.commonprefix([path for path in paths if path])
    return shared[: shared.rfind("/") + 1]
