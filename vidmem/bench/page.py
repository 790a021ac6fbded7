"""`vidmem bench page`: how soon the web page is there, how soon a click on evidence takes the player to its time, and
whether it goes on answering while a long video is watched and questions are answered.

The page is `vidmem ui` in a process of its own, over the sample videos, in a headless Chromium on the same machine.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import vidmem
from vidmem.bench.clips import unseen_seed
from vidmem.bench.kept import Figures, Kept, check_parts, in_a_folder
from vidmem.bench.page_browser import Person, chromium, missing, served
from vidmem.bench.report import Say, at_least, at_most, beside, report, unmeasured
from vidmem.samples import samples
from vidmem.world.video import render_file

PARTS = ("paint", "click", "beside")
"""The first paint; a click on evidence; clicks beside an ingest and questions."""
FPS = 15
_SCREENS = ("Memory", "Objects", "Batch", "Settings", "Library")
_AT_REST = 5
"""Rounds of clicks before anything goes on."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults are what the targets are about."""

    paints: int = 7
    clicks: int = 30
    ingest_seconds: float = 1800.0


QUICK = Sizes(paints=1, clicks=1, ingest_seconds=20.0)
"""Only to see that everything runs: the figures mean nothing."""


def run(
    seed: int = 0,
    *,
    sizes: Sizes | None = None,
    preset: str = "tiny",
    parts: Collection[str] = PARTS,
    keep: Path | None = None,
    quick: bool = False,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Measure, which takes some ten minutes, and give the JSON object of figures.

    Args:
        sizes: how much; None for all, or for very little if `quick`.
        parts: what to measure, of `PARTS`.
        keep: a folder in which what was measured is kept, part by part, and looked for: a run that was stopped goes on
            there.

    Raises:
        BadInput: there is no such part.
        NotFound: this installation has no sample videos.
    """
    check_parts(parts, PARTS)
    sizes = sizes or (QUICK if quick else Sizes())
    say = progress or (lambda line: None)
    kept = Kept(keep, {"seed": seed, "preset": preset, **asdict(sizes)})
    measures: dict[str, Callable[[Path], Figures]] = {
        "paint": lambda folder: paint_figures(folder, preset, sizes.paints),
        "click": lambda folder: click_figures(folder, preset, seed, sizes.clicks),
        "beside": lambda folder: beside_figures(folder, preset, seed, sizes.ingest_seconds, say),
    }
    in_browser = {part: partial(_in_browser, part, measure) for part, measure in measures.items()}
    return report(seed, kept.parts("page", in_browser, parts, say))


def _in_browser(part: str, measure: Callable[[Path], Figures]) -> Figures:
    lacks = missing()
    return in_a_folder(measure) if lacks is None else {f"page_{part}": unmeasured(lacks)}


def paint_figures(folder: Path, preset: str, count: int) -> Figures:
    """Of a page that a browser opens for the first time, with nothing in its cache."""
    painted, usable = [], []
    with _page_of_samples(folder, preset) as address, chromium() as browser:
        for _ in range(count):
            with browser.person(address) as person:
                painted.append(person.painted_after())
                usable.append(person.usable_after())
    return {
        "page_first_paint": at_most(max(painted), f"s, the slowest of {count}", 3.0),
        "page_first_paint_median": beside(statistics.median(painted), "s"),
        "page_usable": at_most(max(usable), "s until the videos of the store can be clicked, the slowest", 3.0),
        "page_usable_median": beside(statistics.median(usable), "s"),
    }


def click_figures(folder: Path, preset: str, seed: int, count: int) -> Figures:
    """Of clicks on the evidence of answers about the longest sample, each from another moment of it."""
    longest, chance = samples()[-1], random.Random(seed)
    with _page_of_samples(folder, preset) as address, chromium() as browser, browser.person(address) as person:
        person.open(longest.path.name)
        for question in longest.questions:
            person.ask(question)
        took = [person.seek_by_evidence(number, chance.uniform(0, longest.seconds - 1)) for number in range(count)]
    return {
        "page_evidence_click": at_most(max(took), f"s until the moment is shown, the slowest of {count}", 0.3),
        "page_evidence_click_median": beside(statistics.median(took), "s"),
    }


def beside_figures(folder: Path, preset: str, seed: int, seconds: float, say: Say) -> Figures:
    """Of one person's clicks while a video so long is watched, which another person brought in and asks about."""
    video, names = folder / "long-one.mp4", [sample.path.name for sample in samples()[:2]]
    say(f"page: rendering {seconds / 60:.3g} min")
    render_file(video, seed=unseen_seed(seed, 620_000), duration=seconds, fps=FPS, num_questions=1, boxes=False)
    with (
        _page_of_samples(folder, preset) as address,
        chromium() as browser,
        browser.person(address) as person,
        browser.person(address) as asker,
    ):
        person.open(names[0])
        rest, took = Clicks(), Clicks()
        for _ in range(_AT_REST):
            rest.make(person, names)
        begun = time.perf_counter()
        asker.bring(video)
        asker.ask_on(samples()[0].questions)
        say("page: clicking beside")
        while asker.is_watching() or not asker.answers():
            took.make(person, names)
        wall, answers = time.perf_counter() - begun, asker.answers()
    return {
        **_figures("screen", "s from a click on a screen's name until it is shown", took.screens, rest.screens),
        **_figures("open", "s from a click on a video until it is named over the player", took.opens, rest.opens),
        "page_beside_answers": at_least(answers, "answers were given meanwhile", 1),
        "page_beside_ingest_speed": beside(seconds / wall, "times real time, beside clicks and questions"),
    }


@dataclass(frozen=True, slots=True)
class Clicks:
    """What one person waited for, in seconds."""

    screens: list[float] = field(default_factory=list)
    opens: list[float] = field(default_factory=list)

    def make(self, person: Person, names: list[str]) -> None:
        """One to each screen that has no camera, and one to each video."""
        self.screens.extend(person.show(title) for title in _SCREENS)
        self.opens.extend(person.open(name) for name in reversed(names))


def _figures(name: str, unit: str, beside_ingest: list[float], at_rest: list[float]) -> Figures:
    return {
        f"page_beside_{name}": at_most(max(beside_ingest), f"{unit}, the slowest of {len(beside_ingest)}", 0.5),
        f"page_beside_{name}_median": beside(statistics.median(beside_ingest), "s"),
        f"page_rest_{name}_median": beside(statistics.median(at_rest), "s, nothing going on"),
    }


@contextmanager
def _page_of_samples(folder: Path, preset: str) -> Iterator[str]:
    """The page's address, over a store that has watched the samples; `folder` is where videos may be named."""
    store = folder / "page.vidmem"
    with vidmem.open(store, preset=preset) as memory:
        for sample in samples():
            memory.ingest(sample.path)
    with served(store, folder, preset) as address:
        yield address
