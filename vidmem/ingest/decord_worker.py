"""The process in which decord runs: `python -m vidmem.ingest.decord_worker`, fed and read by `decord.py` through pipes.

decord can hang for ever, so it must be killable, and it must not be forked. It is only ever asked for dense runs of
frames from the first one on: whenever it skips, it returns wrong frames without an error on many files.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO

import numpy as np

from vidmem.ingest.picture import ViewMaker
from vidmem.ingest.worker import write_message
from vidmem.types import View

_BATCH_BYTES = 32 << 20
_MAX_BATCH = 32


def _serve(requests: BinaryIO, replies: BinaryIO) -> None:
    request = json.loads(requests.readline())
    import decord

    reader = decord.VideoReader(request["path"], ctx=decord.cpu(0), num_threads=request["threads"])
    times = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0]
    write_message(replies, {"kind": "opened", "times": [float(time) for time in times]})
    job = json.loads(requests.readline())
    make_views = ViewMaker([View(*view) for view in job["views"]])
    aspect = Fraction(*job["pixel_aspect"]) if job["pixel_aspect"] else None
    wanted = set(job["wanted"])
    for index, picture in _dense(reader, job["until"], replies):
        if index == 0:
            # To be compared with PyAV's.
            write_message(replies, {"kind": "first"}, (picture,))
        if index in wanted:
            write_message(replies, {"kind": "frame", "index": index}, make_views.from_array(picture, aspect))
    write_message(replies, {"kind": "end"})


def _dense(reader: Any, until: int, replies: BinaryIO) -> Iterator[tuple[int, np.ndarray]]:
    at = 0
    step = 1
    while at < until:
        pictures = reader.get_batch(range(at, min(until, at + step))).asnumpy()
        write_message(replies, {"kind": "alive"})
        yield from enumerate(pictures, start=at)
        at += len(pictures)
        step = min(_MAX_BATCH, max(1, _BATCH_BYTES // pictures[0].nbytes))


def main() -> None:
    # Whatever decord prints must not get among the replies.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        _serve(sys.stdin.buffer, replies)
    except BrokenPipeError:
        os._exit(0)
    except Exception as error:  # told to the parent, which raises a typed one
        write_message(replies, {"kind": "failed", "why": f"{type(error).__name__}: {str(error)[:200]}"})
    # decord's own threads may hang at exit.
    os._exit(0)


if __name__ == "__main__":
    main()
