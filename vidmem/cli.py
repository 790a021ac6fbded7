"""The command line: every verb reads its arguments, makes one library call and prints what came back.

Results go to stdout, as JSON with `--json`; progress, logs and errors go to stderr. Heavy packages (torch,
transformers, gradio) are imported by the verbs that use them, so that `vidmem --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import EEXIST, ELOOP, ENAMETOOLONG, ENOTDIR
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vidmem import cli_alerts, cli_bench, cli_objects, cli_retention, cli_watch, console
from vidmem.errors import BadInput, NotFound, SourceLost, StorageFull, VidmemError
from vidmem.types import format_bytes
from vidmem.verbs import (
    Json,
    Preset,
    Seed,
    StorePath,
    read_time,
    reading,
    tell,
    verbs,
    videos_with_hours,
    writing,
)

if TYPE_CHECKING:
    from vidmem.pipelines import IngestReport

BATCH_FAILED = 6
"""Exit code of a batch that finished, though some of its inputs failed."""

app = verbs("Watch long video, remember it in bounded memory, answer with evidence.", add_completion=False)
world = verbs("The sample world: scripted video with ground truth.")
app.add_typer(world, name="world")
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_watch.app)
app.add_typer(cli_objects.app)
app.add_typer(cli_alerts.app)
app.add_typer(cli_retention.app)

Decoder = Literal["auto", "pyav", "decord"]
K = Annotated[int, typer.Option("-k", "--top-k", min=1, help="How many spans to find.")]
Videos = Annotated[list[str] | None, typer.Option("--video", metavar="ID", help="Only this video; repeatable.")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vidmem {version('vidmem')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


@app.command(epilog="Example: vidmem demo --json > demo.json")
def demo(
    seed: Annotated[int | None, typer.Option(help="Render a new sample of this seed instead of a shipped one.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where demo.vidmem goes; by default here, or demo-SEED/.")] = None,
    preset: Annotated[str, typer.Option(help="A preset's name or TOML file.")] = "tiny",
    as_json: Json = False,
) -> None:
    """Watch a sample video with the embedded models, ask it a dozen questions, compare with the truth."""
    from vidmem.demo import as_document, run

    folder = folder or Path("." if seed is None else f"demo-{seed}")
    _make_folder(folder)
    with console.progress("render") as progress:
        events = run(folder, seed=seed, preset=preset, progress=progress)
        if as_json:
            console.print_json(as_document(events))
        else:
            console.print_demo(events)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        kind = BadInput if error.errno in (EEXIST, ENOTDIR, ENAMETOOLONG, ELOOP) else StorageFull
        raise kind(f"{folder} can't be made ({error.strerror}): choose another folder") from error


@app.command(epilog="Example: vidmem ingest kitchen.mp4 --store kitchen.vidmem --fps 1")
def ingest(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Video files, or folders of images.")],
    store: Annotated[Path, typer.Option("--store", "-s", help="The store's folder; created if it is not there.")],
    preset: Preset = None,
    fps: Annotated[float, typer.Option(min=0.001, help="Frames to look at in a second of video.")] = 1.0,
    decoder: Annotated[Decoder, typer.Option(help="auto takes whichever is exact and fastest for the file.")] = "auto",
    max_similarity: Annotated[
        float | None, typer.Option(min=0, max=1, help="Drop frames more alike than this to the one kept before.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Keep what can be read of a damaged file.")] = False,
    objects: Annotated[bool, typer.Option("--objects", help="Find and follow objects in them, too.")] = False,
    as_json: Json = False,
) -> None:
    """Watch videos and keep them in a store. In Python: `vidmem.open(store).ingest(video)`.

    What is already in the store is recognised and left alone. Where one of several videos can't be read the others are
    still ingested, and the exit code is 6. What is wrong with the store itself, such as a full disk, ends it; with
    --json what was done until then is printed, and why it ended as "error".
    """
    from vidmem.ingest import open_source

    reports: list[IngestReport] = []
    failures: dict[str, str] = {}

    def attempt(work: Callable[[str], object], video: str) -> bool:
        try:
            work(video)
        except (BadInput, NotFound, SourceLost) as error:  # what is wrong with the store or the models ends the verb
            if len(videos) == 1:
                raise
            failures[video] = str(error)
            console.note(f"vidmem: {error}")
        return video not in failures

    def check(video: str) -> None:
        with open_source(video, decoder=decoder):
            pass

    def watch(video: str) -> None:
        report = memory.ingest(
            video, fps=fps, decoder=decoder, max_similarity=max_similarity, partial=partial, objects=objects
        )
        reports.append(report)
        if not as_json:
            console.print_report(report)

    said = {"store": store, "reports": reports, "failures": failures}
    try:
        # All are opened once before models are loaded and a store is made, which may be for nothing.
        readable = [video for video in videos if attempt(check, video)]
        if readable:
            with writing(store, preset) as memory:
                console.note(f"models: {memory.preset.name}  {memory.preset.description}".rstrip())
                for video in readable:
                    attempt(watch, video)
    except (VidmemError, KeyboardInterrupt) as error:
        if as_json and (reports or failures):  # what was done until then stays done
            console.print_json({**said, "error": str(error) or "interrupted"})
        raise
    if as_json:
        console.print_json(said)
    if failures:
        raise typer.Exit(BATCH_FAILED)


@app.command(epilog='Example: vidmem ask kitchen.vidmem "When did the dog appear?"')
def ask(store: StorePath, question: str, video: Videos = None, preset: Preset = None, as_json: Json = False) -> None:
    """Answer QUESTION from STORE, with the spans that show it. In Python: `vidmem.open(store).ask(question)`."""
    with reading(store, preset) as memory:
        if as_json:
            console.print_json(memory.ask(question, video_ids=video))
            return
        with memory.ask_stream(question, video_ids=video) as pieces:
            console.stream(pieces)
            console.print_answer_rest(pieces.result, with_hours=videos_with_hours(memory))


@app.command(epilog='Example: vidmem search kitchen.vidmem "a dog on the left" -k 3')
def search(
    store: StorePath, words: str, k: K = 5, video: Videos = None, preset: Preset = None, as_json: Json = False
) -> None:
    """Find spans of STORE that look like WORDS, without the language model."""
    with reading(store, preset) as memory:
        hits = memory.search(words, k=k, video_ids=video)
        with_hours = videos_with_hours(memory)
    if as_json:
        console.print_json(hits)
    elif hits:
        console.print_hits(hits, with_hours=with_hours, indent="")
    else:
        console.say("Nothing in memory matches.")


@app.command(epilog="Example: vidmem scenes kitchen.vidmem kitchen.mp4")
def scenes(
    store: StorePath,
    video: Annotated[
        str | None, typer.Argument(help="Its id, or its name, as `vidmem info STORE` shows them; by default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the scenes of VIDEO in STORE: the stretches between changes of what it shows, each with a frame of it.

    In Python: `vidmem.open(store).scenes(video)`. Needs none of the store's models.
    """
    from vidmem.pipelines import open_store

    with open_store(store) as memory:
        tell(memory)
        found = memory.scenes(video)
        with_hours = videos_with_hours(memory)
    if as_json:
        console.print_json(found)
    elif found:
        console.print_scenes(found, with_hours=with_hours)
    else:
        console.say("Nothing is ingested yet.")


@app.command(epilog="Example: vidmem info kitchen.vidmem --json")
def info(
    store: StorePath,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file instead; exit code 1 if one is gone or damaged.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what STORE holds: its videos, the three memory stores, bytes. Needs none of its models."""
    from vidmem.pipelines import open_store

    with open_store(store) as memory:
        tell(memory)
        if verify:
            _print_problems(memory.verify(), as_json)
            return
        state = memory.state()
    if as_json:
        console.print_json(state)
    else:
        console.print_state(state)


@app.command(epilog="Example: vidmem remove kitchen.vidmem kitchen.mp4")
def remove(
    store: StorePath,
    video: Annotated[str, typer.Argument(help="Its id, or its name, as `vidmem info STORE` shows them.")],
    as_json: Json = False,
) -> None:
    """Take VIDEO out of STORE for good, with every answer on it. In Python: `vidmem.open(store).remove(video)`.

    Needs none of the store's models. The file that was watched stays where it is.
    """
    from vidmem.pipelines import open_store

    with open_store(store, read_only=False) as memory:
        tell(memory)
        removed = memory.remove(video)
    if as_json:
        console.print_json({"store": store, "removed": removed})
    else:
        console.say(f"{removed.name}: removed from {store} ({removed.video_id}, {removed.num_frames} frames)")


def _print_problems(problems: list[str], as_json: bool) -> None:
    if as_json:
        console.print_json({"problems": problems})
    else:
        console.say("\n".join(problems) or "Every file is there and whole.")
    if problems:
        raise typer.Exit(1)


@app.command(epilog="Example: vidmem policies")
def policies(as_json: Json = False) -> None:
    """List the policies of memory: what each does, its options with their defaults, and its paper; and the room that
    the stores have by default."""
    from vidmem.memory import MemoryConfig
    from vidmem.memory import policies as known

    found, room = known(), MemoryConfig()
    if as_json:
        console.print_json({"room": room, "policies": found})
    else:
        console.print_policies(found, room)


@app.command(epilog="Example: vidmem models")
def models(as_json: Json = False) -> None:
    """List the presets, what each is made of, and whether its model files are here."""
    from vidmem.models.preset import load_preset, presets

    found = [load_preset(name) for name in presets()]
    missing = {preset.name: preset.missing() for preset in found}
    if as_json:
        console.print_json(
            [
                {
                    "name": preset.name,
                    "description": preset.description,
                    "encoder": preset.encoder.model,
                    "language": preset.language.model,
                    "tracker": preset.tracker.repository,
                    "missing": missing[preset.name],
                }
                for preset in found
            ]
        )
        return
    for preset in found:
        state = "missing" if missing[preset.name] else "here"
        console.say(f"{preset.name:<6} {state:<8} {preset.description}")
        console.say(f"{'':15} {preset.encoder.model} + {preset.language.model}")
        for why in missing[preset.name].values():
            console.say(console.wrapped(f"-> {why}", indent=16))


@world.command(epilog="Example: vidmem world render street.mp4 --seed 7 --duration 01:30")
def render(
    path: Annotated[
        Path, typer.Argument(metavar="VIDEO.mp4", help="File to write; its truth goes beside it as .json.")
    ],
    seed: Seed = 0,
    duration: Annotated[str, typer.Option(help="Seconds, MM:SS or HH:MM:SS.")] = "01:00",
    size: Annotated[str, typer.Option(metavar="WxH", help="Frame size in pixels.")] = "640x360",
    fps: Annotated[float, typer.Option(help="Frames a second.")] = 30,
    needle: Annotated[str | None, typer.Option(metavar="THING", help="A thing that appears exactly once.")] = None,
    questions: Annotated[int, typer.Option(min=0, help="How many questions with answers to write.")] = 16,
    as_json: Json = False,
) -> None:
    """Render a video of the sample world and what is true about it. The same seed gives the same video."""
    from vidmem.world.video import render_file

    with console.progress("render") as progress:
        truth = render_file(
            path,
            seed=seed,
            duration=read_time(duration),
            size=_size(size),
            fps=fps,
            needle=needle,
            num_questions=questions,
            progress=progress,
        )
    if as_json:
        console.print_json({"video": path, "truth": truth, "seed": seed})
    else:
        console.say(f"{path}  {format_bytes(path.stat().st_size)}, its truth in {truth}")


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise BadInput(f"{text!r} is no frame size: give WIDTHxHEIGHT, such as 640x360")
    return int(width), int(height)


@app.command(epilog="Example: vidmem doctor")
def doctor(as_json: Json = False) -> None:
    """Say what this machine has (torch, ffmpeg, decoders, FAISS, models) and what to do about what it lacks.

    Exit code 0 if all that the tiny preset needs is here, 4 if not.
    """
    from vidmem.doctor import examine, is_ready

    checks = examine()
    ready = is_ready(checks)
    if as_json:
        console.print_json({"ready": ready, "checks": checks})
    else:
        console.print_checks(checks)
        console.say("\nReady: the tiny preset runs here." if ready else "\nNot ready: mend what is missing above.")
    if not ready:
        raise typer.Exit(4)


@app.command(epilog="Example: vidmem ui kitchen.vidmem --root /videos --port 7860")
def ui(
    stores: Annotated[
        list[Path] | None, typer.Argument(metavar="STORE...", help="Stores to open or make; else a temporary one.")
    ] = None,
    preset: Preset = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    host: Annotated[str, typer.Option(help="Address to serve at; any but this machine's own needs --auth.")] = (
        "127.0.0.1"
    ),
    auth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who may come in: a line NAME:PASSWORD for each.")
    ] = None,
    share: Annotated[bool, typer.Option("--share", help="Open it to the internet by Gradio's servers.")] = False,
    root: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Where videos and stores may be named; repeatable, by default here."),
    ] = None,
    max_gb: Annotated[float, typer.Option(min=0.001, help="Largest upload, and largest file fetched.")] = 2.0,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Fetch files and watch cameras inside this network, too.")
    ] = False,
) -> None:
    """Open the web page: bring in a video, watch, ask, click the evidence. For this machine only, unless told."""
    from vidmem.ui.access import Access, read_passwords
    from vidmem.ui.limits import Limits

    passwords = read_passwords(auth) if auth is not None else None
    access = Access(host, port, share, passwords)
    roots = tuple(one.resolve() for one in root or [Path.cwd()])
    limits = Limits(roots, max_bytes=int(max_gb * 1024**3), allow_private=allow_private)
    from vidmem.ui.app import launch  # brings gradio: what is wrong with the options is said before

    launch(stores or (), preset=preset, access=access, limits=limits)


def main() -> None:
    """Run the command line; the entry point of the `vidmem` script."""
    app(prog_name="vidmem")


if __name__ == "__main__":
    main()
