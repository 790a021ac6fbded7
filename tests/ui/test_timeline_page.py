"""The timeline in a real browser, over a film of two hours: seek, look, zoom, by mouse, touch and keys."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import AXE, PATIENCE_MS, needs_axe, needs_browser
from timeline_page import film, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = needs_browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("film")) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    page = open_page(browser, address, width=1000)
    yield page
    page.context.close()


def open_page(browser: Browser, address: str, *, width: int, query: str = "", touch: bool = False) -> Page:
    """The page with the film's timeline and an answer's evidence on it. An error in its script fails the test."""
    page = browser.new_context(viewport={"width": width, "height": 760}, has_touch=touch).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("pageerror", lambda error: pytest.fail(f"the page's script failed: {error}"))
    page.goto(address + query)
    page.wait_for_function("document.querySelector('#player video')?.readyState >= 1")
    page.locator("#show").click()
    page.locator(".tl-scene").first.wait_for()
    page.locator("#answer").click()
    page.locator(".tl-evidence").first.wait_for()
    page.mouse.move(1, 1)
    return page


def now(page: Page) -> float:
    return page.evaluate("document.querySelector('#player video').currentTime")


def shown(page: Page) -> str:
    """The stretch in view, as a person reads it."""
    return page.locator(".tl-shown").inner_text()


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.getAttribute('aria-label')")


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def lane(page: Page, name: str) -> Locator:
    return page.get_by_role("group", name=name, exact=True).locator("button")


def boxes(buttons: Locator) -> list[tuple[float, float]]:
    """Left and right of each, in pixels."""
    return [(box["x"], box["x"] + box["width"]) for one in buttons.all() if (box := one.bounding_box())]


def test_a_click_on_a_segment_takes_the_player_to_its_beginning(page: Page) -> None:
    page.get_by_role("button", name="Evidence 1, 01:06:40–01:06:52").click()
    assert now(page) == 4000
    page.get_by_role("button", name="red umbrella, 00:10:10–00:30:00").click()
    assert now(page) == 610
    page.get_by_role("button", name="Gap, 01:23:20–01:30:00").click()
    assert now(page) == 5000


@pytest.mark.parametrize("elsewhere", [None, 610, 20])
def test_the_last_click_while_the_player_loads_is_obeyed_once_what_it_shows_reaches_so_far(
    page: Page, elsewhere: int | None, tmp_path: Path
) -> None:
    """On the timeline, elsewhere on the page, or there first and then on the timeline."""
    film(tmp_path / "begun.mp4", seconds=100)
    begun = "data:video/mp4;base64," + base64.b64encode((tmp_path / "begun.mp4").read_bytes()).decode()
    whole = page.evaluate("document.querySelector('#player video').currentSrc")
    load = """src => {
        const video = document.querySelector('#player video');
        video.src = src;
        video.load();
        return video.readyState;
    }"""
    page.evaluate("document.body.append(Object.assign(document.createElement('button'), { textContent: 'There' }))")
    page.evaluate("seconds => document.body.lastChild.dataset.seek = seconds", elsewhere)
    assert page.evaluate(load, "") == 0
    if elsewhere is not None:
        button(page, "There").click()
    if elsewhere != 610:
        button(page, "red umbrella, 00:10:10–00:30:00").click()
    page.evaluate(load, begun)
    page.wait_for_function("document.querySelector('#player video').duration === 100")
    assert now(page) <= 100
    page.evaluate(load, whole)
    page.wait_for_function("document.querySelector('#player video').currentTime === 610")


def test_a_click_beside_all_segments_takes_the_player_to_that_time(page: Page) -> None:
    ruler = page.locator(".tl-ruler").bounding_box()
    assert ruler is not None
    page.mouse.click(ruler["x"] + ruler["width"] / 4, ruler["y"] + 5)
    assert now(page) == pytest.approx(1800, abs=7200 / ruler["width"])


def test_the_playhead_stands_where_the_player_is(page: Page) -> None:
    page.evaluate("document.querySelector('#player video').currentTime = 5400")
    view, head = page.locator(".tl-view"), page.locator(".tl-playhead")
    page.wait_for_function("document.querySelector('.tl-playhead').style.transform !== 'translateX(0px)'")
    around, at = view.bounding_box(), head.bounding_box()
    assert around is not None and at is not None
    assert at["x"] + 1 - around["x"] == pytest.approx(0.75 * around["width"], abs=2)
    assert page.locator(".tl-scene.tl-now").count() == 1


def test_what_plays_out_of_the_view_takes_it_along(page: Page) -> None:
    page.evaluate("document.querySelector('#player video').currentTime = 2000")
    for _ in range(11):
        button(page, "Zoom in").click()
    before = shown(page)
    page.evaluate("document.querySelector('#player video').playbackRate = 4")
    page.evaluate(
        "document.querySelector('#player video').muted = true; document.querySelector('#player video').play()"
    )
    page.wait_for_function("before => document.querySelector('.tl-shown').textContent !== before", arg=before)
    page.evaluate("document.querySelector('#player video').pause()")
    assert page.locator(".tl-playhead").is_visible()


def test_pointing_at_a_segment_shows_its_picture_and_span(page: Page) -> None:
    card = page.locator(".tl-card")
    assert not card.is_visible()
    lane(page, "Scenes").first.hover()
    card.wait_for()
    assert "Scene 1" in card.inner_text() and "00:00:00–00:20:00" in card.inner_text()
    page.wait_for_function("document.querySelector('.tl-card img').naturalWidth === 160")
    page.keyboard.press("Escape")
    page.mouse.move(1, 1)
    assert not card.is_visible()


def test_thousands_of_scenes_are_few_buttons_that_do_not_lie_on_each_other(page: Page) -> None:
    page.evaluate("document.querySelector('#player video').currentTime = 4200")
    for _ in range(5):
        found = boxes(lane(page, "Scenes"))
        assert 1 < len(found) < 60
        assert all(right <= left + 0.1 for (_, right), (left, _) in zip(found, found[1:], strict=False))
        inside = found[1:-1]
        assert all(right - left >= 23 for left, right in inside)
        button(page, "Zoom in").click()


def test_zooming_in_tells_scenes_apart_and_out_brings_all_back(page: Page) -> None:
    assert shown(page) == "00:00:00–02:00:00" and button(page, "Zoom out").is_disabled()
    page.evaluate("document.querySelector('#player video').currentTime = 2001")
    assert page.get_by_role("button", name="Scene 162, 00:33:20–00:33:25").count() == 0
    while button(page, "Zoom in").is_enabled():
        button(page, "Zoom in").click()
    page.get_by_role("button", name="Scene 162, 00:33:20–00:33:25").click()
    assert now(page) == 2000
    button(page, "All of the video").click()
    assert shown(page) == "00:00:00–02:00:00"


def test_the_wheel_zooms_around_the_pointer_and_leaves_the_page_its_scrolling(page: Page) -> None:
    view = page.locator(".tl-view").bounding_box()
    assert view is not None
    page.mouse.move(view["x"] + view["width"] / 2, view["y"] + 30)
    page.mouse.wheel(0, 240)
    assert shown(page) == "00:00:00–02:00:00"
    for _ in range(12):
        page.mouse.wheel(0, -120)
    page.wait_for_function("document.querySelector('.tl-shown').textContent !== '00:00:00–02:00:00'")
    start, end = (int(h) * 3600 + int(m) * 60 + int(s) for h, m, s in (t.split(":") for t in shown(page).split("–")))
    assert end - start < 3600 and start < 3600 < end


def test_a_drag_moves_the_view_and_seeks_nowhere(page: Page) -> None:
    button(page, "Zoom in").click()
    button(page, "Zoom in").click()
    before, view = shown(page), page.locator(".tl-view").bounding_box()
    assert view is not None
    page.mouse.move(view["x"] + view["width"] - 50, view["y"] + 60)
    page.mouse.down()
    page.mouse.move(view["x"] + 50, view["y"] + 60, steps=5)
    page.mouse.up()
    page.wait_for_function("before => document.querySelector('.tl-shown').textContent !== before", arg=before)
    assert now(page) == 0


def test_two_fingers_zoom(browser: Browser, address: str) -> None:
    page = open_page(browser, address, width=390, touch=True)
    view = page.locator(".tl-view").bounding_box()
    assert view is not None
    middle, height = view["x"] + view["width"] / 2, view["y"] + 40
    touch = page.context.new_cdp_session(page)

    def fingers(kind: str, *apart: float) -> None:
        points = [{"x": middle + sign * one, "y": height, "id": sign + 1} for one in apart for sign in (-1, 1)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", 20)
    for apart in range(30, 100, 10):
        fingers("touchMove", apart)
    fingers("touchEnd")
    page.wait_for_function("document.querySelector('.tl-shown').textContent !== '00:00:00–02:00:00'")
    assert now(page) == 0
    page.context.close()


def test_all_of_it_can_be_done_with_keys(page: Page) -> None:
    button(page, "Zoom in").focus()
    page.keyboard.press("Tab")
    assert focused(page).startswith("Evidence 2, 00:10:00–00:10:40")
    page.keyboard.press("ArrowRight")
    assert focused(page).startswith("Evidence 1, 01:06:40–01:06:52")
    assert "looks like 'a dog'" in page.locator(".tl-card").inner_text()
    page.keyboard.press("Enter")
    assert now(page) == 4000
    page.keyboard.press("Tab")  # one stop a lane
    page.keyboard.press("Home")
    assert focused(page).startswith("Scene 1, ")
    page.keyboard.press("ArrowDown")
    assert focused(page).startswith("dog, 00:05:00–00:15:00")
    page.keyboard.press("End")
    for _ in range(5):
        page.keyboard.press("+")
    assert focused(page).startswith("dog, 00:50:00–00:50:02") and shown(page) != "00:00:00–02:00:00"
    page.keyboard.press("Space")
    assert now(page) == 3000
    page.keyboard.press("ArrowUp")
    assert focused(page).split(", ")[0].endswith("scenes") or focused(page).startswith("Scene ")
    page.keyboard.press("0")
    assert shown(page) == "00:00:00–02:00:00"
    assert page.evaluate("document.activeElement.className").startswith("tl-segment")


def test_evidence_is_marked_across_all_lanes_and_goes_with_the_answer(page: Page) -> None:
    assert page.locator(".tl-bands span").count() == 2
    band = page.locator(".tl-bands span").first.bounding_box()
    mark = page.get_by_role("button", name="Evidence 2,").bounding_box()
    lanes = page.locator(".tl-lanes").bounding_box()
    assert band is not None and mark is not None and lanes is not None
    assert band["x"] == mark["x"] and band["height"] > 0.7 * lanes["height"]


def test_evidence_far_from_the_view_brings_the_whole_video_back(page: Page) -> None:
    for _ in range(8):
        button(page, "Zoom in").click()
    assert page.locator(".tl-evidence").count() == 0
    page.locator("#forget").click()
    page.wait_for_function("!document.querySelector('.tl-lane-evidence')")
    page.locator("#answer").click()
    page.locator(".tl-evidence").first.wait_for()
    assert shown(page) == "00:00:00–02:00:00"


@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_as_wide_as_the_window_and_no_wider(browser: Browser, address: str, width: int) -> None:
    page = open_page(browser, address, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    timeline = page.locator(".tl").bounding_box()
    assert timeline is not None and timeline["width"] > 0.75 * min(width, 900)
    lane(page, "Scenes").last.hover()
    card = page.locator(".tl-card").bounding_box()
    assert card is not None and card["x"] >= 0 and card["x"] + card["width"] <= width
    page.context.close()


@needs_axe
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, address: str, theme: str) -> None:
    page = open_page(browser, address, width=1000, query=f"?__theme={theme}")
    for zooms in (0, 5):
        for _ in range(zooms):
            button(page, "Zoom in").click()
        page.add_script_tag(content=Path(str(AXE)).read_text(encoding="utf-8"))
        found = page.evaluate("axe.run('#timeline')")["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert serious == [], zooms
    page.context.close()


def test_names_from_a_store_are_text(page: Page) -> None:
    assert page.locator(".tl img[src='x']").count() == 0
    assert page.locator(".tl-names").get_by_text("<img src=x>").count() == 1
