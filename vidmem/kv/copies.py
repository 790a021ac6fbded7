"""Copies between host and accelerator that run beside the computing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def lift(numbers: Tensor, device: torch.device | str) -> Tensor:
    """A tensor in host memory brought to a device, without waiting for what the device still has to do.

    A copy out of memory that is not page-locked would wait. Page-locked memory is kept for later by torch, and not
    given away before the copy out of it is done.
    """
    device = torch.device(device)
    if device.type == "cuda" and not numbers.is_cuda:
        # Of an expanded tensor (stride 0) there is no page-locked copy as it is.
        return numbers.contiguous().pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


class Copies:
    """A CUDA stream for copies; on any other device copies are made where they are asked for."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Within, copies (`non_blocking`) and allocations belong to the stream of copies, in the order asked for."""
        if self._stream is None:
            yield
        else:
            with torch.cuda.stream(self._stream):
                yield

    def follow_compute(self, read: Iterable[Tensor] = ()) -> None:
        """Let later copies wait for what the caller's stream was given until now.

        The tensors `read` are what these copies will read: their memory is not given away before that.
        """
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
            for tensor in read:
                if tensor.is_cuda:
                    tensor.record_stream(self._stream)

    def mark(self) -> Callable[[], None]:
        """A call that returns once all copies asked for until now are done."""
        if self._stream is None:
            return lambda: None
        event = torch.cuda.Event(blocking=True)
        event.record(self._stream)
        return event.synchronize
