"""What it costs to take a few frames out of a video: ours against PyAV, decord and torchcodec, used plainly.

Every contender runs in a process of its own, one after the other and round after round, so that all meet the same
machine. What counts is CPU-seconds, user and system, threads and children included, of opening the file and taking
the frames; imports are not counted. The plain contenders choose frames as their users do: each by its own index of
the file, or by scanning it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidmem.ingest import open_source
from vidmem.types import View

_WARM_UP_OPENS = 512
"""Until then the allocator's arenas and FFmpeg's tables fill; from then on nothing should grow. Never more than the
opens that count."""
CONTENDERS = ("ours", "pyav", "decord", "torchcodec")


@dataclass(frozen=True, slots=True)
class DecodeFigures:
    """Costs in CPU-seconds, the median over the rounds; a contender that can't run here is missing."""

    cpu_seconds: dict[str, float]
    wall_seconds: dict[str, float]
    ratio: float
    """Median over the rounds of ours divided by the best other one of the same round."""
    num_frames: int
    identical_frames: int
    """Of `num_frames`, those whose time and picture equal a full sequential decode's, to the bit."""
    missing: dict[str, str]
    """Contender -> why it could not run."""


def decode_figures(
    path: str | os.PathLike[str], *, fps: float = 1.0, view: int = 384, rounds: int = 3
) -> DecodeFigures:
    """Measure `fps` out of a video. Raises VidmemError if we can't read the file ourselves."""
    identical, num_frames = identical_frames(path, fps=fps, view=view)
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    missing: dict[str, str] = {}
    for _ in range(rounds):
        for name in CONTENDERS:
            if name not in missing:
                outcome = _run_apart(name, Path(path), fps, view)
                if "why" in outcome:
                    missing[name] = outcome["why"]
                else:
                    costs[name].append(outcome)
    present = {name: runs for name, runs in costs.items() if runs and name not in missing}
    best_others = [min(runs[i]["cpu"] for name, runs in present.items() if name != "ours") for i in range(rounds)]
    return DecodeFigures(
        cpu_seconds={name: statistics.median(run["cpu"] for run in runs) for name, runs in present.items()},
        wall_seconds={name: statistics.median(run["wall"] for run in runs) for name, runs in present.items()},
        ratio=statistics.median(run["cpu"] / best for run, best in zip(present["ours"], best_others, strict=True)),
        num_frames=num_frames,
        identical_frames=identical,
        missing=missing,
    )


def growth_over_opens(path: str | os.PathLike[str], *, num_opens: int, fps: float = 1.0) -> float:
    """Growth of resident memory, as a share, over `num_opens` opens after the first 512, each with a seek."""
    outcome = _run_apart("opens", Path(path), fps, num_opens)
    assert "growth" in outcome, f"opening {path} again and again failed: {outcome['why']}"
    return float(outcome["growth"])


def identical_frames(path: str | os.PathLike[str], *, fps: float, view: int) -> tuple[int, int]:
    """How many sampled frames equal those of a full sequential decode, and how many there should be."""
    with open_source(path) as source:
        ours = list(source.frames(fps=fps, views=[View(view, view)]))
        offset = source.info.pts_offset_seconds
    expected = _scan(Path(path), fps, view, offset)
    same = sum(
        abs(frame.pts_seconds - pts) < 1e-6 and np.array_equal(frame.views[0], picture)
        for frame, (pts, picture) in zip(ours, expected, strict=False)
    )
    return same, max(len(expected), len(ours))


def _scan(path: Path, fps: float, view: int, offset: float | None = None) -> list[tuple[float, np.ndarray]]:
    """The plain way with PyAV: decode everything, keep what is on display at each tick."""
    import av
    from av.video.reformatter import VideoReformatter

    scaler = VideoReformatter()
    taken: list[tuple[float, np.ndarray]] = []
    num_ticks = 0

    def take(frame: av.VideoFrame, start: float, end: float) -> None:
        nonlocal num_ticks
        if num_ticks / fps >= end - 1e-9:
            return
        picture = scaler.reformat(frame, width=view, height=view, format="rgb24", interpolation="BICUBIC", threads=1)
        taken.append((start, picture.to_ndarray()))
        while num_ticks / fps < end - 1e-9:
            num_ticks += 1

    with av.open(str(path)) as container:
        held: tuple[av.VideoFrame, float] | None = None
        for frame in container.decode(video=0):
            if offset is None:
                offset = frame.time
            start = frame.time - offset
            if held is not None:
                take(*held, start)
            held = frame, start
        if held is not None:
            frame, start = held
            take(frame, start, start + frame.duration * float(frame.time_base or 0))
    return taken


def _take_ours(path: Path, fps: float, view: int) -> int:
    with open_source(path) as source:
        return sum(1 for _ in source.frames(fps=fps, views=[View(view, view)]))


def _take_decord(path: Path, fps: float, view: int) -> int:
    import decord

    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=view, height=view)
    ends = reader.get_frame_timestamp(np.arange(len(reader)))[:, 1]
    wanted = np.searchsorted(ends, np.arange(0.0, ends[-1], 1.0 / fps) + 1e-6)
    return len(reader.get_batch(wanted[wanted < len(reader)]).asnumpy())


def _take_torchcodec(path: Path, fps: float, view: int) -> int:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path))
    start, end = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    if start is None or end is None:
        raise ValueError("torchcodec does not know how long the video is")
    return len(decoder.get_frames_played_at(np.arange(start, end, 1.0 / fps).tolist()).data)


def _import_for(name: str) -> None:
    """Pay for imports before the clock starts."""
    if name == "decord":
        import decord  # noqa: F401
    elif name == "torchcodec":
        import torchcodec.decoders  # noqa: F401
    else:
        import av  # noqa: F401

        import vidmem.ingest.file  # noqa: F401


_TAKE: dict[str, Callable[[Path, float, int], int]] = {
    "ours": _take_ours,
    "pyav": lambda path, fps, view: len(_scan(path, fps, view)),
    "decord": _take_decord,
    "torchcodec": _take_torchcodec,
}


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _opens(path: Path, fps: float, num_opens: int) -> dict[str, float]:
    """Open, read two frames in the middle, close, again and again."""
    with open_source(path) as source:
        duration = source.info.duration_seconds or 0.0
    at_start, warm_up = 0, min(_WARM_UP_OPENS, num_opens)
    for index in range(warm_up + num_opens):
        if index == warm_up:
            at_start = _resident_pages()
        with open_source(path) as source:
            frames = source.frames(fps=fps, views=[View(64, 64)], start=duration * (index % 97) / 97)
            next(frames)
            next(frames, None)
    return {"growth": _resident_pages() / at_start - 1.0}


def _resident_pages() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1])


def _run_apart(name: str, path: Path, fps: float, number: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "vidmem.bench.decode", name, str(path), str(fps), str(number)]
    with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as folder:
        environment = _with_ffmpeg_of_pyav(Path(folder)) if name == "torchcodec" else None
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return {"why": lines[-1] if lines else f"ended with {done.returncode}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _with_ffmpeg_of_pyav(folder: Path) -> dict[str, str]:
    """torchcodec brings no FFmpeg and looks for a system's: lend it the very libraries that PyAV brings."""
    import av

    libraries = Path(av.__file__).resolve().parents[1] / "av.libs"
    for library in libraries.glob("lib*.so.*"):
        stem, _, version = library.name.partition(".so.")
        link = folder / f"{stem.rsplit('-', 1)[0]}.so.{version.split('.')[0]}"
        if not link.exists():
            link.symlink_to(library)
    search = [os.environ.get("LD_LIBRARY_PATH", ""), str(folder), str(libraries)]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, search))}


def _main(name: str, path: str, fps: str, number: str) -> None:
    if name == "opens":
        print(json.dumps(_opens(Path(path), float(fps), int(number))))
        return
    _import_for(name)
    cpu, wall = _cpu_seconds(), time.perf_counter()
    num_frames = _TAKE[name](Path(path), float(fps), int(number))
    print(json.dumps({"cpu": _cpu_seconds() - cpu, "wall": time.perf_counter() - wall, "frames": num_frames}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
