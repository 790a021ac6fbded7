from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.memory.buffer import RowBuffer

STEPS = st.lists(st.tuples(st.sampled_from(["append", "drop", "keep"]), st.integers(0, 9)), max_size=60)


def rows(first: int, num: int) -> dict[str, torch.Tensor]:
    numbers = torch.arange(first, first + num)
    return {"a": numbers.float()[:, None].expand(-1, 3), "b": numbers.double()}


@given(STEPS)
def test_buffer_holds_what_a_list_would(steps: list[tuple[str, int]]) -> None:
    buffer, witness, written = RowBuffer(rows(0, 1), max_rows=20), [], 0
    for action, num in steps:
        if action == "append":
            num = min(num, 20 - len(witness))
            buffer.append(rows(written, num))
            witness += range(written, written + num)
            written += num
        elif action == "drop":
            num = min(num, len(witness))
            buffer.drop_oldest(num)
            witness = witness[num:]
        else:
            kept = [place for place in range(len(witness)) if place % (num + 1) == 0]
            buffer.keep(torch.tensor(kept, dtype=torch.int64))
            witness = [witness[place] for place in kept]
        assert buffer["b"].tolist() == witness
        assert buffer["a"].tolist() == [[number] * 3 for number in witness]
        assert len(buffer) == len(witness)
        assert buffer.num_reserved_bytes <= 25 * (3 * 4 + 8)


def test_steady_state_reserves_nothing_new() -> None:
    buffer = RowBuffer(rows(0, 1), max_rows=33)
    rooms = set()
    for first in range(0, 1000, 17):
        buffer.append(rows(first, 17))
        buffer.drop_oldest(max(0, len(buffer) - 16))
        rooms.add(buffer["a"].untyped_storage().data_ptr())
    assert len(rooms) <= 2
    assert buffer["b"].tolist() == list(range(first + 1, first + 17))


def test_rows_made_in_inference_mode_can_be_counted_outside() -> None:
    with torch.inference_mode():
        buffer = RowBuffer(rows(0, 1))
        buffer.append(rows(0, 2))
    buffer["b"].add_(1)
    assert buffer["b"].tolist() == [1, 2]


def test_rows_with_gradients_are_taken_as_numbers() -> None:
    buffer = RowBuffer({"a": torch.zeros(1)})
    buffer.append({"a": torch.ones(2, requires_grad=True) * 2})
    assert not buffer["a"].requires_grad
