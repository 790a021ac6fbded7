"""The process that reads a stream: `python -m vidmem.ingest.live.worker`, fed and read by `receiver.py` through pipes.

In a process of its own, because nothing else can end a look-up of a name, a device or a codec that hangs, nor survive
a codec that crashes; and because what decodes here takes no turn of the interpreter that watches. It is asked for one
connection after the other: a line with what to open, then messages until `lost` or `ended`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, BinaryIO

import numpy as np

from vidmem.ingest.live.decoding import Connection
from vidmem.ingest.live.opening import Lost, Target
from vidmem.ingest.live.timeline import Timeline
from vidmem.ingest.worker import write_message
from vidmem.types import View


def _connect(request: dict[str, Any], replies: BinaryIO) -> None:
    def tell(header: dict[str, Any], arrays: tuple[np.ndarray, ...]) -> None:
        write_message(replies, header, arrays)

    try:
        Connection(
            Target(**request["target"]),
            Timeline(**request["timeline"]),
            due=request["due"],
            fps=request["fps"],
            views=[View(*view) for view in request["views"]],
            tell=tell,
        ).run()
    except Lost as lost:
        write_message(replies, {"kind": "lost", "why": lost.why, "cameras": lost.cameras})
    else:
        write_message(replies, {"kind": "ended"})


def main() -> None:
    # Ctrl-C reaches every process of the terminal; when to stop is for the parent to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever FFmpeg prints must not get among the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        write_message(replies, {"kind": "ready"})
        for line in sys.stdin.buffer:
            _connect(json.loads(line), replies)
    except BrokenPipeError:
        pass
    # Threads of a codec may hang at exit.
    os._exit(0)


if __name__ == "__main__":
    main()
