"""What all verbs of the command line share: how errors end them, options, and opening a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from vidmem import console
from vidmem.errors import BadInput, VidmemError
from vidmem.types import VideoId, parse_time

if TYPE_CHECKING:
    from vidmem.pipelines import StoredMemory, VideoMemory


class _Verbs(TyperGroup):
    """Turns what a user can mend into one sentence on stderr and the exit code that belongs to it."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VidmemError as error:
            typer.echo(f"vidmem: {error}", err=True)
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            said = ["vidmem: interrupted", *getattr(error, "__notes__", ())]
            typer.echo("; ".join(said), err=True)
            raise typer.Exit(130) from error


def verbs(summary: str, **options: Any) -> typer.Typer:
    """A group of verbs, with a summary of it."""
    settings = {"help_option_names": ["-h", "--help"]}
    return typer.Typer(
        cls=_Verbs, help=summary, no_args_is_help=True, context_settings=settings, rich_markup_mode=None, **options
    )


StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="A store's folder, NAME.vidmem.")]
Preset = Annotated[str | None, typer.Option(help="Name or TOML file; by default what the store was made with.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Seed = Annotated[int, typer.Option(help="Other seeds make other worlds.")]
Quick = Annotated[bool, typer.Option("--quick", help="Only see that it runs: the figures mean nothing.")]


@contextmanager
def reading(store: Path, preset: str | None) -> Iterator[VideoMemory]:
    """Open a store that must be there.

    Read-only, so that asking needs no right to write and never stands in the way of an ingest in another process.
    """
    import vidmem

    with vidmem.open(store, preset=preset, create=False, read_only=True) as memory:
        tell(memory)
        num_told = len(memory.notices)
        yield memory
        tell(memory, since=num_told)  # damage is found where it is read


@contextmanager
def writing(store: Path, preset: str | None, *, create: bool = True) -> Iterator[VideoMemory]:
    """Open a store, or make one. A new one that no video came into goes again: bad input leaves nothing behind."""
    import vidmem

    with (
        on_interrupt(lambda: f"what was committed stays in {store}" if store.exists() else ""),
        vidmem.open(store, preset=preset, create=create) as memory,
    ):
        tell(memory)
        try:
            yield memory
        finally:
            memory.discard_if_unused()


@contextmanager
def on_interrupt(what_stays: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C say what it leaves; nothing if that is ""."""
    try:
        yield
    except KeyboardInterrupt as error:
        if said := what_stays():
            error.add_note(said)
        raise


@contextmanager
def writing_beside(memory: VideoMemory, store: Path) -> Iterator[VideoMemory]:
    """As `writing`, with the models that a memory has loaded."""
    with memory.another(store) as other:
        tell(other)
        try:
            yield other
        finally:
            other.discard_if_unused()


def tell(memory: StoredMemory, since: int = 0) -> None:
    """Say on stderr what was found and mended in the store, but for the first `since` sentences."""
    for notice in memory.notices[since:]:
        console.note(f"vidmem: {notice}")


def videos_with_hours(memory: StoredMemory) -> set[VideoId]:
    """Those in all of whose times hours are printed."""
    return {video.video_id for video in memory.videos() if video.has_hours}


def read_time(text: str) -> float:
    """Seconds of what a person typed. Raises BadInput."""
    try:
        return parse_time(text)
    except ValueError as error:
        raise BadInput(f"{text!r} is no time: give seconds, MM:SS or HH:MM:SS.mmm") from error
