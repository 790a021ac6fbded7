"""The page as an application of Gradio, served on the loopback address."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

# Read once by gradio when it is imported: no call home.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from vidmem.errors import BadInput, NotFound
from vidmem.samples import Sample
from vidmem.samples import samples as shipped_samples
from vidmem.ui.events import Events
from vidmem.ui.layout import lay_out
from vidmem.ui.session import Session

_log = logging.getLogger(__name__)

MAX_UPLOAD = "2gb"
CSS = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def build(session: Session, samples: list[Sample]) -> gr.Blocks:
    """Make the page over one session."""
    with gr.Blocks(title="vidmem", analytics_enabled=False) as blocks:
        Events(lay_out(session.preset, samples), session, samples).connect()
    return blocks


def launch(*, store: Path | None, preset: str | None, port: int = 7860) -> None:
    """Serve the page on this machine's loopback address until interrupted.

    Args:
        store: folder of the store to use; a temporary one that goes with the process if None.
        preset: name or TOML file; None for the one that the store was made with.

    Raises:
        BadInput: the port is taken.
    """
    with serving(store=store, preset=preset, port=port, samples=_shipped()) as address:
        print(f"vidmem is at {address}  (Ctrl-C ends it)", flush=True)
        Event().wait()


@contextmanager
def serving(*, store: Path | None, preset: str | None, port: int, samples: list[Sample]) -> Iterator[str]:
    """Serve the page in a thread while the context lasts; gives its address."""
    with ExitStack() as cleanup:
        folder = store or Path(cleanup.enter_context(TemporaryDirectory(prefix="vidmem-"))) / "page.vidmem"
        folder = folder.resolve()
        session = Session(folder, preset)
        cleanup.callback(session.close)
        page = build(session, samples)
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
                max_file_size=MAX_UPLOAD,
                footer_links=[],
                allowed_paths=[str(folder), *{str(sample.path.parent) for sample in samples}],
                css=CSS,
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
