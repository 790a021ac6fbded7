"""Memory and Objects in a real browser: what a memory holds while it is filled, and what somebody points at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from app_page import Served, add, serving
from browsing import needs_axe, needs_browser, opened, serious, shoot, show
from follow_world import write_moving, write_tracker

from vidmem.models.preset import load_preset
from vidmem.models.preset_file import write_preset
from vidmem.samples import Sample
from vidmem.world.video import render_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = needs_browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The embedded models with a small tracker of random weights: what it follows is no matter here."""
    folder = tmp_path_factory.mktemp("screens")
    tiny = load_preset("tiny")
    tracker = write_tracker(folder / "sam", absent_below=0.15)
    preset = write_preset(replace(tiny, tracker=replace(tiny.tracker, model=str(tracker))), folder / "tracking.toml")
    evening = folder / "evening.mp4"
    render_file(evening, seed=12, duration=600, fps=2, size=(320, 180))
    with serving(folder, [Sample(evening, 600.0, ())], preset=preset.origin) as served:
        yield served


@pytest.fixture(scope="module")
def page(browser: Browser, served: Served) -> Iterator[Page]:
    with opened(browser, served.address) as page:
        yield page


def is_no_wider_than(page: Page, width: int) -> bool:
    page.set_viewport_size({"width": width, "height": 860})
    page.wait_for_function("width => document.documentElement.clientWidth <= width", arg=width)
    return int(page.evaluate("document.documentElement.scrollWidth")) <= width


# -- Memory --


def test_the_three_stores_fill_while_a_sample_is_watched(page: Page, served: Served) -> None:
    show(page, "Memory")
    page.locator("#memory-said", has_text="No video is open yet").wait_for()
    show(page, "Library")
    page.locator("#samples button").first.click()
    page.locator("#opened", has_text="evening.mp4").wait_for()
    show(page, "Memory")
    prototypes = page.locator("#memory .ts-long-term .ts-held .ts-one")
    prototypes.first.wait_for()
    (job,) = served.session.jobs.states()
    assert job.phase == "running", "it is looked at while it fills"
    assert page.locator("#memory-said [role=status]").inner_text().startswith("Watched ")
    for store in ("sensory", "working"):
        assert page.locator(f"#memory .ts-{store} .ts-held .ts-one img").count() > 0
    many = prototypes.count()
    page.wait_for_function(
        "many => document.querySelectorAll('#memory .ts-long-term .ts-held .ts-one').length > many", arg=many
    )
    served.session.jobs.cancel_all()
    page.locator("#memory-said", has_text="Cancelled").wait_for()


def test_the_sizes_over_time_and_the_map_tell_what_the_stores_hold(page: Page, served: Served) -> None:
    (video,) = served.session.stores()[0].videos()
    whole = f"While {video.num_frames:,} frames came by"
    page.locator("#memory .ts-seen", has_text=whole).wait_for()
    sizes = [int(text.replace(",", "")) for text in page.locator("#memory .ts-line-now b").all_inner_texts()]
    held = [page.locator(f"#memory .ts-{store} .ts-held .ts-one").count() for store in ("sensory", "working")]
    prototypes = page.locator("#memory .ts-plane .ts-one").count()
    assert sizes == [*held, prototypes] and min(sizes) > 0
    with served.session.stores()[0].look() as memory:
        assert len(memory.contents(video.video_id).long_term) == prototypes
    assert "M0 44L" in str(page.locator("#memory .ts-line.ts-working .ts-way").get_attribute("d"))
    assert page.locator("#memory .ts-tier", has_text="Disk").count() == 1
    shoot(page, "memory")
    one = page.locator("#memory .ts-plane .ts-one").first
    one.focus()
    seconds = float(str(one.get_attribute("data-seek")))
    page.keyboard.press("Enter")
    page.locator("#player video").wait_for()
    page.wait_for_function("at => document.querySelector('#player video').currentTime === at", arg=seconds)


# -- Objects --


def point_at(page: Page) -> Locator:
    """Begin to point at something on the paused frame; where to."""
    page.get_by_role("button", name="Point at an object").click()
    pad = page.locator("#objects-player .ov-pad")
    pad.wait_for()
    return pad


@pytest.fixture
def objects(page: Page, served: Served) -> Page:
    """The screen, with the clip open that the tracker knows."""
    if not (served.root / "moving.mp4").exists():
        write_moving(served.root / "moving.mp4", 60)
        add(page, "moving.mp4")
        page.locator("#opened", has_text="moving.mp4").wait_for()
        page.locator("#status .vm-done").wait_for()
    page.set_viewport_size({"width": 1280, "height": 860})
    show(page, "Objects")
    page.wait_for_function("document.querySelector('#objects-player video')?.readyState >= 2")
    return page


def test_a_box_on_a_paused_frame_is_followed_listed_and_drawn_over_both_players(objects: Page) -> None:
    page = objects
    page.locator("#objects .ov-none").wait_for()
    page.evaluate("document.querySelector('#objects-player video').play()")
    pad = point_at(page)
    assert page.evaluate("document.querySelector('#objects-player video').paused")
    page.get_by_role("button", name="Never mind").click()
    pad.wait_for(state="detached")
    page.evaluate("document.querySelector('#objects-player video').currentTime = 0")
    page.wait_for_function("!document.querySelector('#objects-player video').seeking")
    frame = point_at(page).bounding_box()
    assert frame is not None and page.locator("#objects .ov-follow").is_disabled()
    page.mouse.move(frame["x"] + 0.22 * frame["width"], frame["y"] + 0.17 * frame["height"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.5 * frame["width"], frame["y"] + 0.5 * frame["height"], steps=4)
    page.mouse.up()
    page.get_by_label("What is it called?").fill("red box")
    shoot(page, "objects-pointing")
    page.get_by_role("button", name="Follow it from here").click()
    one = page.locator("#objects .ov-one", has_text="red box")
    one.wait_for()
    page.wait_for_function("document.querySelector('#objects .ov-one img')?.naturalWidth > 0")
    assert "you pointed at it" in one.inner_text()
    span = one.locator(".ov-spans button").first
    span.wait_for()
    page.locator("#objects .ov-job").wait_for(state="detached")
    span.click()
    page.locator("#objects-player .ov-box", has_text="red box").wait_for()
    shoot(page, "objects")
    show(page, "Watch & ask")
    page.locator(".tl-object").first.wait_for()
    page.locator("#player .ov-box", has_text="red box").wait_for(state="attached")


def test_an_object_is_pointed_at_by_keys_and_forgotten(objects: Page) -> None:
    page = objects
    point = page.get_by_role("button", name="Point at an object")
    point.focus()
    page.keyboard.press("Enter")
    page.locator("#objects-player .ov-pad:focus").wait_for()
    for key in ("ArrowLeft", "ArrowLeft", "Shift+ArrowDown"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    page.keyboard.type("by keys")
    page.keyboard.press("Enter")
    one = page.locator("#objects .ov-one", has_text="by keys")
    one.wait_for()
    page.locator("#objects .ov-job").wait_for(state="detached")
    one.get_by_role("button", name="Forget by keys").click()
    one.wait_for(state="detached")


def test_what_can_not_be_followed_is_said_where_the_person_looks(objects: Page, served: Served) -> None:
    """Its file is gone: what was watched of it stays."""
    page = objects
    (served.root / "moving.mp4").rename(served.root / "gone.mp4")
    try:
        pad = point_at(page)
        pad.click(position={"x": 40, "y": 40})
        page.get_by_role("button", name="Follow it from here").click()
        failed = page.locator("#objects .ov-job[role=alert]")
        failed.wait_for()
        assert "moving.mp4" in failed.inner_text() and "Traceback" not in page.content()
        failed.get_by_role("button", name="Dismiss").click()
        failed.wait_for(state="detached")
    finally:
        (served.root / "gone.mp4").rename(served.root / "moving.mp4")


# -- both --


@pytest.mark.parametrize("screen", ["Memory", "Objects"])
def test_a_screen_is_as_wide_as_a_telephone_and_no_wider(objects: Page, screen: str) -> None:
    page = objects
    show(page, screen)
    page.locator({"Memory": "#memory .ts-flow", "Objects": "#objects .ov-tools"}[screen]).wait_for()
    assert is_no_wider_than(page, 390)
    shoot(page, f"{screen.lower()}-390")
    page.set_viewport_size({"width": 1280, "height": 860})


@needs_axe
@pytest.mark.parametrize("look", ["Dark", "Light"])
def test_axe_finds_nothing_serious_on_either(objects: Page, look: str) -> None:
    page = objects
    show(page, "Settings")
    page.get_by_role("button", name=look, exact=True).click()
    for screen in ("Memory", "Objects"):
        show(page, screen)
        page.locator({"Memory": "#memory .ts-flow", "Objects": "#objects .ov-one"}[screen]).first.wait_for()
        shoot(page, f"{screen.lower()}-{look.lower()}")
        assert serious(page, "#screens") == [], screen
