"""The page as an application of Gradio, and its server."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

# Read once by gradio when it is imported: no call home.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from vidmem.errors import BadInput, NotFound
from vidmem.samples import Sample
from vidmem.samples import samples as shipped_samples
from vidmem.ui import batch, library, live, memory, objects, settings, watch
from vidmem.ui.access import Access
from vidmem.ui.limits import Limits
from vidmem.ui.previews import Previews
from vidmem.ui.session import Session
from vidmem.ui.shell import QUIET, TITLES, Shell, screen_shown
from vidmem.ui.theme import theme
from vidmem.ui.visits import Visit, Visits

_log = logging.getLogger(__name__)

SCREENS: dict[str, ModuleType] = {
    "library": library,
    "watch": watch,
    "memory": memory,
    "objects": objects,
    "live": live,
    "batch": batch,
    "settings": settings,
}
"""By their ids, in the order of their tabs. Each has `lay_out(shell)`."""
_AT_ONCE = 32
"""Events of one kind that may run at once: an answer that somebody waits for keeps nobody else from asking."""
_HERE = Path(__file__).parent
CSS, JS = (
    "\n".join(path.read_text(encoding="utf-8") for path in sorted((_HERE / folder).iterdir()))
    for folder in ("styles", "scripts")
)


def build(session: Session) -> gr.Blocks:
    """Make the page over what all pages share."""
    with gr.Blocks(title="vidmem", analytics_enabled=False) as blocks:
        opened, visit = gr.State(None), gr.State(Visit())
        going = screen_shown()
        with gr.Tabs(selected="library", elem_id="screens"):
            panes = {
                name: gr.Tab(TITLES[name], id=name, elem_id=f"screen-{name}", render_children=True) for name in SCREENS
            }
        shell = Shell(session, opened, visit, going, panes, Previews(session))
        for name, screen in SCREENS.items():
            with panes[name]:
                screen.lay_out(shell)
        visits = Visits()

        def go_on(name: str, here: Visit, request: gr.Request) -> tuple[Any, Any]:
            """With the visit of a tab that is loaded again."""
            found = visits.go_on(name, here, request.username or "")
            return (gr.skip(), gr.skip()) if found is here else (found, found.opened)

        tab_name = gr.Textbox(visible=False)
        blocks.load(go_on, [tab_name, visit], [visit, opened], js="(_, here) => [window.vidmem.visit(), here]", **QUIET)
    return blocks


def launch(stores: Sequence[Path], *, preset: str | None, access: Access, limits: Limits) -> None:
    """Serve the page until interrupted.

    Args:
        stores: folders of the stores to open; a temporary one that goes with the process if there is none.
        preset: name or TOML file; None for the one that a store was made with.

    Raises:
        BadInput: the port is taken; and as `Session`.
    """
    session = Session(stores, preset=preset, limits=limits, samples=_shipped(), loaded=_stay)
    with serving(session, access) as address:
        _stay()
        print(f"vidmem is at {address}  (Ctrl-C ends it)", flush=True)
        Event().wait()


def _stay() -> None:
    """Have the collector of cycles pass over all that is there by now, for good: to look through it takes half a
    second, for which all threads wait."""
    gc.collect()
    gc.freeze()


@contextmanager
def serving(session: Session, access: Access) -> Iterator[str]:
    """Serve the page in a thread while the context lasts; gives its address. Closes the session."""
    with ExitStack() as cleanup:
        cleanup.callback(session.close)
        page = build(session)
        cleanup.callback(page.close)
        try:
            _, address, shared = page.queue(default_concurrency_limit=_AT_ONCE, api_open=False).launch(
                server_name=access.host,
                server_port=access.port,
                auth=access.lets_in if access.passwords is not None else None,
                share=access.share,
                prevent_thread_lock=True,
                quiet=True,
                enable_monitoring=False,
                mcp_server=False,
                run_history=False,
                ssr_mode=False,
                pwa=False,
                max_file_size=session.limits.max_bytes,
                footer_links=[],
                allowed_paths=session.served,
                theme=theme(),
                css=CSS,
                head=f"<script>{JS}</script>",
            )
        except OSError as error:
            raise BadInput(f"port {access.port} of this machine is taken: choose another with --port") from error
        yield shared or address


def _shipped() -> list[Sample]:
    try:
        return shipped_samples()
    except NotFound as error:
        _log.warning("%s", error)
        return []
