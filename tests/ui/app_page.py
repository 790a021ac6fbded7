"""The whole page over the embedded models, with one sample that was rendered for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from browsing import field, free_port, show

from vidmem.samples import Sample
from vidmem.ui.access import Access
from vidmem.ui.limits import Limits
from vidmem.ui.session import Session
from vidmem.world.video import render_file

if TYPE_CHECKING:
    from playwright.sync_api import Page

SEED = 5_000_000_011
QUESTIONS = ("When did the burger appear?", "Was there a dog?", "What was there at 00:03?")


@dataclass(frozen=True)
class Served:
    address: str
    session: Session
    root: Path
    """The folder in which paths may be named."""


def rendered(folder: Path) -> Sample:
    video = folder / "street.mp4"
    render_file(video, seed=SEED, duration=24, fps=10)
    return Sample(video, 24.0, QUESTIONS)


@contextmanager
def serving(
    root: Path,
    samples: Sequence[Sample],
    *,
    preset: str = "tiny",
    passwords: dict[str, str] | None = None,
    max_bytes: int = 10**8,
    allow_private: bool = False,
) -> Iterator[Served]:
    limits = Limits((root,), max_bytes=max_bytes, allow_private=allow_private)
    session = Session([root / "page.vidmem"], preset=preset, limits=limits, samples=samples)
    from vidmem.ui.app import serving as served

    with served(session, Access(port=free_port(), passwords=passwords)) as address:
        yield Served(address, session, root)


def open_sample(page: Page) -> None:
    """From the Library, the first sample into the player, watched as far as needed to ask."""
    page.locator("#samples button").first.click()
    page.locator("#opened", has_text="street.mp4").wait_for()
    page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    field(page, "question").wait_for()


def ask(page: Page, question: str) -> None:
    """Ask, and wait for the whole answer."""
    before = page.locator("#talk .vm-turn").count()
    box = field(page, "question")
    box.fill(question)
    box.press("Enter")
    page.locator("#talk .vm-turn").nth(before).wait_for()


def add(page: Page, place: str) -> None:
    """Type a path or web address into the Library."""
    show(page, "Library")
    box = field(page, "place")
    box.fill(place)
    box.press("Enter")


def now(page: Page) -> float:
    return float(page.evaluate("document.querySelector('#player video').currentTime"))
