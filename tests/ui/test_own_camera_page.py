"""Live in a real browser: the browser's own camera, a moving pattern that Chromium makes up, is watched and stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from app_page import serving
from browsing import needs_browser, opened, shoot, show

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [*needs_browser, pytest.mark.timeout(900)]  # minutes where others use the machine too


def test_the_browsers_own_camera_is_watched_as_long_as_a_person_wants(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path, []) as served, opened(browser, served.address) as page:
        show(page, "Live")
        page.get_by_role("button", name="This browser's camera").click()
        page.get_by_role("button", name="Watch with this camera").click()
        page.locator("#live-said [role=status]", has_text="Switch the camera on").wait_for()
        page.locator("#live-camera").get_by_role("button", name="Click to Access Webcam").click()
        page.wait_for_function("document.querySelector('#live-camera video')?.videoWidth > 0")
        page.locator("#live-camera").get_by_role("button", name="capture photo").click()  # says Record
        card = page.locator("#live .lv-stream", has_text="Browser camera")
        card.wait_for()
        page.locator("#live-said [role=status]").wait_for(state="detached")
        facts = card.locator(".lv-facts > div")
        facts.filter(has_text="Pictures in").locator("dd", has_text=re.compile("[1-9]")).wait_for()
        facts.filter(has_text="Size").locator("dd", has_text="640 x 480").wait_for()
        page.wait_for_function("document.querySelector('#live .lv-picture img')?.naturalWidth > 0")
        shoot(page, "live-own-camera")
        card.get_by_role("button", name="Stop: ").click()
        page.locator("#live .lv-over", has_text="what was seen stays in memory").wait_for()
        (video,) = served.session.stores()[0].videos()
        assert video.num_frames > 0 and video.source.startswith("pushed:Browser camera")
