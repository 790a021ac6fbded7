"""One ingest in a process of its own, so that its peak memory is its own: `python -m vidmem.bench.once VIDEO STORE`."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from vidmem.errors import VidmemError


def main(video: Path, store: Path, preset: str) -> None:
    """Ingest, and print one JSON object: seconds of the steps and the peak resident size in bytes."""
    import vidmem

    with vidmem.open(store, preset=preset) as memory:
        report = memory.ingest(video)
    shares = {name: getattr(report, f"{name}_seconds") for name in ("decode", "encode", "memory", "store")}
    json.dump({"peak_bytes": peak_bytes(), "speed": report.speed, "seconds": shares}, sys.stdout)


def peak_bytes() -> int:
    """The largest resident size of this process so far."""
    # Linux hands a parent's ru_maxrss on to a child, even over exec, so there the kernel's own high-water mark is read.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except VidmemError as error:
        sys.exit(str(error))
