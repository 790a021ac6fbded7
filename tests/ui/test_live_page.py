"""Live in a real browser: a camera on the loopback is watched, judged, asked about, told of and stopped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from app_page import Served, serving
from browsing import field, needs_axe, needs_browser, opened, serious, shoot, show
from camera import need_gstreamer

from vidmem.bench.live_camera import Camera
from vidmem.world.counted import counted_video
from vidmem.world.script import Script, ScriptConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [*needs_browser, pytest.mark.timeout(900)]  # minutes where others use the machine too

SEED, SECONDS = 3, 60
THING = "drum"
"""What comes, and stays for long, in each round of the camera's minute: below the numbers in its pictures, so that the
embedded models see all of it."""
WELL = "#live .lv-good, #live .lv-warning"
"""A stream that is received; on a busy machine later than it should be."""
FACT = "#live .lv-facts > div"


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    need_gstreamer()
    stays = [stay.span for stay in Script(ScriptConfig(seed=SEED, duration=SECONDS)).stays() if stay.thing == THING]
    assert len(stays) == 2 and all(stay.seconds > 6 for stay in stays)
    with Camera(counted_video(tmp_path_factory.mktemp("live") / "counted.mp4", seconds=SECONDS, seed=SEED)) as camera:
        yield camera


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("page"), [], allow_private=True) as served:
        yield served


@pytest.fixture(scope="module")
def watched(browser: Browser, served: Served, camera: Camera) -> Iterator[Page]:
    """The screen, with the camera watched by what is typed there, and something of it in memory."""
    with opened(browser, served.address) as page:
        show(page, "Live")
        page.locator("#live .lv-none").wait_for()
        address = field(page, "live-address")
        address.fill(camera.url)
        address.press("Enter")
        page.locator(WELL).wait_for()
        field(page, "live-question").wait_for()
        yield page


@pytest.fixture
def page(watched: Page) -> Page:
    watched.set_viewport_size({"width": 1280, "height": 860})
    show(watched, "Live")
    return watched


def number(page: Page, fact: str) -> float:
    """The number that begins what the health panel says under a name."""
    said = page.locator(FACT, has_text=fact).locator("dd").inner_text()
    return float(said.split()[0].replace(",", ""))


def test_the_health_panel_moves_with_the_stream(page: Page, camera: Camera) -> None:
    card = page.locator("#live .lv-stream")
    assert card.locator("h3").inner_text() == camera.url
    page.locator(FACT, has_text="Pictures in").locator("dd", has_text=re.compile("[1-9]")).wait_for()
    assert card.locator(".lv-facts", has_text="320 x 180").count() == 1
    page.wait_for_function("document.querySelector('#live .lv-picture img')?.naturalWidth > 0")
    seen = card.locator(".lv-seen").inner_text()
    page.wait_for_function("seen => document.querySelector('#live .lv-seen').textContent !== seen", arg=seen)
    shoot(page, "live")


def test_it_is_asked_about_while_it_runs_and_its_evidence_leads_to_the_player(page: Page) -> None:
    box = field(page, "live-question")
    box.fill(f"When did the {THING} appear?")
    box.press("Enter")
    page.locator("#live-answer .vm-read").wait_for()
    page.locator(WELL).wait_for()  # it goes on meanwhile
    page.locator("#live-answer .vm-read summary").click()
    there = page.locator("#live-answer .vm-frames button").first
    seconds = float(str(there.get_attribute("data-seek")))
    there.click()
    page.locator("#opened", has_text="camera").wait_for()
    page.wait_for_function(
        "at => [document.querySelector('#player video')].some((one) => one?.readyState > 0 && one.currentTime === at)",
        arg=seconds,
    )
    page.locator("#talk .vm-asked", has_text=THING).wait_for()  # it is one conversation with that beside the player


def test_what_is_asked_for_is_told_with_its_picture_and_asked_for_no_more_once_it_is_removed(page: Page) -> None:
    box = field(page, "live-alert")
    box.fill("?")
    box.press("Enter")
    page.locator("#live-said [role=alert]", has_text="names nothing to look for").wait_for()
    box.fill(f"a {THING} appears")
    box.press("Enter")
    alert = page.locator("#live .lv-alerts li", has_text=f"a {THING} appears")
    told = alert.get_by_role("button", name="See it:")
    told.first.wait_for()
    assert f"A {THING} appeared at" in told.first.inner_text()
    page.wait_for_function("document.querySelector('#live .lv-told img')?.naturalWidth > 0")
    told.first.scroll_into_view_if_needed()
    shoot(page, "live-alert")
    seconds = float(str(told.first.get_attribute("data-seek")))
    told.first.click()
    page.locator("#player video").wait_for()
    # What the player shows of a stream may not reach so far yet: it does then.
    page.wait_for_function("at => document.querySelector('#player video').currentTime === at", arg=seconds)
    show(page, "Live")
    alert.get_by_role("button", name="Remove the alert").click()
    alert.wait_for(state="detached")


@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_as_wide_as_the_window_and_no_wider(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 860})
    page.wait_for_function("width => document.documentElement.clientWidth <= width", arg=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shoot(page, f"live-{width}")


@needs_axe
@pytest.mark.parametrize("look", ["Dark", "Light"])
def test_axe_finds_nothing_serious(page: Page, look: str) -> None:
    show(page, "Settings")
    page.get_by_role("button", name=look, exact=True).click()
    show(page, "Live")
    page.locator("#live .lv-stream").wait_for()
    shoot(page, f"live-{look.lower()}")
    assert serious(page, "#screens") == []


def test_what_can_not_be_reached_is_said_and_tried_again(page: Page) -> None:
    address = field(page, "live-address")
    address.fill("rtsp://127.0.0.1:9/nobody")
    address.press("Enter")
    failed = page.locator("#live .lv-job[role=alert]")
    failed.wait_for()
    assert "refused the connection" in failed.inner_text()
    failed.get_by_role("button", name="Dismiss").click()
    failed.wait_for(state="detached")


def test_a_camera_that_is_lost_and_back_is_said(page: Page, camera: Camera) -> None:
    page.locator(WELL).wait_for()
    before = number(page, "Lost and back")
    camera.kill()
    page.locator("#live .lv-bad", has_text="Lost").wait_for()
    camera.start()
    page.locator(WELL).wait_for()
    assert number(page, "Lost and back") > before


def test_it_is_stopped_and_put_away_by_keys(page: Page, served: Served) -> None:
    page.get_by_role("button", name="Stop: rtsp://").focus()
    page.keyboard.press("Enter")
    page.locator("#live .lv-over", has_text="what was seen stays in memory").wait_for()
    away = page.get_by_role("button", name="Put away: rtsp://")
    away.focus()
    page.keyboard.press("Enter")
    page.locator("#live .lv-none").wait_for()
    (video,) = served.session.stores()[0].videos()
    assert video.num_frames > 0
