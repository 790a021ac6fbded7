"""The screens Memory, Objects and Live of the whole page, over a real store with the embedded models, in a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import browsing
import pytest
from browsing import field, needs_axe, needs_browser, serious, shoot, show
from views_world import World, made, page_over

from vidmem.ui.session import Session
from vidmem.world.video import render_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_browser

SCREENS = {"Memory": "#memory .ts-one", "Objects": "#objects .ov-one", "Live": "#live .lv-none, #live .lv-stream"}
"""By their titles, what is there once they have something to show."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return made(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def served(world: World) -> Iterator[tuple[str, Session]]:
    with page_over(world) as served:
        yield served


@pytest.fixture(scope="module")
def opened(browser: Browser, served: tuple[str, Session]) -> Iterator[Page]:
    """One page for all tests: what takes longest is its beginning. An error in a script fails the last of them."""
    with browsing.opened(browser, served[0]) as page:
        yield page


@pytest.fixture
def page(opened: Page) -> Page:
    """The page with the world's video open."""
    opened.set_viewport_size({"width": 1280, "height": 860})
    open_video(opened, "street.mp4")
    return opened


def open_video(page: Page, name: str) -> None:
    show(page, "Library")
    page.locator("#videos [data-choose]").filter(has_text=name).first.click()
    page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    page.locator("#opened h2").filter(has_text=name).wait_for()


def test_memory_shows_the_open_videos_stores_and_a_click_goes_to_the_frame(
    page: Page, served: tuple[str, Session], world: World
) -> None:
    show(page, "Memory")
    held = page.locator("#memory .ts-long-term .ts-held .ts-one")
    held.first.wait_for()
    (store,) = [one for one in served[1].stores() if one.path == world.store]
    with store.look() as memory:
        contents = memory.contents(world.video_id)
    assert held.count() == len(contents.long_term) and contents.policy in page.locator(".ts-name").inner_text()
    page.wait_for_function("document.querySelector('.ts-long-term .ts-one img')?.naturalWidth > 0")
    wanted = contents.long_term[-1].shown_at
    held.last.click()
    page.wait_for_function("at => document.querySelector('#player video').currentTime === at", arg=wanted)
    page.locator("#player video").wait_for(state="visible")


def test_memory_fills_while_a_video_is_watched(
    page: Page, served: tuple[str, Session], world: World, tmp_path: Path
) -> None:
    session = served[1]
    long = tmp_path / "later.mp4"
    render_file(long, seed=11, duration=150, fps=4, size=(160, 90))
    store = next(one for one in session.stores() if one.path == world.store)
    job = session.ingest(store, long)
    open_video(page, "later.mp4")
    show(page, "Memory")
    page.locator("#memory .ts-working .ts-one").first.wait_for()
    page.evaluate(
        "window.told = []; new MutationObserver(() => {"
        " const now = document.querySelector('.ts-arrow span').textContent;"
        " if (window.told.at(-1) !== now) window.told.push(now); })"
        ".observe(document.querySelector('#memory'), { subtree: true, childList: true, characterData: true })"
    )
    job.result(300)
    page.wait_for_function("document.querySelector('.ts-arrow span').textContent.startsWith('150 frames')")
    seen = page.evaluate("window.told.map((one) => Number.parseInt(one))")
    assert seen == sorted(seen) and seen[-1] == 150
    page.wait_for_function("!document.querySelector('#memory-said .vm-note')")


def test_memory_tells_what_a_question_has_used(page: Page) -> None:
    show(page, "Memory")
    page.locator("#memory .ts-one").first.wait_for()
    before = page.locator(".ts-long-term .ts-note").inner_text()
    show(page, "Watch & ask")
    asked = field(page, "question")
    asked.fill("What was there at 00:05?")
    asked.press("Enter")
    page.locator("[data-seek]").first.wait_for()
    show(page, "Memory")
    page.wait_for_function("document.querySelector('.ts-long-term .ts-note').textContent.includes('were of use')")
    assert "ask something" in before or "were of use" in before


def test_boxes_lie_over_the_player_where_the_object_is(page: Page, served: tuple[str, Session], world: World) -> None:
    show(page, "Objects")
    page.locator("#objects .ov-one").nth(1).wait_for()
    page.wait_for_function("document.querySelector('#objects-player video')?.readyState >= 1")
    page.get_by_role("button", name="Show panda at").first.click()
    box = page.locator("#objects-player .ov-box").filter(has_text="panda")
    box.wait_for()
    store = next(one for one in served[1].stores() if one.path == world.store)
    with store.look() as memory:
        track = memory.track_of(world.objects["panda"])
    for seconds in (12.0, 16.4):
        page.evaluate(f"document.querySelector('#objects-player video').currentTime = {seconds + 0.02}")
        page.wait_for_function(
            "at => { const v = document.querySelector('#objects-player video');"
            " return !v.seeking && Math.abs(v.currentTime - at) < 0.1; }",
            arg=seconds,
        )
        place = int(abs(track.seconds - seconds).argmin())
        frame, drawn = page.locator("#objects-player video").bounding_box(), box.bounding_box()
        assert frame is not None and drawn is not None
        left, top, right, bottom = (float(side) for side in track.boxes[place])
        assert drawn["x"] - frame["x"] == pytest.approx(left * frame["width"], abs=6)
        assert drawn["width"] == pytest.approx((right - left) * frame["width"], abs=6)
        assert drawn["y"] - frame["y"] == pytest.approx(top * frame["height"], abs=6)
        assert drawn["height"] == pytest.approx((bottom - top) * frame["height"], abs=6)
    page.evaluate("document.querySelector('#objects-player video').currentTime = 3")
    box.wait_for(state="detached")
    # The same over the player of the other screen.
    page.evaluate("document.querySelector('#player video').currentTime = 12")
    page.locator("#player .ov-box").filter(has_text="panda").wait_for(state="attached")


def test_what_is_boxed_is_followed_listed_and_forgotten(page: Page) -> None:
    show(page, "Objects")
    page.wait_for_function("document.querySelector('#objects-player video')?.readyState >= 2")
    page.get_by_role("button", name="Point at an object").click()
    follow = page.get_by_role("button", name="Follow it from here")
    assert follow.is_disabled() and "Drag a box" in page.locator(".ov-how").inner_text()
    frame = page.locator("#objects-player video").bounding_box()
    assert frame is not None
    page.mouse.move(frame["x"] + 0.3 * frame["width"], frame["y"] + 0.3 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.6 * frame["width"], frame["y"] + 0.7 * frame["height"], steps=4)
    page.mouse.up()
    mark = page.locator(".ov-mark").bounding_box()
    assert mark is not None and mark["width"] == pytest.approx(0.3 * frame["width"], abs=3)
    page.get_by_label("What is it called?").fill("<b>thing</b>")
    follow.click()
    page.locator(".ov-job").get_by_text("Following what you pointed at").wait_for()
    page.locator("#objects .ov-one").filter(has_text="<b>thing</b>").wait_for()
    page.wait_for_function("!document.querySelector('#objects .ov-job')")
    page.get_by_role("button", name="Forget <b>thing</b>").click()
    page.locator("#objects .ov-one").filter(has_text="<b>thing</b>").wait_for(state="detached")


def test_a_click_is_a_point_and_following_can_be_cancelled(page: Page) -> None:
    show(page, "Objects")
    page.wait_for_function("document.querySelector('#objects-player video')?.readyState >= 2")
    page.get_by_role("button", name="Point at an object").click()
    page.locator("#objects-player .ov-pad").click()
    assert "point is set" in page.locator(".ov-how").inner_text()
    page.get_by_label("What is it called?").fill("point")
    page.keyboard.press("Enter")
    page.locator(".ov-job").get_by_role("button", name="Cancel").click()
    page.locator(".ov-job.ov-cancelled").wait_for()
    page.locator(".ov-job").get_by_role("button", name="Dismiss").click()
    page.locator(".ov-job").wait_for(state="detached")


def test_pointing_can_be_done_with_keys_alone(page: Page) -> None:
    show(page, "Objects")
    page.wait_for_function("document.querySelector('#objects-player video')?.readyState >= 2")
    page.get_by_role("button", name="Point at an object").focus()
    page.keyboard.press("Enter")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "Shift+ArrowRight"):
        page.keyboard.press(key)
    mark, frame = page.locator(".ov-mark").bounding_box(), page.locator("#objects-player video").bounding_box()
    assert mark is not None and frame is not None
    assert (mark["x"] - frame["x"]) / frame["width"] == pytest.approx(0.42, abs=0.01)
    assert mark["width"] / frame["width"] == pytest.approx(0.22, abs=0.01)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('.ov-label') !== null")
    page.get_by_role("button", name="Never mind").press("Enter")
    assert page.locator(".ov-pad").count() == 0 and not page.locator(".ov-ask").is_visible()


def test_what_went_wrong_is_one_sentence(page: Page, world: World) -> None:
    moved = world.video.with_name("moved.mp4")
    show(page, "Objects")
    find = page.get_by_role("button", name="Find objects by themselves")
    find.wait_for()
    shutil.move(world.video, moved)
    try:
        find.click()
        said = page.locator(".ov-job.ov-failed")
        said.wait_for()
        assert "street.mp4 is not at" in said.inner_text() and "Traceback" not in said.inner_text()
        said.get_by_role("button", name="Dismiss").click()
        said.wait_for(state="detached")
    finally:
        shutil.move(moved, world.video)


def test_a_stream_is_watched_asked_about_and_stopped(page: Page, world: World) -> None:
    show(page, "Live")
    address = field(page, "live-address")
    address.fill(str(world.video))  # a file is played as if it were a camera
    address.press("Enter")
    card = page.locator(".lv-stream").filter(has_text=world.video.name)
    card.wait_for()
    card.locator(".lv-picture img").wait_for()
    assert "Frames kept" in card.inner_text() and "320 x 180" in card.inner_text()
    card.get_by_role("button", name="Ask about it").click()
    question = field(page, "live-question")
    question.fill("What was there?")
    question.press("Enter")
    page.locator("#live-answer .vm-turn").get_by_text("What was read").wait_for()
    card.get_by_role("button", name="Stop").click()
    card.get_by_role("button", name="Put away").wait_for()
    assert "what was seen stays in memory" in card.inner_text()
    card.get_by_role("button", name="Put away").click()
    card.wait_for(state="detached")


def test_a_stream_that_is_not_there_gets_one_sentence(page: Page) -> None:
    show(page, "Live")
    address = field(page, "live-address")
    address.fill("rtsp://user:secret@127.0.0.1:9/nothing")
    address.press("Enter")
    said = page.locator(".lv-job.lv-failed")
    said.wait_for()
    assert "refused the connection" in said.inner_text() and "secret" not in said.inner_text()
    said.get_by_role("button", name="Dismiss").click()
    said.wait_for(state="detached")
    address.fill("gopher://nowhere/")
    address.press("Enter")
    page.locator("#live-said [role=alert]").wait_for()
    assert "no kind of stream that vidmem watches" in page.locator("#live-said").inner_text()


def test_the_browsers_own_camera_is_watched_once_asked_for(page: Page) -> None:
    show(page, "Live")
    page.get_by_text("This browser's camera").click()
    page.get_by_text("Click to Access Webcam").click()
    page.locator("#live-camera video").wait_for()
    page.locator("#live-camera button").filter(has_text="Record").first.click()
    page.locator("#live-own-watch").click()
    card = page.locator(".lv-stream").filter(has_text="Browser camera")
    card.wait_for()
    card.locator(".lv-picture img").wait_for()
    card.get_by_role("button", name="Stop").click()
    card.get_by_role("button", name="Put away").wait_for()


@pytest.mark.parametrize("width", [390, 1280])
def test_no_screen_is_wider_than_the_window(page: Page, width: int) -> None:
    for screen, ready in SCREENS.items():
        show(page, screen)
        page.set_viewport_size({"width": width, "height": 900})
        page.locator(ready).first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, screen


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(page: Page, theme: str) -> None:
    page.evaluate("theme => document.body.classList.toggle('dark', theme === 'dark')", theme)
    try:
        for screen, ready in SCREENS.items():
            show(page, screen)
            page.locator(ready).first.wait_for()
            shoot(page, f"{screen.lower()}-{theme}")
            assert serious(page, "#screens") == [], screen
    finally:
        page.evaluate("document.body.classList.remove('dark')")
