"""Standing questions on the command line: asked of what is watched, listed, removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from vidmem import console
from vidmem.errors import BadInput
from vidmem.verbs import Json, StorePath, tell, verbs

if TYPE_CHECKING:
    from vidmem.pipelines import StoredAlert, Then, Told, VideoMemory

app = verbs("Standing questions.")

Alerts = Annotated[
    list[str] | None, typer.Option("--alert", metavar="TEXT", help='Say when it happens: "a dog appears"; repeatable.')
]
Exec = Annotated[
    str | None, typer.Option("--exec", metavar="COMMAND", help="Run it for each alert, with that as JSON on its input.")
]
WebhookUrl = Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Post each alert there as JSON.")]
_TOLD_SHOWN = 3


def checked(texts: Sequence[str] | None, command: str | None, webhook: str | None) -> list[Then]:
    """Who is told of alerts. Raises BadInput, also for a question that names nothing."""
    if not texts and command is None and webhook is None:
        return []
    from vidmem.pipelines import Command, Webhook
    from vidmem.pipelines.alert_words import read_alert

    for text in texts or ():
        read_alert(text)
    found: list[Then] = [] if command is None else [Command.of(command)]
    return found if webhook is None else [*found, Webhook.of(webhook)]


def ask(memories: Iterable[VideoMemory], texts: Sequence[str], listeners: Sequence[Then]) -> None:
    """Put standing questions to stores, before what is watched begins. Raises BadInput if nobody asks for anything."""
    for memory in memories:
        for text in texts:
            memory.alert(text)
        if listeners and all(alert.is_done for alert in memory.alerts()):
            raise BadInput("--exec and --webhook tell of alerts, and there are none: ask for one with --alert.")


@app.command(epilog="Example: vidmem alerts door.vidmem --remove 3")
def alerts(
    store: StorePath,
    remove: Annotated[int | None, typer.Option("--remove", metavar="ID", help="Take this one out of STORE.")] = None,
    as_json: Json = False,
) -> None:
    """List the standing questions of STORE and the latest that each was told, or remove one with all that.

    They are asked with `vidmem watch --alert`. In Python: `vidmem.open(store).alerts()`. Needs none of the store's
    models.
    """
    from vidmem.pipelines import open_store

    with open_store(store, read_only=remove is None) as memory:
        tell(memory)
        if remove is not None:
            removed = memory.remove_alert(remove)
            console.print_json({"store": store, "removed": removed}) if as_json else console.say(
                f"removed: {removed.text}"
            )
            return
        asked = memory.alerts()
        told = {alert.alert_id: memory.told(alert.alert_id, limit=100 if as_json else _TOLD_SHOWN) for alert in asked}
    if as_json:
        console.print_json([{**console.plain(alert), "latest": told[alert.alert_id]} for alert in asked])
    elif asked:
        for alert in asked:
            _print_alert(alert, told[alert.alert_id])
    else:
        console.say("Nothing is asked: `vidmem watch ADDRESS --store STORE --alert TEXT` does.")


def _print_alert(alert: StoredAlert, told: Sequence[Told]) -> None:
    """Id, words, how often it was told, who asked when; and under it the latest that it was told, with its picture."""
    asked_at = datetime.fromisoformat(alert.asked_at)
    state = "answered" if alert.is_done else f"told {alert.told} times" if alert.told != 1 else "told once"
    of = f", of {alert.source}" if alert.source else ""
    by = f" by {alert.asked_by}" if alert.asked_by else ""
    console.say(f"{alert.alert_id:>4}  {alert.text}  ({state}; asked {asked_at:%Y-%m-%d %H:%M:%S}{by}{of})")
    for one in told:
        console.say(f"      {one.message}  {one.evidence.thumbnail or '(no picture)'}")
