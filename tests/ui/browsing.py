"""What the tests in a browser share: Chromium, patience, screenshots, and the accessibility check."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vidmem.bench.page_browser import ARGUMENTS, CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

QUIET = (
    *ARGUMENTS,
    "--use-fake-device-for-media-stream",  # a camera that shows a moving pattern, and no question whether it may
    "--use-fake-ui-for-media-stream",
)
PATIENCE_MS = 240_000
"""Long, for a busy machine: nothing here measures time."""
AXE = os.environ.get("VIDMEM_AXE") or None
"""The file axe.min.js of npm's axe-core, where it was fetched: `make test` does where npm is."""
SHOTS = os.environ.get("VIDMEM_SCREENSHOTS") or None
"""A folder that screenshots are kept in."""

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM HERE: the page is not tested (apt-get install chromium)"),
]
needs_axe = pytest.mark.skipif(
    AXE is None, reason="NO AXE: accessibility is NOT CHECKED; `make test` fetches axe-core where npm is"
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def opened(
    browser: Browser, address: str, *, width: int = 1280, height: int = 860, touch: bool = False, dark: bool = False
) -> Iterator[Page]:
    """A page of its own, as of another person. At its end: no script failed, and no other host was asked anything."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=touch, color_scheme="dark" if dark else "light"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    failures: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    try:
        yield page
    finally:
        context.close()
    assert not failures, failures
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []


def shoot(page: Page, name: str) -> None:
    """Keep a screenshot, if somebody wants them."""
    if SHOTS is not None:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def serious(page: Page, where: str) -> list[tuple[str, str]]:
    """What axe finds serious or critical in a part of the page: rule and element."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.add_script_tag(content=Path(str(AXE)).read_text(encoding="utf-8"))
    found = page.evaluate("where => axe.run(where)", where)["violations"]
    return [
        (one["id"], node["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def field(page: Page, elem_id: str) -> Locator:
    """The field of a textbox, once it can be written to."""
    return page.locator(f"#{elem_id} textarea:enabled, #{elem_id} input:enabled").first


def show(page: Page, title: str) -> None:
    """Go to a screen; where the tabs have no room, by their menu."""
    tab = page.locator("#screens [role=tab]:visible").get_by_text(title, exact=True)
    menu = page.locator("#screens .overflow-menu > button:visible")
    tab.or_(menu).first.wait_for()
    page.wait_for_timeout(100)  # a window that just changed its width lays its tabs out once more
    if not tab.count():
        menu.click()
        tab = page.locator("#screens .overflow-dropdown button").get_by_text(title, exact=True)
    tab.first.click()
