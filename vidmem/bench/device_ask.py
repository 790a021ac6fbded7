"""Time to the first token of an answer out of a long history: its blocks on the accelerator, in RAM, or on disk."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from vidmem.bench.cold import drop_pages
from vidmem.bench.device_rates import settle
from vidmem.kv.asking import AllTaken, QuestionQueries
from vidmem.kv.block import Block
from vidmem.kv.context import assemble
from vidmem.kv.landmark_index import LandmarkIndex
from vidmem.kv.packing import unpack_all
from vidmem.kv.recall import Budget, choose
from vidmem.kv.records import BlockId, Position
from vidmem.kv.segments import SegmentLog
from vidmem.kv.tiers import TierConfig, Tiers
from vidmem.models.chat import Chat
from vidmem.models.families.family import Family
from vidmem.models.kv_dialogue import Dialogue

Where = Literal["accelerator", "ram", "disk"]
PLACES: tuple[Where, ...] = get_args(Where)
_QUESTION = "When did the dog appear, and where was it then?"
_RANKED = 256
NUM_SETS = 4
"""Sets of blocks that are asked for in turn; a history has so many times the blocks that are brought back, or more."""
_SPARE = 1.25
"""Room in a tier beside what it is to hold: slabs are rarely filled to the last byte."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A stream as it lies on disk, and what finds its blocks."""

    folder: Path
    position: Position
    opening: Block
    landmarks: LandmarkIndex
    block_tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Rounds:
    """How often is asked, and how many blocks a question brings back."""

    num_rounds: int
    num_blocks: int


def first_token_seconds(family: Family, history: History, rounds: Rounds) -> dict[Where, float]:
    """Medians, by where the blocks lie when a question comes.

    What is timed, of a question whose text is there: its pass through the first layers, the search through all
    landmarks, the choice, the way of the blocks to the accelerator and out of their bits, the context, the prompt, and
    the first token. The model's weights are noise, and would choose the same blocks for ever: so what is brought back
    instead of its choice are as many blocks, spread over the history, other ones each time.
    """
    return {where: _median_seconds(family, history, rounds, where) for where in PLACES}


def _median_seconds(family: Family, history: History, rounds: Rounds, where: Where) -> float:
    sets = _sets(history.position.num_blocks, rounds.num_blocks)[: 1 if where == "accelerator" else None]
    tiers = _tiers(family, history, sets, where)
    try:
        for chosen in sets:  # brought up once, and once through the model: neither memory nor kernels are new then
            _first_token(family, history, tiers, chosen)
        taken = []
        for index in range(rounds.num_rounds):
            if where == "disk":
                drop_pages(history.folder)
            settle(family.device)
            begun = time.perf_counter()
            _first_token(family, history, tiers, sets[index % len(sets)])
            taken.append(time.perf_counter() - begun)
    finally:
        tiers.close()
    return statistics.median(taken)


def _sets(num_stored: int, num_blocks: int) -> list[list[BlockId]]:
    """Sets that share no block, each spread over the history: so many that the first left its tier for the last."""
    step = num_stored // num_blocks
    assert step >= NUM_SETS, f"{num_stored} blocks are too few to bring back {num_blocks} in {NUM_SETS} ways"
    return [[BlockId(first + step * index) for index in range(num_blocks)] for first in range(NUM_SETS)]


def _tiers(family: Family, history: History, sets: Sequence[Sequence[BlockId]], where: Where) -> Tiers:
    """Tiers of such sizes that a set is found where it is to be, when the others were asked for since."""
    log = SegmentLog(history.folder, history.position, read_only=True)
    of_set = [sum(log.body_bytes(block_id) for block_id in chosen) for chosen in sets]
    one = int(max(of_set) * _SPARE)
    ram = int(sum(of_set) * _SPARE) if where == "ram" else one
    return Tiers(log, family.device, TierConfig(one, ram))


def _first_token(family: Family, history: History, tiers: Tiers, chosen: Sequence[BlockId]) -> int:
    question = family.text(family.ids(_QUESTION))
    heads = history.landmarks.heads
    asking = QuestionQueries(assemble(history.opening), family.rotary, question.positions, heads)
    with suppress(AllTaken):
        family.run(question, asking)
    sizes = history.block_tokens
    order = history.landmarks.ranking(asking.queries, _RANKED)
    choose(order, sizes, Budget(sum(sizes[place] for place in chosen)))
    with closing(tiers.fetch(chosen)) as loan:
        blocks = unpack_all(loan.result(), family.layout, family.dtype)
    dialogue = Dialogue(family, assemble(history.opening, retrieved=blocks))
    prompt = Chat(family.tokenizer).ids(_QUESTION).closing
    with closing(dialogue.ask(prompt, before=family.after_frames(), max_new_tokens=2)) as answer:
        return next(answer)
