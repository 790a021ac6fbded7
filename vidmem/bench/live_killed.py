"""`vidmem watch`, killed in the middle of whatever it does: the store must open again, with all that was committed."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import vidmem
from vidmem.bench.live_onlooker import Onlooker
from vidmem.bench.report import Figure, Say, at_most, beside
from vidmem.errors import VidmemError
from vidmem.pipelines import open_store

_LONGEST_SECONDS = 2.0
"""Of watching after the first clip, before the blow."""
_PATIENCE_SECONDS = 600.0


def live_killed_figures(
    folder: Path, video: Path, seed: int, *, kills: int, preset: str, say: Say
) -> dict[str, Figure]:
    """Watch a video, round and round, so many times, each time until it is killed, all into one store."""
    path, chance = folder / "a.vidmem", random.Random(seed)
    vidmem.open(path, preset=preset).close()
    unopened, lost, clips = [], 0, 0
    for number in range(kills):
        seen = _watch_and_kill(path, video, preset, chance, clips)
        say(f"live: kill -9, {number + 1} of {kills}: {seen - clips} clips")
        try:
            with open_store(path, read_only=False) as memory:
                problems = memory.verify()
                clips = sum(stored.num_clips for stored in memory.videos())
        except VidmemError as error:
            problems = [str(error)]
        unopened += problems[:1]
        lost += max(0, seen - clips)
    why = f"; first: {unopened[0]}" if unopened else ""
    return {
        "live_kill_unsound": at_most(len(unopened), f"of {kills} times the store was not sound{why}", 0),
        "live_kill_lost_clips": at_most(lost, f"committed clips, of {clips}", 0),
        "live_kill_clips": beside(clips / kills, "clips were committed between two kills"),
    }


def _watch_and_kill(path: Path, video: Path, preset: str, chance: random.Random, clips: int) -> int:
    """How many clips another process found committed before the blow, of all. `clips` were there before."""
    command = [sys.executable, "-m", "vidmem.cli", "watch", str(video), "--store", str(path), "--preset", preset]
    with Onlooker(path) as onlooker:
        with subprocess.Popen(
            [*command, "--fps", "4", "--loop", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while onlooker.num_clips <= clips and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, _LONGEST_SECONDS))
            seen = onlooker.num_clips
            process.kill()
            errors = process.stderr.read() if process.stderr is not None else ""
        if seen <= clips:
            raise RuntimeError(f"vidmem watch committed nothing in {_PATIENCE_SECONDS:.0f} s: {errors[-500:]}")
    return seen
