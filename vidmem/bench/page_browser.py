"""Persons who use the web page in a headless Chromium, by playwright: what they wait for is timed in the browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vidmem.errors import VidmemError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
_PATIENCE_MS = 600_000
_PAUSE_MS = 700
"""Between two clicks of a person in a hurry."""
_SERVED = "vidmem is at "
_AT_BEGIN = """
window.nextFrame = (begun) => {
  if (performance.now() - begun > 120000) throw new Error("what was clicked for did not come in two minutes");
  return new Promise(requestAnimationFrame);
};
new MutationObserver(() => {
  if (!window.usable && document.querySelector(".vm-card .vm-open")) window.usable = performance.now() / 1000;
}).observe(document, { childList: true, subtree: true });
"""
_CLICK_UNTIL = """
async ([click, until]) => {
  const [find, isSo] = [click, until].map((said) => new Function("return " + said));
  const begun = performance.now();
  find().click();
  while (!isSo()) await nextFrame(begun);
  return (performance.now() - begun) / 1000;
}
"""
_SEEK = """
async ([number, away]) => {
  const video = document.querySelector("#player video");
  const chips = document.querySelectorAll("#talk .vm-chip");
  const chip = chips[number % chips.length], there = Number(chip.dataset.seek);
  const is = (at) => !video.seeking && video.readyState >= 2 && Math.abs(video.currentTime - at) < 0.01;
  video.pause();
  video.currentTime = away;
  const left = performance.now();
  while (!is(away)) await nextFrame(left);
  const begun = performance.now();
  chip.click();
  while (!is(there)) await nextFrame(begun);
  return (performance.now() - begun) / 1000;
}
"""
_ASK_ON = """
(questions) => {
  const box = () => document.querySelector("#question textarea:enabled, #question input:enabled");
  const turns = () => document.querySelectorAll("#talk .vm-turn").length;
  const until = async (isSo) => { while (!isSo()) await new Promise((again) => setTimeout(again, 100)); };
  (async () => {
    for (let number = 0; ; number++) {
      await until(box);
      const before = turns();
      const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(box()), "value").set;
      set.call(box(), questions[number % questions.length]);
      box().dispatchEvent(new Event("input", { bubbles: true }));
      box().dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
      box().dispatchEvent(new KeyboardEvent("keypress", { key: "Enter", bubbles: true }));
      await until(() => turns() > before);
    }
  })();
}
"""


def missing() -> str | None:
    """What is not here for a browser to be used; None if all is."""
    if find_spec("playwright") is None:
        return "no playwright here: pip install 'vidmem[test]'"
    return None if CHROMIUM else "no Chromium here: apt-get install chromium"


@contextmanager
def served(store: Path, root: Path, preset: str) -> Iterator[str]:
    """`vidmem ui` in a process of its own: its address. Raises VidmemError with what it said if it does not begin."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vidmem.cli", "ui", str(store), "--preset", preset, "--root", str(root)]
    # Terminated it leaves its temporary files: they go with the root.
    beside = {**os.environ, "TMPDIR": str(root)}
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True, env=beside) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith(_SERVED):
                raise VidmemError(f"vidmem ui did not begin at port {port}: it said {line!r}")
            yield line.removeprefix(_SERVED).split()[0]
        finally:
            process.terminate()


class Chromium:
    """A browser, and the persons who use it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @contextmanager
    def person(self, address: str) -> Iterator[Person]:
        """Somebody who opens the page for the first time."""
        context = self._browser.new_context(viewport={"width": 1280, "height": 860})
        context.add_init_script(_AT_BEGIN)
        page = context.new_page()
        page.set_default_timeout(_PATIENCE_MS)
        page.goto(address)
        page.wait_for_function("window.usable")
        try:
            yield Person(page)
        finally:
            context.close()


@contextmanager
def chromium() -> Iterator[Chromium]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        try:
            yield Chromium(browser)
        finally:
            browser.close()


class Person:
    """Somebody at the page. Times are in seconds."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def painted_after(self) -> float:
        """From when the address was asked for until something was seen."""
        script = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
        return float(self._page.evaluate(script))

    def usable_after(self) -> float:
        """The same until the store's videos were there to be clicked."""
        return float(self._page.evaluate("window.usable"))

    def show(self, title: str) -> float:
        """Go to a screen, and see it."""
        tabs = "[...document.querySelectorAll('#screens button[role=tab], #screens .overflow-dropdown button')]"
        tab = f"{tabs}.find((one) => one.textContent.trim() === {title!r})"
        return self._click(tab, f"{tab}.getAttribute('aria-selected') === 'true'")

    def open(self, name: str) -> float:
        """Open a video of the Library, until its name stands over the player."""
        self.show("Library")
        card = f"[...document.querySelectorAll('.vm-card .vm-open')].find((one) => one.textContent.includes({name!r}))"
        return self._click(card, f"document.querySelector('#opened')?.textContent.includes({name!r})")

    def bring(self, video: Path) -> None:
        """Bring a file into the store, by its path."""
        self.show("Library")
        place = self._page.locator("#place textarea:enabled, #place input:enabled").first
        place.fill(str(video))
        place.press("Enter")
        self._page.locator("#opened", has_text=video.name).wait_for()

    def is_watching(self) -> bool:
        """Whether the open video is not yet watched to its end. Raises VidmemError if that, or an answer, failed."""
        if (failed := self._page.locator("#status [role=alert], #answer [role=alert]")).count():
            raise VidmemError(failed.first.inner_text())
        return self._page.locator("#status .vm-done").count() == 0

    def ask(self, question: str) -> None:
        """Ask about the open video, and read the whole answer."""
        before = self.answers()
        box = self._page.locator("#question textarea:enabled, #question input:enabled").first
        box.fill(question)
        box.press("Enter")
        self._page.locator("#talk .vm-turn").nth(before).wait_for()

    def ask_on(self, questions: Sequence[str]) -> None:
        """From now on ask one after the other, as soon as the last is answered."""
        self._page.evaluate(_ASK_ON, list(questions))

    def answers(self) -> int:
        return self._page.locator("#talk .vm-turn").count()

    def seek_by_evidence(self, number: int, away: float) -> float:
        """Click a chip of evidence, by its number, from `away` seconds: until the player shows that moment."""
        return float(self._page.evaluate(_SEEK, [number, away]))

    def _click(self, click: str, until: str) -> float:
        """Click what one expression finds, a moment after the last click, and wait until another one holds."""
        self._page.wait_for_timeout(_PAUSE_MS)
        return float(self._page.evaluate(_CLICK_UNTIL, [click, until]))
