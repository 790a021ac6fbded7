"""The verbs that measure: one for each benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vidmem import console
from vidmem.verbs import Json, Quick, Seed, verbs

app = verbs("Measure quality and speed on this machine. Each prints one JSON object with --json.")

Hours = Annotated[
    float | None, typer.Option(min=0.02, help="Hours of video to watch; 1 by default, and minutes with --quick.")
]
Keep = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", file_okay=False, help="Keep there what was measured: a stopped run goes on."),
]


def _only(parts: str) -> Any:
    """The option that takes parts of a benchmark."""
    return typer.Option(help=f"Only this: {parts}; repeatable.")


@app.command("world", epilog="Example: vidmem bench world --json --seed 5 > world.json")
def bench_world(seed: Seed = 0, quick: Quick = False, as_json: Json = False) -> None:
    """Right answers, retrieval, needles and time to the first token, on worlds that training never saw."""
    from vidmem.bench import world

    _print(world.run(seed, quick=quick, progress=console.note), as_json)


@app.command("ingest", epilog="Example: vidmem bench ingest --json > ingest.json")
def bench_ingest(seed: Seed = 0, quick: Quick = False, as_json: Json = False) -> None:
    """Speed, exactness and memory of watching video."""
    from vidmem.bench import ingest

    _print(ingest.run(seed, quick=quick, progress=console.note), as_json)


@app.command("kv", epilog="Example: vidmem bench kv --json --hours 6 > kv.json")
def bench_kv(seed: Seed = 0, hours: Hours = None, quick: Quick = False, as_json: Json = False) -> None:
    """Exactness, right answers, time to the first token, bytes and speed of KV memory."""
    from vidmem.bench import kv

    _print(kv.run(seed, hours=hours, quick=quick, progress=console.note), as_json)


@app.command("policies", epilog="Example: vidmem bench policies --json > policies.json")
def bench_policies(seed: Seed = 0, quick: Quick = False, as_json: Json = False) -> None:
    """Right answers, bytes and time of every policy of memory, with the same room, on 1, 10 and 60 minutes."""
    from vidmem.bench import policies, policy_table

    result = policies.run(seed, quick=quick, progress=console.note)
    if as_json:
        console.print_json(result)
        return
    console.print_table(policy_table.rows([result]))
    console.print_figures({"figures": policy_table.others(result)})


@app.command("heads", epilog="Example: vidmem bench heads --preset mine.toml")
def bench_heads(
    preset: Annotated[str, typer.Option(help="A preset's name or TOML file.")] = "tiny",
    seed: Seed = 0,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Which heads of a video-LLM look for what a question names: for `heads` in a preset's [kv]."""
    from vidmem.bench import heads

    _print(heads.run(seed, preset=preset, quick=quick, progress=console.note), as_json)


@app.command("track", epilog="Example: vidmem bench track --json --seed 1 > track.json")
def bench_track(
    seed: Seed = 0,
    model: Annotated[
        str | None, typer.Option(help="Folder or hub repository of a SAM 2; by default the embedded one.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(min=40, help="Length of the stream whose memory is watched; 100,000, and few with --quick."),
    ] = None,
    part: Annotated[list[str] | None, _only("parity, speed, peak, exact, sizes, stream or clips")] = None,
    keep: Keep = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """How well objects are followed by each selection of memory; time, memory and exactness of following."""
    from vidmem.bench import track, track_table

    result = track.run(
        seed, model=model, frames=frames, parts=part or track.PARTS, keep=keep, quick=quick, progress=console.note
    )
    if as_json:
        console.print_json(result)
        return
    if len(table := track_table.rows(result)) > 1:
        console.print_table(table)
    console.print_figures({"figures": track_table.others(result)})


@app.command("live", epilog="Example: vidmem bench live --json > live.json")
def bench_live(
    seed: Seed = 0,
    part: Annotated[list[str] | None, _only("steady, overload, losses, asked, killed, day or alerts")] = None,
    keep: Keep = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Watching a camera: how soon and how whole it is in memory, overload, losses, questions meanwhile, kill -9,
    alerts, and a simulated day."""
    from vidmem.bench import live

    _print(live.run(seed, parts=part or live.PARTS, keep=keep, quick=quick, progress=console.note), as_json)


@app.command("page", epilog="Example: vidmem bench page --json > page.json")
def bench_page(
    seed: Seed = 0,
    part: Annotated[list[str] | None, _only("paint, click or beside")] = None,
    keep: Keep = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """The web page in a browser: first paint, clicks on evidence, clicks while a long video is watched."""
    from vidmem.bench import page

    _print(page.run(seed, parts=part or page.PARTS, keep=keep, quick=quick, progress=console.note), as_json)


@app.command("device", epilog="Example: vidmem bench device --json --model qwen2.5-vl-7b > device.json")
def bench_device(
    seed: Seed = 0,
    model: Annotated[
        str | None,
        typer.Option(help="llava-onevision-7b, qwen2.5-vl-7b, qwen3-vl-8b, or tiny; by default all of these sizes."),
    ] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.02, help="Hours of history; 1 by default, and minutes without a GPU.")
    ] = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Speed of ingest and of answers with 7B and 8B models on a GPU; small ones where there is none."""
    from vidmem.bench import device

    _print(device.run(seed, model=model, hours=hours, quick=quick, progress=console.note), as_json)


def _print(result: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.print_json(result)
    else:
        console.print_figures(result)
