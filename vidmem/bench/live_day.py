"""A simulated day of a camera: whether memory stays flat, the disk grows as `vidmem info` says, and the first hour is
remembered as well as the last.

The watch runs in a process of its own, so that what it holds is its own: `python -m vidmem.bench.live_day VIDEO STORE
PRESET SPEED DAYS`, where DAYS is how long clips are kept, 0 for ever. It prints a line of JSON for each sample.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vidmem.bench.clips import unseen_seed
from vidmem.bench.live_camera import resident_bytes
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, unmeasured
from vidmem.errors import VidmemError
from vidmem.world.needle import NeedleScript, needle_questions
from vidmem.world.script import ScriptConfig, Stay
from vidmem.world.things import EMOJI
from vidmem.world.video import encode, frames

if TYPE_CHECKING:
    from vidmem.index import StoreState
    from vidmem.pipelines import VideoMemory

SPEED = 200.0
_SIZE = (320, 180)
"""Of the rendered video, at the one frame a second that is looked at: a day of it is 86,400 pictures to draw."""
_WARM = 0.25
"""Of the samples, those that come before memory and growth are looked at."""
_NEEDLES_AN_EDGE = 20
_SAMPLES = 200
_STRETCHES = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """A moment of a watch."""

    seconds: float
    """Of the stream that are committed."""
    rss_bytes: int
    """Of the watch and of the process that decodes for it."""
    disk_bytes: int
    """As `vidmem info` counts them."""
    bytes_an_hour: float
    """By which `vidmem info` says that the store grows."""
    num_files: int
    gaps: int


@dataclass(frozen=True, slots=True)
class Day:
    """What came of a watch."""

    samples: tuple[Sample, ...]
    wall_seconds: float
    first_hour: float | None
    """Share of things that were there once and whose time an answer cites; None if none was asked."""
    last_hour: float | None


def live_day_figures(
    folder: Path,
    seed: int = 0,
    *,
    hours: float = 24.0,
    speed: float = SPEED,
    keep_days: float = 0.0,
    preset: str = "tiny",
    say: Say = lambda line: None,
) -> dict[str, Figure]:
    """Watch a rendered world of so many hours at `speed` times its pace, and ask about its first and its last hour.

    A machine that can't follow takes longer: the stream waits, so that no frame is dropped.

    Args:
        keep_days: how long clips are kept; 0 keeps all. What has left is not asked about.
    """
    return day_figures(watch_day(folder, seed, hours=hours, speed=speed, keep_days=keep_days, preset=preset, say=say))


def day_figures(day: Day) -> dict[str, Figure]:
    """Against the targets of a live store."""
    warm = [sample for sample in day.samples if sample.seconds >= _WARM * day.samples[-1].seconds]
    hours = day.samples[-1].seconds / 3600
    begin, end = warm[0], warm[-1]
    foretold = begin.bytes_an_hour * (end.seconds - begin.seconds) / 3600
    grown = end.disk_bytes - begin.disk_bytes
    figures = {
        "live_day_rss_growth": at_most(_growth([one.rss_bytes for one in warm]), "share, after warm-up", 0.02),
        "live_day_disk_off_a_line": at_most(_off_a_line(warm), "share of the growth", 0.05),
        "live_day_disk_as_predicted": at_most(
            abs(grown / max(foretold, 1.0) - 1),
            f"share of the growth, foretold {(end.seconds - begin.seconds) / 3600:.3g} h",
            0.05,
        ),
        "live_day_hours": beside(hours, "h of stream"),
        "live_day_speed": beside(day.samples[-1].seconds / day.wall_seconds, "times its own pace"),
        "live_day_rss": beside(end.rss_bytes / 1e6, "MB"),
        "live_day_disk_an_hour": beside(begin.bytes_an_hour / 1e6, "MB"),
        "live_day_files_an_hour": beside((end.num_files - begin.num_files) * 3600 / (end.seconds - begin.seconds), ""),
        "live_day_gaps": at_most(float(end.gaps), "gaps", 0.0),
    }
    if day.first_hour is None or day.last_hour is None:
        return figures | {"live_day_first_hour": unmeasured("nothing was asked")}
    difference = round(day.first_hour - day.last_hour, 9)  # 0.85 - 0.9 is less than -0.05
    return figures | {
        "live_day_first_hour": beside(day.first_hour, "share of things found"),
        "live_day_last_hour": at_least(day.last_hour, "share of things found: with less there is no comparison", 0.5),
        "live_day_first_against_last": at_least(difference, "share of things found, first hour less last", -0.05),
    }


def watch_day(folder: Path, seed: int, *, hours: float, speed: float, keep_days: float, preset: str, say: Say) -> Day:
    """Render, watch in a process of its own, and ask. Raises VidmemError with what ended the watch."""
    duration = hours * 3600.0
    script = edge_script(unseen_seed(seed, 700_000), duration)
    video, store = folder / "day.mp4", folder / "day.vidmem"
    say(f"live day: rendering {hours:g} h")
    encode(video, frames(script, fps=1, size=_SIZE), fps=1, size=_SIZE, duration=duration)
    say(f"live day: watching {hours:g} h at up to {speed:g} times")
    begun = time.perf_counter()
    samples = _watched(video, store, preset, speed, keep_days)
    wall_seconds = time.perf_counter() - begun
    say("live day: asking")
    first, last = _asked(store, preset, script, keep_days)
    return Day(tuple(samples), wall_seconds, first, last)


def edge_script(seed: int, duration: float) -> NeedleScript:
    """A world with things that appear once, half of them in its first hour and half in its last (or in its halves)."""
    edge = min(3600.0, duration / 2)
    probe = NeedleScript(ScriptConfig(seed=seed, duration=duration), ())
    spans = [(index, probe.chapter_span(index)) for index in range(1, probe.num_chapters)]
    edges = [
        [index for index, span in spans if start <= span.start and span.end <= end]
        for start, end in ((0.0, edge), (duration - edge, duration))
    ]
    chance = random.Random(f"{seed}:edges")
    each = min(_NEEDLES_AN_EDGE, *map(len, edges))
    chapters = [index for inside in edges for index in chance.sample(inside, each)]
    script = NeedleScript(probe.config, chance.sample(list(EMOJI), len(chapters)))
    script.needle_chapters = dict(zip(chapters, script.needle_chapters.values(), strict=True))
    return script


def _watched(video: Path, store: Path, preset: str, speed: float, keep_days: float) -> list[Sample]:
    command = [
        sys.executable,
        "-m",
        "vidmem.bench.live_day",
        str(video),
        str(store),
        preset,
        str(speed),
        str(keep_days),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VidmemError(f"the watch of {video} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return [Sample(**json.loads(line)) for line in done.stdout.splitlines()]


def _asked(store: Path, preset: str, script: NeedleScript, keep_days: float) -> tuple[float | None, float | None]:
    """Share of the things of the first and of the last hour (of halves, where there are fewer than two) that are found.

    A thing is found if a stretch that is cited lies in its time: how well the model then says it is for other figures.
    """
    import vidmem

    edge = min(3600.0, script.duration / 2)
    until = keep_days * 86400.0 if keep_days else script.duration
    with vidmem.open(store, preset=preset, create=False, read_only=True) as memory:
        shares = []
        for start, end in ((0.0, edge), (script.duration - edge, script.duration)):
            stays = [stay for stay in script.needles() if start <= stay.span.start < end]
            is_kept = all(script.duration - stay.span.start < until for stay in stays)
            found = [_is_found(memory, stay) for stay in stays] if is_kept else []
            shares.append(sum(found) / len(found) if found else None)
    return shares[0], shares[1]


def _is_found(memory: VideoMemory, stay: Stay) -> bool:
    """Whether what is cited first lies in the thing's time."""
    question = next(question for question in needle_questions(stay) if question.kind == "when")
    evidence = memory.ask(question.text).evidence
    return any(hit.start < stay.span.end and stay.span.start < hit.end for hit in evidence[:1])


def _growth(values: Sequence[int]) -> float:
    """How far the highest of ten stretches, by their medians, lies above the first."""
    medians = [float(np.median(part)) for part in np.array_split(values, _STRETCHES) if len(part)]
    return max(medians) / medians[0] - 1


def _off_a_line(samples: Sequence[Sample]) -> float:
    """The largest distance from the straight line through all, over what was grown by."""
    seconds = np.array([sample.seconds for sample in samples])
    sizes = np.array([sample.disk_bytes for sample in samples], np.float64)
    grown = sizes[-1] - sizes[0]
    if len(samples) < 3 or grown <= 0:
        return 0.0
    return float(np.abs(np.polyval(np.polyfit(seconds, sizes, 1), seconds) - sizes).max() / grown)


def main(video: Path, store: Path, preset: str, speed: float, keep_days: float) -> None:
    """Watch to the end, and print a sample whenever another part of the video is committed."""
    import vidmem
    from vidmem.ingest import open_source

    with open_source(str(video)) as source:
        step = (source.info.duration_seconds or 3600.0) / _SAMPLES
    keep = vidmem.Retention(days=keep_days) if keep_days else None
    with vidmem.open(store, preset=preset) as memory:
        watch = memory.watch(str(video), fps=1.0, policy="block", speed=speed, keep=keep)
        due, is_over = step, False
        while not is_over:
            is_over = watch.wait(0.2)
            videos = memory.videos()
            if not videos or (videos[0].committed_until < due and not is_over):
                continue
            due = videos[0].committed_until + step
            keeping = memory.keeping()
            if keeping is not None:
                _print_sample(videos[0].committed_until, memory.disk(), keeping.bytes_an_hour, watch.state().gaps)


def _print_sample(seconds: float, disk: StoreState, bytes_an_hour: float, gaps: int) -> None:
    num_files = disk.num_clips + disk.num_frames
    sample = Sample(seconds, resident_bytes(), disk.total_bytes, bytes_an_hour, num_files, gaps)
    sys.stdout.write(json.dumps(asdict(sample)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), float(sys.argv[5]))
    except VidmemError as error:
        sys.exit(str(error))
