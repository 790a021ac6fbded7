"""What no other mask shows: sets of pixels as the witness."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vidmem.memory.tracking.novelty import distinct, unclaimed

HEIGHT, WIDTH = 3, 4
PIXELS = HEIGHT * WIDTH
# Of 12 pixels, so that masks are often equal, nested, or empty.
MASKS = st.lists(st.integers(0, 2**PIXELS - 1), max_size=7)
SHARES = st.sampled_from([0.2, 0.5, 0.75, 1.0])


def masks_of(numbers: list[int]) -> Tensor:
    bits = [[bool(number >> place & 1) for place in range(PIXELS)] for number in numbers]
    return torch.tensor(bits, dtype=torch.bool).view(-1, HEIGHT, WIDTH)


def scores_of(numbers: list[int], seed: int) -> Tensor:
    """Few values, so that some are equal."""
    return torch.randint(3, (len(numbers),), generator=torch.Generator().manual_seed(seed)) / 2


def best_first(scores: Tensor) -> list[int]:
    return sorted(range(len(scores)), key=lambda index: (-float(scores[index]), index))


def pixels(number: int) -> set[int]:
    return {place for place in range(PIXELS) if number >> place & 1}


def iou(first: set[int], second: set[int]) -> float:
    return len(first & second) / max(len(first | second), 1)


@given(numbers=MASKS, seed=st.integers(0, 99), max_iou=SHARES)
def test_of_masks_that_overlap_the_best_stays(numbers: list[int], seed: int, max_iou: float) -> None:
    scores = scores_of(numbers, seed)
    wanted: list[int] = []
    for index in best_first(scores):
        if all(iou(pixels(numbers[index]), pixels(numbers[other])) <= max_iou for other in wanted):
            wanted.append(index)
    kept = distinct(masks_of(numbers), scores, max_iou=max_iou)
    assert kept.tolist() == wanted
    again = distinct(masks_of(numbers)[kept], scores[kept], max_iou=max_iou)
    assert again.tolist() == list(range(len(wanted))), "what is left is distinct"


@given(
    numbers=MASKS,
    known=MASKS,
    seed=st.integers(0, 99),
    max_iou=SHARES,
    max_inside=SHARES,
    budget=st.none() | st.integers(0, 4),
)
def test_what_no_known_object_covers_is_new(
    numbers: list[int], known: list[int], seed: int, max_iou: float, max_inside: float, budget: int | None
) -> None:
    scores = scores_of(numbers, seed)

    def is_new(number: int) -> bool:
        own = pixels(number)
        others = [pixels(other) for other in known]
        inside = any(len(own & other) >= max_inside * len(own) for other in others)
        return bool(own) and not inside and all(iou(own, other) < max_iou for other in others)

    wanted = [index for index in best_first(scores) if is_new(numbers[index])][:budget]
    limits = {"max_iou": max_iou, "max_inside": max_inside, "budget": budget}
    found = unclaimed(masks_of(numbers), scores, masks_of(known), **limits)
    assert found.tolist() == wanted
    again = unclaimed(masks_of(numbers)[found], scores[found], masks_of(known), **limits)
    assert again.tolist() == list(range(len(wanted))), "what is new stays new"
    if budget is None or len(wanted) < budget:
        taken = torch.cat([masks_of(known), masks_of(numbers)[found]])
        assert unclaimed(masks_of(numbers)[found], scores[found], taken, **limits).tolist() == [], "and is known then"


def test_a_part_of_a_known_object_is_not_new_but_what_stands_before_it_is() -> None:
    known, part, before, whole = torch.zeros(4, 20, 20, dtype=torch.bool)
    known[2:18, 2:12] = True
    part[4:8, 4:8] = True
    before[4:10, 9:15] = True
    known &= ~before
    whole[:18, :] = True
    found = unclaimed(torch.stack([part, before, whole]), torch.tensor([0.9, 0.8, 0.7]), known[None])
    assert found.tolist() == [1, 2]
