"""What every screen of the page is given, and what all screens are made of."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from vidmem.ui.jobs import Jobs
from vidmem.ui.previews import Previews
from vidmem.ui.session import Session

PRIVATE: dict[str, Any] = {"api_visibility": "private"}
"""For every event: no handler of the page is a verb for programs, none is listed in the API or as an MCP tool."""
QUIET: dict[str, Any] = {**PRIVATE, "show_progress": "hidden", "show_progress_on": []}
"""For what runs again and again: nothing flickers. Progress that is shown on nothing is not only hidden: for each turn
of each event Gradio's page makes a copy of what every component holds that ever had some to show."""


TITLES = {
    "library": "Library",
    "watch": "Watch & ask",
    "memory": "Memory",
    "objects": "Objects",
    "live": "Live",
    "batch": "Batch",
    "settings": "Settings",
}
"""What the tabs of the screens are called, in their order."""


@dataclass(frozen=True)
class Shell:
    """The page around the screens. A screen is a module with `lay_out(shell)`, called inside of its own `gr.Tab`."""

    session: Session
    opened: gr.State
    """The `Opened` video of this tab of the browser, or None. Write to it to open another; `.change` tells of it."""
    visit: gr.State
    """The `Visit` of this tab of the browser, the same object in all of its events."""
    going: gr.HTML
    """Write `going_to(screen)` to it to show another screen. Writing to the tabs themselves would do, but then Gradio's
    page makes a copy of what every component of every screen holds: 0.3 s of a quick machine."""
    panes: Mapping[str, gr.Tab]
    """The screens' own tabs, by the same names; `.select` tells that one is shown now."""
    previews: Previews
    """One for all screens with a player: two would write the same copy at the same time."""

    def timer(self, screen: str, seconds: float) -> gr.Timer:
        """A timer that ticks while a screen is shown, and not while another is."""
        timer = gr.Timer(seconds, active=False)
        # In the browser alone: to go from one screen to another asks the server nothing.
        active = f"async () => ({{__type__: 'update', active: await window.vidmem.isShown({screen!r})}})"
        for pane in self.panes.values():
            pane.select(None, None, timer, js=active, **PRIVATE)
        return timer

    def store_menu(self, screen: str, *, elem_id: str) -> gr.Dropdown:
        """A choice among the open stores, which are looked up whenever its screen is shown."""
        menu = gr.Dropdown(self.store_choices(), value=self.session.stores()[0].key, label="Store", elem_id=elem_id)
        self.panes[screen].select(lambda: gr.Dropdown(self.store_choices()), None, menu, **QUIET)
        return menu

    def store_choices(self) -> list[tuple[str, str]]:
        return [(store.name, store.key) for store in self.session.stores()]


def screen_shown() -> gr.HTML:
    """What `going_to` is written to; nothing is seen of it."""
    show = "watch('value', () => props.value && window.vidmem.show(props.value.title));"
    return gr.HTML(None, html_template="", js_on_load=show, elem_id="going")


def going_to(screen: str) -> dict[str, Any]:
    """Show a screen: `library`, `watch`, `memory` ..."""
    return {"title": TITLES[screen], "asked_at": time.monotonic_ns()}


def line(label: str, placeholder: str, button: str, *, elem_id: str, **options: Any) -> gr.Textbox:
    """A field of one line, with a button of its own that submits it."""
    return gr.Textbox(label=label, placeholder=placeholder, submit_btn=button, max_lines=1, elem_id=elem_id, **options)


_CHOOSING = """
element.addEventListener("click", (event) => {
  const there = event.target.closest("[data-choose]");
  if (there && element.contains(there)) trigger("select", { ...there.dataset });
});
"""


def chooser(value: Any = "", *, elem_id: str, script: str = "", **options: Any) -> gr.HTML:
    """HTML whose elements with `data-choose` can be clicked: its `.select` brings their data, see `chosen`.

    `script` is further JavaScript that is run once it is there.
    """
    return gr.HTML(value, js_on_load=_CHOOSING + script, elem_id=elem_id, **options)


def chosen(event: gr.EventData) -> dict[str, str]:
    """The `data-*` of what was clicked in a `chooser`, by their names in camelCase."""
    return {name: str(value) for name, value in event._data.items()}


def change_job(jobs: Jobs, event: gr.EventData) -> None:
    """Do what was clicked of a job: `data-choose` is cancel, again or dismiss, `data-job` its number."""
    told = chosen(event)
    {"cancel": jobs.cancel, "again": jobs.again, "dismiss": jobs.dismiss}[told["choose"]](int(told["job"]))


def failed(message: str) -> str:
    """One sentence about what went wrong, for the place where the person looks."""
    return f'<div class="vm-note vm-failed" role="alert">{escape(message)}</div>' if message else ""


def note(message: str) -> str:
    """One sentence about what goes on."""
    return f'<div class="vm-note" role="status">{escape(message)}</div>' if message else ""


def table(head: Sequence[str], rows: Iterable[str], label: str) -> str:
    """A table of `<tr>` rows that scrolls sideways where it has no room."""
    titles = "".join(f'<th scope="col">{escape(title)}</th>' for title in head)
    return (
        f'<div class="vm-wide" tabindex="0" role="region" aria-label="{escape(label)}"><table class="vm-table">'
        f"<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
