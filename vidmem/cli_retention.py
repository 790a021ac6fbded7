"""The verb that lets go of what is not to be kept, and the options that say what that is."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from vidmem import console
from vidmem.errors import BadInput
from vidmem.types import Retention, format_bytes
from vidmem.verbs import Json, StorePath, tell, verbs

app = verbs("What is kept of streams.")

KeepDays = Annotated[
    float | None, typer.Option("--keep-days", metavar="DAYS", help="Let go of what was seen longer ago.")
]
KeepBytes = Annotated[
    str | None,
    typer.Option("--keep-bytes", metavar="SIZE", help="Let go of the oldest while the store is larger: 50GB."),
]
KeepImportantDays = Annotated[
    float | None,
    typer.Option(
        "--keep-important-days",
        metavar="DAYS",
        help="In place of --keep-days for clips that answers cite, with key moments of objects, or new scenes.",
    ),
]
KeepAll = Annotated[bool, typer.Option("--keep-all", help="Let nothing go any more, whatever was said before.")]
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)i?B?", re.I)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def retention_of(
    days: float | None, size: str | None, important_days: float | None, *, keeps_all: bool = False
) -> Retention | None:
    """What the options say; None if they say nothing. Raises BadInput."""
    if days is None and size is None and important_days is None:
        return Retention() if keeps_all else None
    if keeps_all:
        raise BadInput("--keep-all lets nothing go: leave it out, or the other --keep options.")
    try:
        return Retention(days, None if size is None else _bytes(size), important_days)
    except ValueError as error:
        raise BadInput(f"{error}.") from error


def _bytes(text: str) -> int:
    read = _SIZE.fullmatch(text.strip())
    if read is None:
        raise BadInput(f"{text!r} is no size: give bytes, or a number such as 500MB, 50GB or 1.5TB.")
    return int(float(read[1]) * _UNITS[read[2].lower()])


@app.command(epilog="Example: vidmem prune door.vidmem --keep-days 7 --keep-important-days 90 --keep-bytes 50GB")
def prune(
    store: StorePath,
    keep_days: KeepDays = None,
    keep_bytes: KeepBytes = None,
    keep_important_days: KeepImportantDays = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Let go, for good, of the oldest that streams in STORE have shown. In Python: `vidmem.open(store).prune(keep)`.

    Without options, as was last said to `watch` or to this verb. Frames, blocks, pictures and vectors go; what the
    long-term memory has of them stays. The newest clips of a stream always stay, and so do videos that were ingested:
    `vidmem remove` takes those.
    """
    from vidmem.pipelines import open_store

    asked = retention_of(keep_days, keep_bytes, keep_important_days)
    with open_store(store, read_only=dry_run) as memory:
        tell(memory)
        retention = asked or memory.keeping_noted()
        if not retention.is_bounded:
            raise BadInput(f"Nobody said what {store} is to keep: give --keep-days, --keep-bytes, or both.")
        if dry_run:
            keeping = memory.keeping(retention)
            if as_json:
                console.print_json({"store": store, "would_go": keeping})
            else:
                console.say("No stream was watched into it." if keeping is None else console.due_of(keeping))
            return
        pruned = memory.prune(retention)
    if as_json:
        console.print_json({"store": store, "retention": retention, "pruned": pruned})
    else:
        console.say(
            f"{pruned.clips} clips with {pruned.frames} frames have left {store}:"
            f" {format_bytes(pruned.bytes_before)} before, {format_bytes(pruned.bytes_after)} now"
        )
