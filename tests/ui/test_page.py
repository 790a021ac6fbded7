"""The page in a real browser, over the embedded models: watch, ask, click the evidence, hear about a bad file."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vidmem.samples import Sample
from vidmem.world.video import render_file

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 120_000
"""Long, for a busy machine: nothing here measures time."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM HERE: the page is not tested (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    video = tmp_path_factory.mktemp("samples") / "street.mp4"
    render_file(video, seed=5_000_000_011, duration=24, fps=10)
    return Sample(video, 24.0, ("When did the burger appear?", "Was there a dog?", "What was there at 00:03?"))


@pytest.fixture(scope="module")
def address(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from vidmem.ui.app import serving

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = tmp_path_factory.mktemp("page") / "page.vidmem"
    with serving(store=store, preset="tiny", port=port, samples=[sample]) as address:
        yield address


@pytest.fixture
def page(address: str) -> Iterator[Page]:
    """A fresh page, and at its end the assurance that it asked nothing of any other host."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(PATIENCE_MS)
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url))
        page.goto(address)
        yield page
        browser.close()
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []


def test_watch_a_sample_ask_and_jump_to_the_evidence(page: Page, tmp_path: Path) -> None:
    page.locator("#sample label").first.click()
    page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    page.locator("#watch").click()
    page.wait_for_selector("#status .vm-ready")
    question = page.locator("#question textarea:enabled, #question input:enabled").first
    question.fill("When did the burger appear?")
    question.press("Enter")
    frames = page.locator("#evidence button:has(img)")
    frames.first.wait_for()
    assert page.locator("#answer .vm-answer").inner_text().strip()
    page.screenshot(path=os.environ.get("VIDMEM_SCREENSHOT", tmp_path / "page.png"))

    last = frames.nth(frames.count() - 1)
    minutes, seconds = last.inner_text().strip().split("-")[0].split(":")
    start = int(minutes) * 60 + int(seconds)
    page.evaluate("document.querySelector('#player video').currentTime = 23.5")
    last.click()
    page.wait_for_function(
        "start => Math.floor(document.querySelector('#player video').currentTime) === start",
        arg=start,
    )


def test_a_file_that_is_no_video_gets_one_sentence(page: Page, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_text("this is a letter, not a video\n" * 40)
    page.locator("#upload input[type=file], input[type=file]#upload, input[type=file]").first.set_input_files(fake)
    page.wait_for_selector("#watch:enabled")
    page.locator("#watch").click()
    said = page.locator("#status [role=alert]")
    said.wait_for()
    assert "fake.mp4" in said.inner_text() and "Traceback" not in said.inner_text()
