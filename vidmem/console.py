"""What the verbs of the command line print: the same results for people, and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidmem.types import Answer, Hit, VideoId, format_bytes, format_span, format_time

if TYPE_CHECKING:
    from vidmem import demo
    from vidmem.doctor import Check
    from vidmem.memory import MemoryConfig, PolicyInfo
    from vidmem.pipelines import IngestReport, Keeping, Scene, State
    from vidmem.pipelines.state import VideoState


DEMO_EVIDENCE = 3
"""How many spans of evidence the demonstration prints under an answer."""


def print_json(value: Any) -> None:
    """Write one JSON document to stdout. Dataclasses become objects, paths strings."""
    json.dump(plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def plain(value: Any) -> Any:
    """Turn dataclasses, named tuples, paths and NumPy scalars into what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else str(value)


def say(text: str = "") -> None:
    """Write a line to stdout at once, so that it appears between streamed pieces in the right order."""
    print(text, flush=True)


def note(text: str) -> None:
    """Write a line about progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def stream(pieces: Iterable[str]) -> str:
    """Print pieces of text as they come, end the line, and return the whole."""
    text = ""
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        text += piece
    say()
    return text


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar on stderr, if that is a terminal, for work that says how many of how many seconds are done.

    It appears when work first says so and goes when all is done: other lines may be printed before and after.
    """
    from tqdm import tqdm

    form = "{desc} {percentage:3.0f}% |{bar}| {elapsed} left {remaining}"
    with tqdm(desc=what, total=1.0, bar_format=form, disable=None, leave=False, delay=1e-9) as bar:

        def show(done: float, total: float) -> None:
            bar.update(done / total - bar.n)
            if done >= total:
                bar.close()

        yield show


def print_hits(hits: Sequence[Hit], *, with_hours: Collection[VideoId] = (), indent: str = "  ") -> None:
    """One line a hit: `mm:ss-mm:ss  score  path of its frame`, the video if there are several, why it is cited.

    `with_hours` are the videos that have hours, in all of whose times they are printed. Of a stream the time of day
    follows.
    """
    several = len({hit.video_id for hit in hits}) > 1
    for hit in hits:
        span = format_span(hit.start, hit.end, hours=hit.video_id in with_hours)
        source = f"  {Path(hit.source).name}" if several else ""
        why = f"  ({hit.why})" if hit.why else ""
        wall = "" if hit.wall_start is None or hit.wall_end is None else f"  {wall_range(hit.wall_start, hit.wall_end)}"
        say(f"{indent}{span}{wall}  {hit.score:.3f}  {hit.thumbnail or '(no frame kept)'}{source}{why}")


def wall_range(start: float, end: float) -> str:
    """A stretch of seconds since 1970 as a day and its times: `2026-03-03 14:05:03-14:09:59`."""
    first, last = (datetime.fromtimestamp(seconds) for seconds in (start, end))
    return f"{first:%Y-%m-%d %H:%M:%S}-{last:%H:%M:%S}"


def print_scenes(scenes: Sequence[Scene], *, with_hours: Collection[VideoId] = ()) -> None:
    """One line a scene: `mm:ss-mm:ss  path of its frame`, the video if there are several. Hours as in `print_hits`."""
    several = len({scene.video_id for scene in scenes}) > 1
    for scene in scenes:
        span = format_span(scene.start, scene.end, hours=scene.video_id in with_hours)
        source = f"  {Path(scene.source).name}" if several else ""
        is_open = "  (not finished)" if scene.is_open else ""
        say(f"{span}  {scene.thumbnail or '(no frame kept)'}{source}{is_open}")


def print_demo(events: Iterable[demo.Event]) -> None:
    """Tell a demonstration as it goes: each answer while it is made, then whether it agrees with the truth."""
    from vidmem import demo

    for event in events:
        if isinstance(event, demo.Watching):
            say(f"Watching {event.video.name} ...")
        elif isinstance(event, demo.Watched):
            print_report(event.report)
        elif isinstance(event, demo.Asking):
            say(f"\n{event.number}/{event.total}  {event.question}")
            sys.stdout.write("  ")
        elif isinstance(event, demo.Piece):
            sys.stdout.write(event.text)
            sys.stdout.flush()
        elif isinstance(event, demo.Answered):
            say("   [right]" if event.right else f"   [not right: {event.expected}]")
            print_hits(event.evidence[:DEMO_EVIDENCE], indent="     ")
        else:
            say(f"\n{event.right} of {event.total} answers agree with the truth.\n")
            print_state(event.state)
            print_timings(event.timings)


def print_report(report: IngestReport) -> None:
    """What an ingest did, and where its time went."""
    name = Path(report.source).name
    if report.already_there:
        say(f"{name}: already in the store as {report.video_id}, nothing to do")
        return
    hours = report.resumed_from + report.video_seconds >= 3600
    resumed = f" from {format_time(report.resumed_from, hours=hours)} on" if report.resumed_from else ""
    scenes = f" and {report.scenes} scenes" if report.scenes else ""
    frames = f"{report.frames} frames in {report.clips} clips{scenes}"
    watched = f"{format_time(report.video_seconds)} of video{resumed}, {frames}"
    say(f"{name}: {watched}, in {report.wall_seconds:.1f} s ({report.speed:.0f} x real time)")
    steps = ("decode", "encode", *(["prefill"] if report.prefill_seconds else []), "memory", "store")
    say("  " + ", ".join(f"{step} {getattr(report, f'{step}_seconds'):.2f} s" for step in steps))
    if report.skipped:
        say(f"  {report.skipped} damaged pictures were passed over")


def print_state(state: State) -> None:
    """The three memory stores, the videos, and what lies on disk."""
    say(f"{state.path}, preset {state.preset}")
    rows = [("memory", "elements", "tokens", "size")]
    for name in ("sensory", "working", "long_term"):
        level = getattr(state, name)
        rows.append((name.replace("_", "-"), str(level.elements), str(level.tokens), format_bytes(level.bytes)))
    print_table(rows, indent="  ")
    for video in state.videos:
        frames = f"{video.frames} frames in {video.clips} clips"
        say(f"  {video.video_id}  {video.name}  {format_time(video.duration_seconds)}, {frames}{_progress_of(video)}")
    parts = {part: getattr(state.disk, f"{part}_bytes") for part in ("catalogue", "index", "kv", "memory", "thumbs")}
    shares = ", ".join(f"{part} {format_bytes(size)}" for part, size in parts.items())
    say(f"  on disk {format_bytes(state.disk.total_bytes)}: {shares}")
    if state.keeping is not None:
        print_keeping(state.keeping)
    if state.kv:
        tiers = ", ".join(f"{tier.name} {format_bytes(tier.num_bytes)}" for tier in state.kv)
        say(f"  {state.kv[0].num_blocks} KV blocks of {state.disk.num_frames} frames: {tiers}")


def print_keeping(keeping: Keeping) -> None:
    """How streams grow, and what is kept of them."""
    day = format_bytes(24 * keeping.bytes_an_hour)
    held = format_time(keeping.held_seconds, hours=True)
    say(f"  {held} of streams, which grow by {format_bytes(keeping.bytes_an_hour)} an hour, {day} a day")
    if keeping.retention.is_bounded:
        left = f"; {keeping.expired_clips} clips have left" if keeping.expired_clips else ""
        say(f"  {due_of(keeping)}{left}")


def due_of(keeping: Keeping) -> str:
    """What is kept, and what would go now."""
    retention = keeping.retention
    bounds = [] if retention.days is None else [f"{retention.days:g} days"]
    bounds += [] if retention.important_days is None else [f"{retention.important_days:g} days if important"]
    bounds += [] if retention.num_bytes is None else [f"at most {format_bytes(retention.num_bytes)}"]
    due = [f"{keeping.due_clips} clips"] if keeping.due_clips else []
    due += [format_bytes(keeping.due_bytes)] if keeping.due_bytes else []
    return f"kept: {', '.join(bounds)}; to leave now: {' and '.join(due) or 'nothing'}"


def _progress_of(video: VideoState) -> str:
    if video.begun_at is not None:
        gaps = "" if not video.gaps else ", 1 gap" if video.gaps == 1 else f", {video.gaps} gaps"
        return f", watched since {datetime.fromtimestamp(video.begun_at):%Y-%m-%d %H:%M:%S}{gaps}"
    return "" if video.is_finished else ", not finished: ingest it again to go on"


def print_timings(timings: Mapping[str, float]) -> None:
    say("  " + ", ".join(f"{name} {_duration(seconds)}" for name, seconds in timings.items()))


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def print_answer_rest(answer: Answer, *, with_hours: Collection[VideoId] = ()) -> None:
    """The part of an answer below its streamed text: evidence and timings."""
    if answer.evidence:
        print_hits(answer.evidence, with_hours=with_hours)
    else:
        say("  (no evidence: nothing in memory matches)")
    if answer.timings:
        print_timings(answer.timings)


def print_policies(policies: Sequence[PolicyInfo], room: MemoryConfig) -> None:
    """The room that all have; then what each does, and under it its paper, and its options with their defaults."""
    say(
        f"By default sensory memory holds {room.sensory_seconds:g} s, working memory {room.working_min_frames} to"
        f" {room.working_max_frames} frames,\nlong-term memory the tokens of {room.max_elements} frames; the policy is"
        f" {room.policy}.\n"
    )
    width = max(len(policy.name) for policy in policies)
    for policy in policies:
        say(f"{policy.name:<{width}}  {policy.summary}")
        options = ", ".join(f"{name}={value}" for name, value in policy.options.items())
        for line in (policy.source, options):
            say(wrapped(line, indent=width + 2))


def print_table(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Print rows in columns; the last column is left ragged."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)] if rows else []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)]
        say((indent + "  ".join([*cells, row[-1]])).rstrip())


def print_checks(checks: Sequence[Check]) -> None:
    """One line a check; under what is missing, what to do about it."""
    width = max(len(check.name) for check in checks)
    for check in checks:
        say(f"{check.status:<7}  {check.name:<{width}}  {check.found}")
        if check.status == "missing" and check.cure:
            say(wrapped(f"-> {check.cure}", indent=width + 11))


def wrapped(text: str, *, indent: int) -> str:
    """Break a long sentence into indented lines of the terminal's width; names and commands stay whole."""
    width = max(60, min(120, shutil.get_terminal_size().columns))
    lines = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
    return textwrap.indent("\n".join(lines), " " * indent)


def print_figures(result: Mapping[str, Any]) -> None:
    """A benchmark's figures against their targets; those without one are only told."""
    rows = [("figure", "value", "unit", "target", "holds")]
    for name, figure in result["figures"].items():
        value = figure["value"]
        shown = "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
        target, holds = figure["target"], "yes" if figure["holds"] else "NO"
        rows.append((name, shown, figure["unit"], *(("", "") if target is None else (str(target), holds))))
    print_table(rows)
