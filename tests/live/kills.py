"""Kills a camera and brings it back, at random moments: `python tests/live/kills.py --kills 20` prints what came of it.

The test of losses runs the same with fewer kills.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from vidmem.bench.live_camera import Camera, held, workers
from vidmem.ingest.live import Gap, LiveConfig, LiveFrame, LiveSource, open_live
from vidmem.world.counted import FPS, VIEW, counted_video, number_of


@dataclass(frozen=True, slots=True)
class Outage:
    """One kill, in seconds."""

    found_after: float
    """From the server's return to the arrival of the first picture."""
    start_off: float
    """The gap's beginning less the moment of the kill."""
    end_off: float
    """The gap's end less the moment at which its first picture was taken."""
    stream_off: float
    """The gap's length on the timeline less its length by the wall clock."""
    missing: int
    """Pictures of the connection before that should have come and did not."""
    late: int
    """Pictures so far that were passed over, as their times did not rise."""
    decode_errors: int
    held: dict[str, int]
    """Threads, files and processes after it."""
    worker_mb: float


def frames_until(source: LiveSource, count: int) -> tuple[list[LiveFrame], list[Gap]]:
    """So many frames, and the gaps before and between."""
    frames: list[LiveFrame] = []
    gaps: list[Gap] = []
    for item in source:
        if isinstance(item, Gap):
            gaps.append(item)
        else:
            frames.append(item)
            if len(frames) == count:
                break
    return frames, gaps


def trial(camera: Camera, *, kills: int, seed: int) -> list[Outage]:
    """Watch a camera that is killed again and again, each time after 1 to 3 s and for up to 6 s."""
    chance = random.Random(seed)
    outages = []
    # `block`: how fast this program takes the frames is not what is tried.
    with open_live(camera.url, views=[VIEW], config=LiveConfig(policy="block")) as source:
        frames, _ = frames_until(source, 5)
        for _ in range(kills):
            frames += frames_until(source, chance.randint(FPS, 3 * FPS))[0]
            time.sleep(chance.random() / FPS)
            killed = _monotonic_to_wall(time.monotonic())
            camera.kill()
            time.sleep(chance.uniform(0.1, 6.0))
            camera.start()
            after, gap = _first_after(source, frames)
            first = _monotonic_to_wall(camera.taken(number_of(after.views[0])))
            numbers = [number_of(frame.views[0]) for frame in frames]
            outages.append(
                Outage(
                    after.arrived - camera.started,
                    gap.wall_start - killed,
                    gap.wall_end - first,
                    (gap.end - gap.start) - (gap.wall_end - gap.wall_start),
                    sum((second - one) % (60 * FPS) - 1 for one, second in zip(numbers, numbers[1:], strict=False)),
                    source.health().late,
                    source.health().decode_errors,
                    held(),
                    _resident_mb(workers()[0]),
                )
            )
            frames = [after]
    return outages


def _first_after(source: LiveSource, frames: list[LiveFrame]) -> tuple[LiveFrame, Gap]:
    """The frame that ends an outage, and the outage; frames that were still on their way are put to `frames`."""
    gap = None
    for item in source:
        if isinstance(item, Gap):
            gap = item
        elif gap is None:
            frames.append(item)
        else:
            return item, gap
    raise AssertionError("the stream ended")


def _monotonic_to_wall(seconds: float) -> float:
    return seconds + time.time() - time.monotonic()


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = counted_video(Path(folder) / "counted.mp4", seconds=60)
        with Camera(video) as camera:
            outages = trial(camera, kills=given.kills, seed=given.seed)
    for outage in outages:
        print(json.dumps(asdict(outage)))
    return int(
        any(outage.found_after > 5 or abs(outage.start_off) > 1 or abs(outage.end_off) > 1 for outage in outages)
    )


if __name__ == "__main__":
    sys.exit(main())
