"""The page as an application of Gradio, served on the loopback address."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from types import ModuleType

# Read once by gradio when it is imported: no call home.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from vidmem.errors import BadInput, NotFound
from vidmem.samples import Sample
from vidmem.samples import samples as shipped_samples
from vidmem.ui import library, watch
from vidmem.ui.limits import Limits
from vidmem.ui.session import Session
from vidmem.ui.shell import TITLES, Shell

_log = logging.getLogger(__name__)

SCREENS: dict[str, ModuleType] = {"library": library, "watch": watch}
"""By their ids, in the order of their tabs. Each has `lay_out(shell)`."""
_HERE = Path(__file__).parent
CSS, JS = (
    "\n".join(path.read_text(encoding="utf-8") for path in sorted((_HERE / folder).iterdir()))
    for folder in ("styles", "scripts")
)


def build(session: Session) -> gr.Blocks:
    """Make the page over what all pages share."""
    with gr.Blocks(title="vidmem", analytics_enabled=False) as blocks:
        opened = gr.State(None)
        with gr.Tabs(selected="library", elem_id="screens") as tabs:
            panes = {name: gr.Tab(TITLES[name], id=name, render_children=True) for name in SCREENS}
        shell = Shell(session, opened, tabs, panes)
        for name, screen in SCREENS.items():
            with panes[name]:
                screen.lay_out(shell)
    return blocks


def launch(*, stores: Sequence[Path], preset: str | None, port: int = 7860) -> None:
    """Serve the page on this machine's loopback address until interrupted.

    Args:
        stores: folders of the stores to open; a temporary one that goes with the process if there is none.
        preset: name or TOML file; None for the one that a store was made with.

    Raises:
        BadInput: the port is taken.
    """
    session = Session(stores, preset=preset, limits=Limits(), samples=_shipped())
    with serving(session, port=port) as address:
        print(f"vidmem is at {address}  (Ctrl-C ends it)", flush=True)
        Event().wait()


@contextmanager
def serving(session: Session, *, port: int) -> Iterator[str]:
    """Serve the page in a thread while the context lasts; gives its address. Closes the session."""
    with ExitStack() as cleanup:
        cleanup.callback(session.close)
        page = build(session)
        cleanup.callback(page.close)
        try:
            _, address, _ = page.queue().launch(
                server_name="127.0.0.1",
                server_port=port,
                share=False,
                prevent_thread_lock=True,
                quiet=True,
                enable_monitoring=False,
                run_history=False,
                ssr_mode=False,
                max_file_size=session.limits.max_bytes,
                footer_links=[],
                allowed_paths=session.served,
                css=CSS,
                head=f"<script>{JS}</script>",
            )
        except OSError as error:
            raise BadInput(f"port {port} of this machine is taken: choose another with --port") from error
        yield address


def _shipped() -> list[Sample]:
    try:
        return shipped_samples()
    except NotFound as error:
        _log.warning("%s", error)
        return []
