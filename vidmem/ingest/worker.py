"""A process of ours that decodes, and can be killed: JSON lines go in, JSON lines with arrays come out."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

Message = tuple[dict[str, Any], tuple[np.ndarray, ...]]


class WorkerEnded(Exception):
    """The process is gone, or was killed, or closed its pipes."""


class Worker:
    """`python -m MODULE` and its pipes. A full pipe stops the process, so that it never runs far ahead.

    What it prints to stderr is thrown away. Nothing of what is sent shows in the list of processes.
    """

    def __init__(self, module: str) -> None:
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        # A plain subprocess: multiprocessing would run the user's main module again in the child.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        self._buffer = bytearray()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: dict[str, Any]) -> None:
        """Raises WorkerEnded."""
        pipe = cast(BinaryIO, self._process.stdin)
        try:
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()
        except (BrokenPipeError, ValueError) as error:
            raise WorkerEnded from error

    def receive(self, seconds: float) -> Message | None:
        """The next message, or None if it has not come whole within so many seconds. Raises WorkerEnded."""
        deadline = time.monotonic() + seconds
        while (at := self._buffer.find(b"\n")) < 0:
            if not self._read_some(deadline):
                return None
        header = json.loads(self._buffer[:at])
        sizes = [int(np.prod(shape)) for shape in header["shapes"]]
        while len(self._buffer) < at + 1 + sum(sizes):
            if not self._read_some(deadline):
                return None
        arrays = []
        begin = at + 1
        for shape, size in zip(header["shapes"], sizes, strict=True):
            # A slice is a copy of its own already, and writable.
            arrays.append(np.frombuffer(self._buffer[begin : begin + size], dtype=np.uint8).reshape(shape))
            begin += size
        del self._buffer[:begin]
        return header, tuple(arrays)

    def _read_some(self, deadline: float) -> bool:
        pipe = cast(BinaryIO, self._process.stdout)
        try:
            # Not select.select, which knows no descriptor above 1023.
            if not wait([pipe.fileno()], max(0.0, deadline - time.monotonic())):
                return False
            data = os.read(pipe.fileno(), 1 << 20)
        except (OSError, ValueError) as error:
            raise WorkerEnded from error
        if not data:
            raise WorkerEnded
        self._buffer += data
        return True

    def stop(self) -> None:
        """Kill the process now; whoever waits in `receive` sees WorkerEnded. For any thread, `kill` must follow."""
        self._process.kill()

    def kill(self) -> None:
        """End the process now and wait until it is gone. May be called again."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def write_message(pipe: BinaryIO, header: dict[str, Any], arrays: tuple[np.ndarray, ...] = ()) -> None:
    """In the process: one JSON line with the arrays' shapes, then their bytes, uint8."""
    line = {**header, "shapes": [array.shape for array in arrays]}
    pipe.write(json.dumps(line).encode() + b"\n")
    for array in arrays:
        pipe.write(np.ascontiguousarray(array).data)
    pipe.flush()
