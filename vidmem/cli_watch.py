"""The verb that watches cameras."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from vidmem import cli_alerts, console
from vidmem.cli_retention import KeepAll, KeepBytes, KeepDays, KeepImportantDays, retention_of
from vidmem.errors import BadInput
from vidmem.verbs import Preset, verbs, writing, writing_beside

app = verbs("Cameras.")


@app.command(epilog="Example: vidmem watch rtsp://camera.local/stream --store door.vidmem --fps 2")
def watch(
    addresses: Annotated[
        list[str],
        typer.Argument(
            metavar="ADDRESS...", help="rtsp://, rtmp://, http(s)://, webcam:0, or a file, at its own pace."
        ),
    ],
    store: Annotated[list[Path], typer.Option("--store", "-s", help="The store's folder; one for each address.")],
    preset: Preset = None,
    fps: Annotated[float, typer.Option(min=0.001, help="Frames to look at in a second.")] = 1.0,
    policy: Annotated[
        Literal["drop-oldest", "adaptive-fps", "block"], typer.Option(help="While frames come faster than that goes.")
    ] = "drop-oldest",
    transport: Annotated[Literal["tcp", "udp"], typer.Option(help="Of RTSP.")] = "tcp",
    user: Annotated[
        str | None, typer.Option(help="For the server; the password is taken from VIDMEM_PASSWORD.")
    ] = None,
    speed: Annotated[float, typer.Option(min=0.001, help="Of a file, times its own pace.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Of a file: again and again.")] = False,
    objects: Annotated[
        bool, typer.Option("--objects", help="Find and follow objects, too, every half minute.")
    ] = False,
    keep_days: KeepDays = None,
    keep_bytes: KeepBytes = None,
    keep_important_days: KeepImportantDays = None,
    keep_all: KeepAll = False,
    alert: cli_alerts.Alerts = None,
    command: cli_alerts.Exec = None,
    webhook: cli_alerts.WebhookUrl = None,
    service: Annotated[bool, typer.Option("--service", help="Under a supervisor: a line of health each 10 s.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON each second.")] = False,
) -> None:
    """Watch cameras and keep them, until Ctrl-C or SIGTERM. In Python: `vidmem.open(store).watch(address)`.

    A stream that is lost is connected to again, for ever, and the time between is a gap. The same address watched into
    the same store again goes on with the same video. Ask the store meanwhile with `vidmem ask`.

    What --alert asks for, such as "a dog appears" or "tell me when the cup is gone", is told when it happens, and stays
    in the store for the next watch; `vidmem alerts STORE` lists it. --exec and --webhook get each alert as JSON, and
    are not kept in the store.

    Exit code 0 if it was told to stop, or a file or recording was over; else that of the error: 2 bad input, 3 nothing
    answers, 5 no such camera or file.
    """
    from vidmem import panel

    if len(addresses) != len(store):
        raise BadInput(f"{len(addresses)} addresses need as many stores: give --store {len(addresses)} times.")
    if len({one.resolve() for one in store}) != len(store):
        raise BadInput("Each camera needs a store of its own: give each --store another folder.")
    listeners = cli_alerts.checked(alert, command, webhook)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    password = os.environ.get("VIDMEM_PASSWORD") if user is not None else None
    options = {
        "fps": fps, "policy": policy, "transport": transport, "speed": speed, "loop": loop, "objects": objects
    }  # fmt: skip
    keep = retention_of(keep_days, keep_bytes, keep_important_days, keeps_all=keep_all)
    screen = panel.json_lines if as_json else panel.lines if service or not sys.stdout.isatty() else panel.panel
    with ExitStack() as stack:
        first = stack.enter_context(writing(store[0], preset))
        memories = [first, *(stack.enter_context(writing_beside(first, one)) for one in store[1:])]
        cli_alerts.ask(memories, alert or [], listeners)
        watches = {
            memory.path: memory.watch(address, user=user, password=password, keep=keep, **options)  # type: ignore[arg-type]
            for memory, address in zip(memories, addresses, strict=True)
        }
        for one, then in product(watches.values(), listeners):
            one.listen(then)
        stop = stack.enter_context(panel.told_to_stop())
        with screen() as (show, every):
            has_ended = panel.follow(watches, show, every, stop)
        if not has_ended:
            console.note("vidmem: ended in the middle of a clip; what was committed stays in the store")
            _leave()  # a model can't be interrupted
    if stop.is_set():
        _leave()  # Python takes a second and more to put torch away


def _leave() -> NoReturn:
    """End the process now. What it has to keep must be on the disk."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
