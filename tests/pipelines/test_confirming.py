"""What the encoder has to say of a thing on some frames, in nats."""

from __future__ import annotations

import numpy as np
import pytest

from vidmem.pipelines.confirming import Query

THING, RIVAL, NEITHER = np.eye(3)
TIMES = np.array([0.0])


@pytest.mark.parametrize(
    ("thing", "rival", "odds"),
    [
        (0.4, 0.1, 2.0),  # 20 times what it is above the floor
        (0.1, 0.0, -4.0),
        (0.4, 0.425, 0.0),  # a rival that is more alike by half a nat or less may be there as well
        (0.4, 0.5, -1.5),
    ],
)
def test_a_frame_speaks_for_a_thing_by_how_alike_it_is_and_against_it_where_a_rival_is_more(
    thing: float, rival: float, odds: float
) -> None:
    query = Query(THING, RIVAL[None], floor=0.3, scale=20.0)
    frame = thing * THING + rival * RIVAL + (1 - thing**2 - rival**2) ** 0.5 * NEITHER
    look = query.look(TIMES, TIMES + 0.5, frame[None])
    assert look.scores == pytest.approx([thing]) and look.odds == pytest.approx([odds])


def test_without_rivals_the_floor_alone_is_the_bar() -> None:
    query = Query(THING, RIVAL[None][:0], floor=0.3, scale=100.0)
    assert query.look(TIMES, TIMES + 0.5, RIVAL[None]).odds == pytest.approx([-30.0])
