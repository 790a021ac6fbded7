"""Device and dtype out of what a preset says."""

from __future__ import annotations

import re

import torch

from vidmem.errors import BadInput


def pick_device(name: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU. Raises BadInput for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise BadInput(f"{name!r} is no device: use auto, cpu, cuda or cuda:1 and the like.")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadInput(f'the preset asks for {name}, which is not here: use device = "auto" or "cpu".')
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU and float32 on a CPU."""
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
