"""Counting right answers, by kind of question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from vidmem.world.answers import Kind, Question, is_right


@dataclass
class Score:
    """How many questions of each kind were answered right."""

    right: Counter[Kind] = field(default_factory=Counter)
    asked: Counter[Kind] = field(default_factory=Counter)

    def add(self, question: Question, answer: str) -> bool:
        """Count one answer. Says whether it is right."""
        good = is_right(question, answer)
        self.asked[question.kind] += 1
        self.right[question.kind] += good
        return good

    def share(self, kinds: Iterable[Kind] | None = None) -> float:
        """Right answers of all that were asked (of some kinds); 0 if nothing was asked."""
        chosen = set(self.asked if kinds is None else kinds)
        asked = sum(self.asked[kind] for kind in chosen)
        return sum(self.right[kind] for kind in chosen) / asked if asked else 0.0

    def by_kind(self) -> dict[Kind, float]:
        return {kind: self.right[kind] / self.asked[kind] for kind in self.asked}

    @property
    def total(self) -> int:
        return self.asked.total()
