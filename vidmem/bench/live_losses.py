"""A camera that is killed at random moments and comes back: when it is found again, what its absence is remembered as,
and what watching it leaves behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import vidmem
from vidmem.bench.live_camera import Camera, held
from vidmem.bench.live_onlooker import Found, Onlooker
from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.index import Store
from vidmem.pipelines.watching import Watch, WatchState
from vidmem.types import Gap

_SAMPLED_FPS = 5.0
_ALIVE_SECONDS = (1.0, 3.0)
_AWAY_SECONDS = (0.1, 6.0)
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Loss:
    """One kill, as it was."""

    killed: float
    """Seconds since 1970."""
    back: float
    """When the camera took its picture 0 again; seconds since 1970."""
    found_after: float
    """Seconds from then until the watch had a picture."""
    held: dict[str, int]
    """Threads, files and processes after it."""


def live_losses_figures(
    folder: Path, video: Path, seed: int, *, fps: int, kills: int, preset: str, say: Say
) -> dict[str, Figure]:
    """Kill a camera of counted video, which has `fps` frames a second, so many times while it is watched."""
    path = folder / "a.vidmem"
    with Camera(video, fps=fps) as camera, vidmem.open(path, preset=preset) as memory:
        with memory.watch(camera.url, fps=_SAMPLED_FPS) as watch, Onlooker(path) as onlooker:
            losses = _trial(camera, watch, onlooker, random.Random(seed), kills, say)
            found = onlooker.found()
    gaps = _gaps(path)
    offs = [_offs(loss, gap, found, fps) for loss, gap in zip(losses, gaps, strict=False)]
    leaks = {name: losses[-1].held[name] - count for name, count in losses[0].held.items()}
    return {
        "live_reconnect": at_most(max(loss.found_after for loss in losses), f"s at worst of {kills} kills", 5.0),
        "live_gaps_missing": at_most(abs(kills - len(gaps)), f"of {kills} gaps", 0),
        "live_gap_begin": at_most(max((abs(begin) for begin, _ in offs), default=0.0), "s off at worst", 1.0),
        "live_gap_end": at_most(max((abs(end) for _, end in offs), default=0.0), "s off at worst", 1.0),
        "live_leaked": at_most(max(0, *leaks.values()), f"more of one of: {', '.join(leaks)}; since the first kill", 0),
        "live_lost_frames": beside(len(found), "frames in memory"),
    }


def _trial(camera: Camera, watch: Watch, onlooker: Onlooker, chance: random.Random, kills: int, say: Say) -> list[Loss]:
    losses = []
    for number in range(1, kills + 1):
        onlooker.wait(len(onlooker) + 1)
        losses.append(_kill(camera, watch, chance))
        say(f"live: kill {number} of {kills}, found after {losses[-1].found_after:.1f} s")
        onlooker.wait(watch.state().taken)  # what is taken after a gap is in memory with it
    return losses


def _kill(camera: Camera, watch: Watch, chance: random.Random) -> Loss:
    """Kill a camera, start it again, and wait until its absence is over for the watch."""
    time.sleep(chance.uniform(*_ALIVE_SECONDS))
    before, killed = watch.state(), time.time()
    camera.kill()
    time.sleep(chance.uniform(*_AWAY_SECONDS))
    camera.start()
    found = _await(watch, lambda state: state.source.reconnects > before.source.reconnects)
    loss = Loss(killed, _wall(camera.started), found - camera.started, held())
    _await(watch, lambda state: state.gaps > before.gaps)
    return loss


def _await(watch: Watch, is_so: Callable[[WatchState], bool]) -> float:
    """When it first was so, in monotonic seconds; a minute from now if it never is."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not is_so(watch.state()) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return time.monotonic()


def _gaps(path: Path) -> tuple[Gap, ...]:
    """Those that the store's only stream has in its catalogue."""
    with Store.open(path, Store.peek(path).identity, create=False, read_only=True) as store:
        clock = store.stream_clock(store.videos()[0].video_id)
    assert clock is not None, "a stream was watched"
    return clock.gaps


def _offs(loss: Loss, gap: Gap, found: list[Found], fps: int) -> tuple[float, float]:
    """How far a gap's begin and end are from the truth, in seconds.

    It ends with the first picture in memory after it; when that was taken, its number says.
    """
    first = next(one for one in found if one.pts_seconds >= gap.end - 1e-6)
    return gap.wall_start - loss.killed, gap.wall_end - (loss.back + first.number / fps)


def _wall(monotonic: float) -> float:
    return monotonic + time.time() - time.monotonic()
