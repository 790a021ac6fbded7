"""Questions to a store while a stream is watched into it, from threads of the same process and from other ones."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

import vidmem
from vidmem.bench.live_onlooker import Onlooker
from vidmem.bench.report import Figure, Say, at_least, at_most, beside, unmeasured
from vidmem.pipelines import VideoMemory

QUESTIONS = ("What is there now?", "When did the dog appear?", "What came after the cat?", "Is there a car?")
EVERY_SECONDS = 8.0
"""So often each asks, as somebody does who reads the answer: without pauses the cores would be measured."""
_SAMPLED_FPS = 2.0


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of some questions."""

    first_tokens: list[float]
    """Seconds until the first word of each answer."""
    failures: list[str]
    begun: float = 0.0
    """When asking began, with all that it needs loaded, in monotonic seconds, which all processes share."""
    ended: float = 0.0


def live_asked_figures(
    folder: Path, video: Path, seed: int, *, askers: int, seconds: float, alone_seconds: float, preset: str, say: Say
) -> dict[str, Figure]:
    """Ask for so many seconds, first from threads, then from processes, while a counted video goes round and round.

    Args:
        alone_seconds: for which it is watched before, without questions, and for which the store at rest is asked.
    """
    path = folder / "a.vidmem"
    with vidmem.open(path, preset=preset) as memory:
        # As much is in memory from the start as goes into a context.
        with memory.watch(str(video), fps=_SAMPLED_FPS, policy="block", speed=1000.0) as watch:
            watch.wait()
        say("live: asking the store at rest")
        with closing(memory.reader()) as reader:
            idle = _ask(reader, alone_seconds, every=0.0, chance=random.Random(seed))
        if not idle.first_tokens:
            raise RuntimeError(f"no question was answered by a store at rest: {idle.failures[0]}")
        say("live: watching without questions")
        with memory.watch(str(video), fps=_SAMPLED_FPS, loop=True) as watch, Onlooker(path) as onlooker:
            onlooker.wait(len(onlooker) + 1)
            begun = time.monotonic()
            time.sleep(alone_seconds)
            alone = onlooker.rate(begun, time.monotonic())
            figures = {
                "live_ask_idle_first_token": beside(statistics.median(idle.first_tokens), "s, store at rest (median)"),
                "live_ask_fps_alone": beside(alone, "frames a second are kept without questions"),
            }
            kinds: dict[str, Callable[[], list[Asked]]] = {
                "threads": lambda: _from_threads(memory, askers, seconds, seed),
                "processes": lambda: _from_processes(path, preset, askers, seconds, seed),
            }
            for name, ask in kinds.items():
                say(f"live: {askers} ask from {name}")
                dropped = watch.state().source.dropped
                asked = ask()
                figures[f"live_ask_{name}_dropped"] = beside(
                    watch.state().source.dropped - dropped, "frames were dropped meanwhile; others may wait"
                )
                kept = onlooker.rate(max(one.begun for one in asked), min(one.ended for one in asked))
                figures |= _figures(name, asked, idle, kept / alone if alone else None, askers)
    return figures


def _figures(name: str, asked: list[Asked], idle: Asked, rate: float | None, askers: int) -> dict[str, Figure]:
    """`rate` is None if nothing came into memory without questions either."""
    first_tokens = [seconds for one in asked for seconds in one.first_tokens]
    failures = [failure for one in asked for failure in one.failures]
    why = f"; first: {failures[0]}" if failures else ""
    count = len(first_tokens) + len(failures)
    who = f"{askers} {name}, each asks every {EVERY_SECONDS:g} s"
    kept, soon = unmeasured("nothing was kept without questions either"), unmeasured("no ask was answered")
    if rate is not None:
        kept = at_least(rate, f"of the frames a second without questions; {who}", 0.9)
    if first_tokens:
        ratio = statistics.median(first_tokens) / statistics.median(idle.first_tokens)
        soon = at_most(ratio, "times the idle one (medians)", 2.0)
    return {
        f"live_ask_{name}_failed": at_most(len(failures), f"of {count} asks{why}", 0),
        f"live_ask_{name}_rate": kept,
        f"live_ask_{name}_first_token": soon,
    }


def _from_threads(memory: VideoMemory, askers: int, seconds: float, seed: int) -> list[Asked]:
    readers = [memory.reader() for _ in range(askers)]
    try:
        with ThreadPoolExecutor(askers) as pool:
            asking = [
                pool.submit(_ask, reader, seconds, every=EVERY_SECONDS, chance=random.Random(seed + index))
                for index, reader in enumerate(readers)
            ]
            return [one.result() for one in asking]
    finally:
        for reader in readers:
            reader.close()


def _from_processes(path: Path, preset: str, askers: int, seconds: float, seed: int) -> list[Asked]:
    with ProcessPoolExecutor(askers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        asking = [pool.submit(_ask_store, path, preset, seconds, seed + index) for index in range(askers)]
        return [one.result() for one in asking]


def _ask_store(path: Path, preset: str, seconds: float, seed: int) -> Asked:
    with vidmem.open(path, preset=preset, create=False, read_only=True) as memory:
        return _ask(memory, seconds, every=EVERY_SECONDS, chance=random.Random(seed))


def _ask(memory: VideoMemory, seconds: float, *, every: float, chance: random.Random) -> Asked:
    """Ask again and again, for so long after the first answer, whose models have to be loaded."""
    asked = Asked([], [])
    _ask_once(memory, chance, Asked([], []))
    began = time.monotonic()
    ends = began + seconds
    time.sleep(chance.uniform(0.0, min(every, seconds)))
    while True:
        begun = time.monotonic()
        _ask_once(memory, chance, asked)
        if begun + every >= ends or time.monotonic() >= ends:
            return replace(asked, begun=began, ended=time.monotonic())
        time.sleep(max(0.0, begun + every - time.monotonic()))


def _ask_once(memory: VideoMemory, chance: random.Random, asked: Asked) -> None:
    try:
        answer = memory.ask(chance.choice(QUESTIONS))
    except Exception as error:  # whatever it is, somebody got no answer
        asked.failures.append(f"{type(error).__name__}: {error}")
        return
    if answer.text:
        asked.first_tokens.append(answer.timings["first_token"])
    else:
        asked.failures.append("an empty answer")
