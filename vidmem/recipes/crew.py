"""Several processes that learn one model together: each from examples of its own, with the mean of all gradients.

A process outside a crew is a crew of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, multiprocessing


def each_of_crew(size: int, meeting: Path, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(*arguments)` in `size` processes at once, which share the cores, and wait for all.

    Args:
        meeting: a file that isn't there yet, by which they find each other.

    Raises:
        ProcessRaisedException: one of them failed; the others were stopped.
    """
    if size == 1:
        work(*arguments)
        return
    meeting.unlink(missing_ok=True)
    multiprocessing.spawn(_join, (size, meeting, work, arguments), nprocs=size)


def _join(rank: int, size: int, meeting: Path, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // size))
    distributed.init_process_group("gloo", init_method=meeting.resolve().as_uri(), rank=rank, world_size=size)
    try:
        work(*arguments)
    finally:
        distributed.destroy_process_group()


def place() -> tuple[int, int]:
    """Which of its crew this process is, from 0, and how many they are."""
    return (distributed.get_rank(), distributed.get_world_size()) if distributed.is_initialized() else (0, 1)


@torch.no_grad()
def average(loss: Tensor, parameters: Iterable[Tensor]) -> float:
    """Give parameters the mean gradient of the whole crew, and return the mean loss."""
    if not distributed.is_initialized():
        return loss.item()
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    own = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in learning]
    mean = _summed(torch.cat([loss.detach().reshape(1), *(grad.flatten() for grad in own)])) / place()[1]
    for parameter, part in zip(learning, mean[1:].split([grad.numel() for grad in own]), strict=True):
        parameter.grad = part.view_as(parameter).clone()
    return mean[0].item()


@torch.no_grad()
def same_in_all(parameters: Iterable[Tensor]) -> None:
    """Give parameters the values that the first of the crew has."""
    if distributed.is_initialized():
        for parameter in parameters:
            distributed.broadcast(parameter, src=0)


def _summed(tensor: Tensor) -> Tensor:
    there = tensor.cpu()
    distributed.all_reduce(there)
    return there.to(tensor.device)
