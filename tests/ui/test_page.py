"""The page's main road in a real browser, over the embedded models: bring in a video, ask, click the evidence."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import av
import pytest
from app_page import QUESTIONS, SEED, Served, add, ask, now, open_sample, rendered, serving
from browsing import field, needs_axe, needs_browser, opened, serious, shoot, show

from vidmem.samples import Sample
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.video import render_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = needs_browser

SCREENS = ("Library", "Watch & ask", "Batch", "Settings")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return rendered(tmp_path_factory.mktemp("samples"))


@pytest.fixture(scope="module")
def served(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("page"), [sample]) as served:
        served.session.ingest(served.session.stores()[0], sample.path).result()
        yield served


@pytest.fixture(scope="module")
def one_page(browser: Browser, served: Served) -> Iterator[Page]:
    """One for all tests that need no other: to open Gradio's page takes a browser longer than most of them."""
    with opened(browser, served.address) as page:
        yield page


@pytest.fixture
def page(one_page: Page) -> Page:
    """On the Library, with nothing said of what was open."""
    one_page.set_viewport_size({"width": 1280, "height": 860})
    show(one_page, "Watch & ask")
    if one_page.locator("#clear").is_visible():
        one_page.locator("#clear").click()
        one_page.locator("#talk .vm-turn").first.wait_for(state="detached")
    show(one_page, "Library")
    return one_page


# -- the Library --


def test_from_nothing_a_sample_is_a_click_away(browser: Browser, sample: Sample, tmp_path: Path) -> None:
    with serving(tmp_path, [sample]) as served, opened(browser, served.address) as page:
        page.get_by_text("No video yet.").wait_for()
        shoot(page, "library-empty")
        open_sample(page)
        ask(page, QUESTIONS[0])
        assert page.locator("#talk .vm-told").inner_text().strip()
        assert [video.name for video in served.session.stores()[0].videos()] == ["street.mp4"]


def test_a_video_of_the_store_shows_what_it_is_and_opens(page: Page) -> None:
    card = page.locator(".vm-card", has_text="street.mp4")
    card.wait_for()
    said = card.inner_text()
    assert "00:24" in said and "24 frames" in said and "tiny" in said and "MB" in said
    page.wait_for_function(
        "[...document.querySelectorAll('.vm-strip img')].every(one => one.naturalWidth > 0)"
        " && document.querySelectorAll('.vm-strip img').length >= 4"
    )
    shoot(page, "library")
    card.locator(".vm-open").click()
    page.wait_for_function("document.querySelector('#player video')?.duration === 24")


def test_an_uploaded_file_is_watched_played_and_kept_in_the_store(
    page: Page, served: Served, sample: Sample, tmp_path: Path
) -> None:
    """As AVI, which no browser plays: what is played is a copy with the same times."""
    film = tmp_path / "holiday.avi"
    with av.open(str(sample.path)) as there, av.open(str(film), "w") as made:
        stream = made.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number, frame in enumerate(there.decode(video=0)):
            if number >= 80:
                break
            made.mux(stream.encode(frame.reformat(320, 180, "yuv420p")))
        made.mux(stream.encode())
    page.locator("input[type=file]").first.set_input_files(film)
    page.wait_for_function("Math.abs(document.querySelector('#player video')?.duration - 8) < 0.2")
    field(page, "question").wait_for()
    page.locator("#status .vm-done").wait_for()
    store = served.session.stores()[0]
    (video,) = [one for one in store.videos() if one.name == "holiday.avi"]
    assert Path(video.source).is_relative_to(store.path) and Path(video.source).stat().st_size == film.stat().st_size

    show(page, "Library")
    card = page.locator(".vm-card", has_text="holiday.avi")
    card.locator("summary").click()
    card.get_by_role("button", name="Remove holiday.avi").click()
    card.wait_for(state="detached")
    assert not Path(video.source).exists() and "holiday.avi" not in [one.name for one in store.videos()]


def test_a_file_that_is_no_video_gets_one_sentence(page: Page, tmp_path: Path) -> None:
    fake = tmp_path / "fake.mp4"
    fake.write_text("this is a letter, not a video\n" * 40)
    page.locator("input[type=file]").first.set_input_files(fake)
    said = page.locator("#library-said [role=alert]")
    said.wait_for()
    assert "fake.mp4" in said.inner_text() and "Traceback" not in page.content()
    shoot(page, "library-bad-file")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/etc/passwd", "outside of the folders"),
        ("../../../../etc/passwd", "outside of the folders"),
        ("gone.mp4", "does not exist"),
        ("", "no path"),
    ],
)
def test_a_path_that_can_not_be_watched_gets_one_sentence(page: Page, place: str, expected: str) -> None:
    add(page, place)
    page.locator("#library-said [role=alert]", has_text=expected).wait_for()


def test_an_address_inside_the_network_is_refused_where_the_person_looks(page: Page) -> None:
    add(page, "http://127.0.0.1:9/film.mp4")
    said = page.locator("#status [role=alert]")
    said.wait_for()
    assert "--allow-private" in said.inner_text()
    show(page, "Library")
    failed = page.locator("#jobs .vm-failed", has_text="--allow-private")
    failed.wait_for()
    again = failed.get_by_role("button", name="Try film.mp4 again")
    number = again.get_attribute("data-job")
    again.click()
    page.wait_for_function(
        "number => [...document.querySelectorAll('#jobs .vm-failed [data-choose=again]')]"
        ".some((one) => Number(one.dataset.job) > Number(number))",
        arg=number,
    )
    failed.get_by_role("button", name="Dismiss").click()
    failed.wait_for(state="detached")


def test_watching_goes_on_without_the_page_and_can_be_cancelled_from_another(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    render_file(served.root / "evening.mp4", seed=12, duration=600, fps=2, size=(320, 180))
    with opened(browser, served.address) as page:
        add(page, "evening.mp4")
        page.locator("#status progress[value]").wait_for()
    (going,) = [state for state in served.session.jobs.states() if not state.is_over]
    assert going.subject.endswith("evening.mp4")
    with opened(browser, served.address) as page:
        page.locator("#jobs").get_by_role("button", name="Cancel evening.mp4").click()
        page.locator("#jobs", has_text="Watching evening.mp4").wait_for(state="detached")
    states = [state for state in served.session.jobs.states() if state.job_id == going.job_id]
    assert [state.phase for state in states] == ["cancelled"]


# -- asking --


def test_an_answer_streams_in_and_its_evidence_takes_the_player_there_without_the_server(
    page: Page, served: Served
) -> None:
    open_sample(page)
    page.evaluate(
        "window.seen = new Set(); new MutationObserver(() => window.seen.add("
        "document.querySelector('#answer .vm-told')?.textContent))"
        ".observe(document.querySelector('#answer'), {childList: true, subtree: true, characterData: true})"
    )
    ask(page, "When did the burger appear?")
    chips = page.locator("#talk .vm-chip:has(img)")
    chips.first.wait_for()
    assert len(page.evaluate("[...window.seen].filter(one => one)")) > 2
    shoot(page, "watch")
    last = chips.nth(chips.count() - 1)
    # In one breath, so that no server can have had a part in it.
    arrived = last.evaluate(
        "chip => { const video = document.querySelector('#player video'); video.currentTime = 23.5; chip.click();"
        " return video.currentTime; }"
    )
    assert arrived == float(last.get_attribute("data-seek") or "nan")
    marks = page.locator(".tl-evidence")
    assert marks.count() == chips.count()


def test_what_was_read_unfolds(page: Page) -> None:
    open_sample(page)
    ask(page, "When did the burger appear?")
    page.get_by_text("What was read").click()
    told = page.locator("#talk .vm-read").inner_text()
    assert "KV blocks" in told and "tokens" in told and "working" in told and "to the first word" in told
    page.locator("#talk .vm-frames button").first.click()
    shoot(page, "what-was-read")


def test_what_is_unfolded_stays_so_when_another_question_is_answered(page: Page) -> None:
    open_sample(page)
    ask(page, "When did the burger appear?")
    page.get_by_text("What was read").click()
    ask(page, QUESTIONS[0])
    unfolded = page.locator("#talk .vm-turn").evaluate_all(
        "turns => turns.map(turn => turn.querySelector('details').open)"
    )
    assert unfolded == [True, False]


def test_a_follow_up_question_means_what_was_spoken_of(page: Page) -> None:
    open_sample(page)
    ask(page, "When did the burger appear?")
    ask(page, "Where was it then?")
    page.get_by_text("What was read").nth(1).click()
    assert "Where was the burger at 00:" in page.locator("#talk .vm-read q").inner_text()


def test_where_nothing_matches_nothing_is_shown(page: Page) -> None:
    open_sample(page)
    ask(page, "Was there a dog?")
    said = page.locator("#talk .vm-turn").last
    assert said.locator(".vm-told").inner_text() == "Nothing in memory matches."
    assert said.locator(".vm-chip").count() == 0 and page.locator(".tl-evidence").count() == 0


def test_an_example_is_asked_with_a_click(page: Page) -> None:
    open_sample(page)
    page.locator("#examples").get_by_role("button", name=QUESTIONS[2]).click()
    page.locator("#talk .vm-asked", has_text=QUESTIONS[2]).wait_for()


def test_stop_ends_an_answer_and_another_can_be_asked(page: Page, served: Served) -> None:
    open_sample(page)
    ahead, go_on = Event(), Event()
    served.session._answerer.submit(lambda: (ahead.set(), go_on.wait(120)))  # somebody else's long answer
    try:
        box = field(page, "question")
        box.fill(QUESTIONS[0])
        box.press("Enter")
        page.get_by_role("button", name="Stop").click()
    finally:
        go_on.set()
    page.locator("#talk .vm-turn", has_text="(stopped)").wait_for()
    ask(page, QUESTIONS[0])
    assert "(stopped)" not in page.locator("#talk .vm-turn").nth(1).inner_text()


def test_people_do_not_see_each_others_conversations(browser: Browser, served: Served) -> None:
    with opened(browser, served.address) as one, opened(browser, served.address) as other:
        open_sample(one)
        open_sample(other)
        ask(one, "When did the burger appear?")
        ask(other, "What was there at 00:03?")
        assert one.locator("#talk .vm-asked").all_inner_texts() == ["When did the burger appear?"]
        assert other.locator("#talk .vm-asked").all_inner_texts() == ["What was there at 00:03?"]
        one.get_by_role("button", name="New conversation").click()
        one.locator("#talk .vm-turn").wait_for(state="detached")
        assert other.locator("#talk .vm-turn").count() == 1


def test_a_conversation_is_there_again_when_its_video_is(page: Page, served: Served, sample: Sample) -> None:
    shutil.copy(sample.path, served.root / "again.mp4")
    open_sample(page)
    ask(page, QUESTIONS[0])
    add(page, "again.mp4")
    page.locator("#opened", has_text="again.mp4").wait_for()
    page.locator("#talk .vm-turn").wait_for(state="detached")
    show(page, "Library")
    page.locator("#samples button").first.click()
    page.locator("#talk .vm-asked", has_text=QUESTIONS[0]).wait_for()


def test_a_tab_that_is_loaded_again_goes_on_and_no_other_tab_does(browser: Browser, served: Served) -> None:
    with opened(browser, served.address) as page:
        open_sample(page)
        ask(page, QUESTIONS[0])
        page.reload()
        page.locator("#talk .vm-asked", has_text=QUESTIONS[0]).wait_for()
        page.locator("#opened", has_text="street.mp4").wait_for()
        assert page.locator("#player video").is_visible(), "on the screen that was shown"
        page.locator(".tl-evidence").first.wait_for()
        ask(page, "Where was it then?")
        assert page.locator("#talk .vm-asked").count() == 2
        with page.context.expect_page() as copied:
            page.evaluate("void window.open(location.href)")
        for other in (copied.value, page.context.new_page()):
            if other.url == "about:blank":
                other.goto(served.address)
            other.locator("#samples button").first.click()
            other.locator("#opened", has_text="street.mp4").wait_for()
            assert other.locator("#talk .vm-turn").count() == 0


@pytest.fixture(scope="module")
def thing_of_yard(served: Served) -> str:
    """What is in a second video of the store, yard.mp4, and not in the sample."""
    render_file(served.root / "yard.mp4", seed=SEED + 1, duration=24, fps=10)
    served.session.ingest(served.session.stores()[0], served.root / "yard.mp4").result()
    there = {stay.thing for stay in Script(ScriptConfig(seed=SEED, duration=24.0)).stays()}
    stays = Script(ScriptConfig(seed=SEED + 1, duration=24.0)).stays()
    return next(stay.thing for stay in stays if stay.thing not in there and stay.span.seconds > 4)


def test_all_videos_of_a_store_are_asked_at_once_and_evidence_opens_its_own(page: Page, thing_of_yard: str) -> None:
    open_sample(page)
    everywhere = page.get_by_label("Ask about all videos of this store")
    everywhere.check()
    ask(page, f"When did the {thing_of_yard} appear?")
    chip = page.locator("#talk .vm-chip", has_text="yard.mp4").first
    chip.wait_for()
    assert page.locator(".tl-evidence").count() == 0, "none of it is in the open video"
    chip.click()
    page.locator("#opened", has_text="yard.mp4").wait_for()
    seconds = float(chip.get_attribute("data-seek") or "nan")
    page.wait_for_function("at => document.querySelector('#player video').currentTime === at", arg=seconds)
    assert page.locator("#talk .vm-asked").all_inner_texts() == [f"When did the {thing_of_yard} appear?"]
    page.locator(".tl-evidence").first.wait_for()
    everywhere.uncheck()
    page.locator("#talk .vm-turn").wait_for(state="detached")


def test_an_answer_stays_with_its_video_when_another_one_is_opened_meanwhile(
    page: Page, served: Served, thing_of_yard: str
) -> None:
    ahead, go_on = Event(), Event()
    open_sample(page)
    served.session._answerer.submit(lambda: (ahead.set(), go_on.wait(120)))  # somebody else's long answer
    try:
        box = field(page, "question")
        box.fill(QUESTIONS[0])
        box.press("Enter")
        page.locator("#answer .vm-asked", has_text=QUESTIONS[0]).wait_for()
        show(page, "Library")
        page.locator(".vm-card", has_text="yard.mp4").locator(".vm-open").click()
        page.locator("#opened", has_text="yard.mp4").wait_for()
        page.locator("#answer .vm-asked").wait_for(state="detached")
        page.locator("#question").get_by_role("button", name="Ask").wait_for()
        box = field(page, "question")
        box.fill(QUESTIONS[2])
        box.press("Enter")
        page.locator("#answer .vm-asked", has_text=QUESTIONS[2]).wait_for()
    finally:
        go_on.set()
    page.locator("#talk .vm-asked", has_text=QUESTIONS[2]).wait_for()
    assert page.locator("#talk .vm-turn").count() == 1
    page.locator("#question").get_by_role("button", name="Ask").wait_for()
    show(page, "Library")
    page.locator("#samples button").first.click()
    page.locator("#talk .vm-asked", has_text=QUESTIONS[0]).wait_for()
    assert page.locator("#talk .vm-turn").count() == 1


# -- Batch and Settings --


def test_a_folder_is_watched_and_what_is_broken_in_it_is_told(page: Page, served: Served, sample: Sample) -> None:
    folder = served.root / "trip"
    folder.mkdir()
    shutil.copy(sample.path, folder / "good.mp4")
    (folder / "broken.mp4").write_text("a letter")
    show(page, "Batch")
    box = field(page, "folder")
    box.fill("trip")
    box.press("Enter")
    page.locator(".vm-batch", has_text="2 of 2 videos, 1 failed").wait_for()
    rows = page.locator(".vm-batch tbody tr")
    assert ["broken.mp4" in rows.nth(0).inner_text(), "failed" in rows.nth(0).inner_text()] == [True, True]
    shoot(page, "batch")
    rows.nth(1).get_by_role("button", name="good.mp4").click()
    page.locator("#opened", has_text="good.mp4").wait_for()


def test_a_folder_that_holds_nothing_is_told(page: Page, served: Served) -> None:
    (served.root / "empty").mkdir()
    show(page, "Batch")
    box = field(page, "folder")
    box.fill("empty")
    box.press("Enter")
    page.locator("#batch-said [role=alert]", has_text="holds no file").wait_for()


def test_a_store_is_made_with_settings_of_ones_own(page: Page, served: Served) -> None:
    show(page, "Settings")
    page.locator(".vm-costs", has_text="850 tokens").wait_for()
    tokens = page.get_by_label("Tokens of video for one question")
    tokens.fill("400")
    tokens.press("Tab")
    page.locator(".vm-costs", has_text="400 tokens").wait_for()
    shoot(page, "settings")
    box = field(page, "new-store")
    box.fill("mine")
    box.press("Enter")
    page.locator("#settings-said .vm-note", has_text="mine is open").wait_for()
    assert "context_tokens = 400" in (served.root / "mine.toml").read_text()
    (made,) = [store for store in served.session.stores() if store.name == "mine"]
    assert made.preset.budget.context_tokens == 400
    show(page, "Library")
    page.locator(".vm-shelf", has_text="mine").wait_for()


# -- by keys, and on every screen --


def test_the_timeline_takes_the_player_along(page: Page) -> None:
    open_sample(page)
    scene = page.locator(".tl-scene").last
    scene.wait_for()
    start = float(scene.evaluate("one => one.dataset.start"))
    assert start > 0
    scene.click()
    page.wait_for_function("start => document.querySelector('#player video').currentTime === start", arg=start)


def test_all_of_it_by_keys(page: Page) -> None:
    open_sample(page)
    page.evaluate("document.querySelector('#player video').currentTime = 0; document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    assert now(page) == 5
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert now(page) == 5
    page.keyboard.press(" ")
    page.wait_for_function("!document.querySelector('#player video').paused")
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('#player video').paused")
    page.keyboard.press("/")
    page.wait_for_function("document.activeElement.closest('#question')")
    page.keyboard.type("a / b")
    assert field(page, "question").input_value() == "a / b"
    show(page, "Library")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    page.wait_for_function("document.activeElement.closest('#question')")
    assert page.locator("#player video").is_visible()


def test_a_look_at_the_memory_is_given_from_a_link_to_a_time(page: Page) -> None:
    """Whatever seeks, on whatever screen, brings the player into view."""
    open_sample(page)
    show(page, "Settings")
    page.evaluate(
        "document.querySelector('#limits').insertAdjacentHTML('beforeend', '<button data-seek=7>there</button>')"
    )
    page.get_by_role("button", name="there").click()
    page.locator("#player video").wait_for()
    assert now(page) == 7


@pytest.mark.parametrize("width", [390, 1280])
def test_every_screen_is_as_wide_as_the_window_and_no_wider(page: Page, width: int) -> None:
    open_sample(page)
    ask(page, QUESTIONS[0])
    page.set_viewport_size({"width": width, "height": 800})
    for screen in SCREENS:
        show(page, screen)
        page.wait_for_timeout(600)
        shoot(page, f"{screen.split()[0].lower()}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, screen


@needs_axe
@pytest.mark.parametrize("look", ["Dark", "Light"])
def test_axe_finds_nothing_serious(page: Page, look: str) -> None:
    show(page, "Settings")
    page.get_by_role("button", name=look, exact=True).click()
    assert page.evaluate("document.body.classList.contains('dark')") is (look == "Dark")
    show(page, "Library")
    open_sample(page)
    ask(page, QUESTIONS[0])
    page.get_by_text("What was read").first.click()
    for screen in SCREENS:
        show(page, screen)
        page.wait_for_timeout(800)
        shoot(page, f"{screen.split()[0].lower()}-{look.lower()}")
        assert serious(page, "#screens") == [], screen
