"""SAM2Long as its code has it, where `sam2long` does otherwise. The parity numbers are compared with this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vidmem.memory.tracking.sam2long import Pathway, Sam2Long, Seen, key_scales
from vidmem.memory.tracking.selection import Candidates, Choice
from vidmem.memory.tracking.windows import num_recent

PROMPT_SCORE = 10.0
"""What a prompted frame's object score counts as."""


@dataclass(frozen=True, slots=True)
class CodedSam2Long(Sam2Long):
    """Starts with copies of one pathway, which stay alike until a frame is uncertain.

    The oldest readable frame never gives its pointer, and a pointer alone is scaled as the lowest of several.
    """

    def choose(self, states: Sequence[Pathway], found: Sequence[Candidates], frame: int) -> Sequence[Choice[Pathway]]:
        choices = Sam2Long.choose(self, states, found, frame)
        return choices if len(choices) == self.num_pathways else tuple(choices) * self.num_pathways

    def scales(self, state: Pathway, others: Sequence[Seen]) -> tuple[float, ...]:
        return coded_scales([PROMPT_SCORE] * len(state.prompts) + [seen.object_score for seen in others])

    def num_pointed(self, num_readable: int) -> int:
        return min(max(num_readable - 1, 0), num_recent(self.limits))


def coded_scales(object_scores: Sequence[float]) -> tuple[float, ...]:
    return key_scales(object_scores) if len(object_scores) > 1 else (0.95,)
