"""The verbs about objects: follow what somebody points at, list what is remembered, say where it was last seen."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vidmem import console
from vidmem.errors import BadInput, NotFound
from vidmem.types import VideoId, format_span, format_time
from vidmem.verbs import (
    Json,
    Preset,
    StorePath,
    on_interrupt,
    read_time,
    reading,
    tell,
    verbs,
    videos_with_hours,
    writing,
)

if TYPE_CHECKING:
    import numpy as np

    from vidmem.models.tracker import FrameResult
    from vidmem.pipelines.objects import RememberedObject, Whereabouts
    from vidmem.pipelines.stored_tracking import TrackedObject
    from vidmem.types import Frame

app = verbs("Objects that are remembered.")

Video = Annotated[str | None, typer.Option("--video", help="Only of this video: its id, or its name.")]
_SPANS_SHOWN = 4


@app.command(epilog="Example: vidmem track street.mp4 --box 100,80,60,40 --at 12.0 -o followed.mp4")
def track(
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="MP4 to write; the track goes beside it as .json.")],
    at: Annotated[str, typer.Option(help="When to point: seconds, MM:SS or HH:MM:SS.")] = "0",
    box: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Left, top, width, height in pixels.")] = None,
    point: Annotated[str | None, typer.Option(metavar="X,Y", help="A pixel of the object.")] = None,
    mask: Annotated[Path | None, typer.Option(help="A picture of the frame's size, white where the object is.")] = None,
    until: Annotated[str | None, typer.Option(help="Where to stop; by default the end.")] = None,
    fps: Annotated[float | None, typer.Option(min=0.001, help="Frames to look at in a second; by default all.")] = None,
    label: Annotated[str, typer.Option(help="What it is called.")] = "",
    selection: Annotated[str, typer.Option(help="Memory: sam2, samurai, dam4sam or sam2long.")] = "samurai",
    store: Annotated[Path | None, typer.Option("--store", "-s", help="Remember it there: it has VIDEO.")] = None,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """Follow what you point at through VIDEO: writes a video with it drawn over, and its track as JSON.

    In Python: `vidmem.open(store).track(video, at=12.0, box=(100, 80, 60, 40))`. Interrupted, it leaves both with what
    was followed until then.
    """
    from vidmem.ingest import open_source
    from vidmem.pipelines.overlay import Recording
    from vidmem.pipelines.tracking import PassOptions, Pointed, track_file

    pointed = Pointed(_numbers(box, 4, "--box"), _numbers(point, 2, "--point"), None if mask is None else _mask(mask))
    begin, end = read_time(at), None if until is None else read_time(until)
    remembered: TrackedObject | None = None
    with open_source(video) as source:
        rate = fps or source.info.average_fps
    with (
        Recording(output, video, fps=rate, name=label) as recording,
        on_interrupt(lambda: recording.left),
        console.progress(video.name) as progress,
    ):

        def watch(frame: Frame, result: FrameResult) -> None:
            recording.watch(frame, result)
            for change in result.changes:
                console.note(f"{label or 'the object'} is {change.kind} at {format_time(change.seconds)}")

        def report(done: float, total: float | None) -> None:
            if total:
                progress(done, total)

        if store is None:
            options = PassOptions(end, fps, selection, watch, report)
            notes: Sequence[str] = track_file(video, pointed, begin, options, preset=preset).notes
        else:
            with writing(store, preset, create=False) as memory:
                remembered = memory.track(
                    video,
                    begin,
                    box=pointed.box,
                    point=pointed.point,
                    mask=pointed.mask,
                    until=end,
                    fps=fps,
                    label=label,
                    selection=selection,
                    watch=watch,
                    progress=report,
                )
            notes = remembered.notes
    for said in notes:
        console.note(said)
    summary = recording.summary
    if as_json:
        console.print_json({**summary, "object": remembered})
        return
    span = format_span(summary["start"], summary["end"])
    console.say(f"{output}  {summary['frames']} frames of {span}, its track in {recording.track}")
    if remembered is not None:
        console.say(f"  object {remembered.object_id} in {store}")


@app.command(epilog="Example: vidmem objects street.vidmem 'a red car'")
def objects(
    store: StorePath,
    text: Annotated[str | None, typer.Argument(help="What is looked for; by default all.")] = None,
    video: Video = None,
    find: Annotated[bool, typer.Option("--find", help="First find and follow what there is, of itself.")] = False,
    preset: Preset = None,
    as_json: Json = False,
) -> None:
    """List the objects that STORE remembers, or those that TEXT names, best first, with when they were seen.

    In Python: `vidmem.open(store).objects("a red car")`. Without TEXT it needs none of the store's models.
    """
    if find:
        with writing(store, preset, create=False) as memory:
            for done in memory.find_objects(video):
                console.note(f"{done.video}: {len(done.object_ids)} objects, found in {done.frames} frames")
                for said in done.notes:
                    console.note(said)
    if text is None:
        from vidmem.pipelines import open_store

        with open_store(store) as stored:
            tell(stored)
            found, hours = stored.objects(video=video), videos_with_hours(stored)
    else:
        with reading(store, preset) as memory:
            found, hours = memory.objects(text, video=video), videos_with_hours(memory)
    if as_json:
        console.print_json(found)
    elif found:
        _print_objects(found, hours)
    else:
        console.say("No object is remembered." if text is None else "Nothing in memory matches.")


@app.command(epilog="Example: vidmem where street.vidmem 'the key'")
def where(store: StorePath, text: str, video: Video = None, preset: Preset = None, as_json: Json = False) -> None:
    """Say where TEXT was last seen: when, in which part of the frame, and a picture of it.

    In Python: `vidmem.open(store).where("the key")`. Never seen is an answer, too (null with --json).
    """
    with reading(store, preset) as memory:
        found, hours = memory.where(text, video=video), videos_with_hours(memory)
    if as_json:
        console.print_json(found)
    elif found is None:
        console.say("Never seen.")
    else:
        _print_whereabouts(found, with_hours=found.video_id in hours)


def _print_objects(found: Sequence[RememberedObject], with_hours: Collection[VideoId]) -> None:
    """One line an object: id, name, the last stretches in which it was seen, its picture, the video if several."""
    several = len({one.video_id for one in found}) > 1
    for one in found:
        hours = one.video_id in with_hours
        spans = ", ".join(format_span(span.start, span.end, hours=hours) for span in one.spans[-_SPANS_SHOWN:])
        more = "..., " if len(one.spans) > _SPANS_SHOWN else ""
        source = f"  {Path(one.source).name}" if several else ""
        why = f"  ({one.why})" if one.why else ""
        what = f"{one.object_id:>4}  {one.label or '(no name)':<12}  {more}{spans or 'never seen'}"
        console.say(f"{what}  {one.thumbnail or '(no picture)'}{source}{why}")


def _print_whereabouts(found: Whereabouts, *, with_hours: bool) -> None:
    span = format_span(found.seen_from, found.last_seen, hours=with_hours)
    if found.wall_seen_from is not None and found.wall_last_seen is not None:
        span += f" ({console.wall_range(found.wall_seen_from, found.wall_last_seen)})"
    place = f", {found.place}" if found.place else ""
    there = " and still there at the end" if found.still_there else ""
    console.say(f"{found.what}: seen {span}{there}{place}  {found.thumbnail or '(no picture)'}")
    if not found.from_track:
        console.say("  (no object was followed: frames that look like it)")


def _numbers(text: str | None, count: int, option: str) -> Any:
    """So many numbers with commas between them; None if none are given."""
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        wanted = "X,Y,W,H" if count == 4 else "X,Y"
        raise BadInput(f"{option} {text!r} should be {wanted}: {count} numbers of pixels with commas between them.")
    return numbers


def _mask(path: Path) -> np.ndarray:
    """A picture as a mask: where it is brighter than half."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L")) > 127
    except FileNotFoundError as error:
        raise NotFound(f"there is no mask {path}: give a picture of the frame's size.") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise BadInput(f"{path} is no picture that can be read as a mask: give a PNG of the frame's size.") from error
