"""Where a recipe runs: on a GPU if there is one."""

from __future__ import annotations

import torch

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half() -> torch.autocast:
    """Matrices are multiplied in bfloat16."""
    return torch.autocast(DEVICE.type, torch.bfloat16)
