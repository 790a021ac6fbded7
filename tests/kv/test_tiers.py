"""Three tiers against a dict: what was put comes back, in order and to the bit, and no budget is ever exceeded."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
import tier_world as world
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vidmem.errors import BadInput, BlocksLost, NotFound, StorageFull
from vidmem.kv.payload import Payload
from vidmem.kv.records import BlockId, Position


class TiersMachine(RuleBasedStateMachine):
    """The model holds every block's number and length, and how far they were flushed and committed."""

    ACCELERATOR, RAM = 8, 6

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.blocks: list[tuple[int, int]] = []
        self.committed = Position()
        self.next_number = 0
        self.tiers = self.open()

    def open(self):
        return world.opened(self.folder, self.committed, accelerator=self.ACCELERATOR, ram=self.RAM)

    @rule(num_tokens=st.integers(1, 12))
    def put(self, num_tokens: int) -> None:
        assert self.tiers.put(world.payload(self.next_number, num_tokens)) == len(self.blocks)
        self.blocks.append((self.next_number, num_tokens))
        self.next_number += 1

    @rule()
    def commit(self) -> None:
        self.committed = self.tiers.flush()
        assert self.committed.num_blocks == len(self.blocks)

    @rule()
    def cut(self) -> None:
        self.tiers.cut(self.committed)
        del self.blocks[self.committed.num_blocks :]

    @rule()
    def reopen(self) -> None:
        self.tiers.close()
        self.tiers = self.open()
        del self.blocks[self.committed.num_blocks :]

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def fetch(self, data) -> None:
        ids = data.draw(st.lists(st.integers(0, len(self.blocks) - 1), max_size=5))
        num_bytes = sum(self.num_bytes(block_id) for block_id in set(ids))
        budget = self.ACCELERATOR * world.BODY_BYTES
        try:
            with self.tiers.fetch([BlockId(block_id) for block_id in ids]) as found:
                for block_id, payload in zip(ids, found, strict=True):
                    assert world.equal(payload, world.payload(*self.blocks[block_id]))
        except BadInput:
            assert num_bytes > budget

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def fetch_two_at_once(self, data) -> None:
        ids = st.lists(st.integers(0, len(self.blocks) - 1), max_size=2).map(lambda ids: list(map(BlockId, ids)))
        first, second = data.draw(ids), data.draw(ids)
        total = sum(self.num_bytes(block_id) for block_id in {*first, *second})
        loan = self.tiers.fetch(first)
        other = self.tiers.fetch(second)
        found = loan.result()
        for block_id, payload in zip(first, found, strict=True):
            assert world.equal(payload, world.payload(*self.blocks[block_id]))
        if total > self.ACCELERATOR * world.BODY_BYTES // 2:  # the second may have to wait for the first
            loan.close()
        for block_id, payload in zip(second, other.result(), strict=True):
            assert world.equal(payload, world.payload(*self.blocks[block_id]))
        other.close()
        loan.close()

    @rule()
    def an_unknown_block_is_not_found(self) -> None:
        with pytest.raises(NotFound):
            self.tiers.fetch([BlockId(len(self.blocks))])

    def num_bytes(self, block_id: int) -> int:
        num_tokens = self.blocks[block_id][1]
        return 64 * (-(-16 * num_tokens // 64) + -(-2 * num_tokens // 64))

    @invariant()
    def keeps_its_budgets(self) -> None:
        accelerator, ram, _ = self.tiers.state()
        for state, tier, most in (
            (accelerator, self.tiers._accelerator, self.ACCELERATOR),
            (ram, self.tiers._ram, self.RAM),
        ):
            assert state.num_bytes <= state.num_reserved_bytes <= most * world.BODY_BYTES == state.budget_bytes
            assert state.num_bytes == tier._arena.num_lent_bytes == sum(map(self.num_bytes, tier.block_ids))
            assert state.num_blocks == len(tier.block_ids)
            places = sorted((held.place.offset, held.place.num_bytes) for held in tier._held.values())
            for (offset, size), (after, _) in zip(places, places[1:], strict=False):
                assert offset + size <= after

    @invariant()
    def disk_has_all_that_was_flushed(self) -> None:
        assert self.committed.num_blocks <= self.tiers.state()[2].num_blocks <= len(self.blocks)

    def teardown(self) -> None:
        self.tiers.close()
        shutil.rmtree(self.folder)


TestTiersMachine = TiersMachine.TestCase
TestTiersMachine.settings = settings(max_examples=25, stateful_step_count=25)


@pytest.fixture
def tiers(tmp_path):
    tiers = world.opened(tmp_path)
    yield tiers
    tiers.close()


def fill(tiers, num_blocks, first=0):
    for number in range(first, first + num_blocks):
        tiers.put(world.payload(number))
    return tiers.flush()


def fetch(tiers, *ids):
    with tiers.fetch([BlockId(block_id) for block_id in ids]) as found:
        for block_id, payload in zip(ids, found, strict=True):
            assert world.equal(payload, world.payload(block_id))


def test_the_least_recently_used_leave_first(tiers):
    fill(tiers, 10)
    assert tiers._ram.block_ids == [4, 5, 6, 7, 8, 9]
    fetch(tiers, 0, 1, 2)
    fetch(tiers, 5)  # still in RAM
    assert tiers._accelerator.block_ids == [0, 1, 2, 5]
    fetch(tiers, 1)  # on the accelerator already: RAM is not asked
    fetch(tiers, 9, 3)
    assert tiers._accelerator.block_ids == [5, 1, 9, 3]
    assert set(tiers._ram.block_ids) == {0, 1, 2, 3, 5, 9}
    num_blocks = [state.num_blocks for state in tiers.state()]
    assert num_blocks == [4, 6, 10]


def test_what_is_lent_stays_where_it_is(tiers):
    fill(tiers, 10)
    with tiers.fetch([BlockId(0), BlockId(1)]) as lent:
        before = [payload.tensors["codes"].data_ptr() for payload in lent]
        for number in range(2, 10):
            fetch(tiers, number, (number + 3) % 10)
        assert all(world.equal(payload, world.payload(number)) for number, payload in enumerate(lent))
        assert before == [payload.tensors["codes"].data_ptr() for payload in tiers.fetch([0, 1]).result()]


def test_loans_do_not_hinder_the_writer(tiers):
    fill(tiers, 10)
    with tiers.fetch([0, 1, 2, 3]) as lent:  # all that the accelerator holds
        fill(tiers, 20, first=10)
        assert all(world.equal(payload, world.payload(number)) for number, payload in enumerate(lent))
    fetch(tiers, 29, 12)


def test_a_fetch_waits_until_another_makes_room(tiers):
    fill(tiers, 8)
    first = tiers.fetch([0, 1, 2])
    second = tiers.fetch([3, 4])
    done = threading.Event()

    def take() -> None:
        assert all(world.equal(found, world.payload(3 + index)) for index, found in enumerate(second.result()))
        second.close()
        done.set()

    thread = threading.Thread(target=take)
    thread.start()
    first.result()
    assert not done.wait(0.05)  # if it did not wait, it would be done mostly
    first.close()
    assert done.wait(30)
    thread.join()


def test_a_loan_that_is_never_closed_is_said(tiers, monkeypatch):
    fill(tiers, 8)
    with tiers.fetch([0, 1, 2]):
        with monkeypatch.context() as patch:
            patch.setattr("vidmem.kv.tier._PATIENCE_SECONDS", 0.01)
            with pytest.raises(TimeoutError, match="is a loan left open"):
                tiers.fetch([3, 4]).result()
    fetch(tiers, 3, 4)


def test_more_than_a_tier_holds_is_bad_input(tiers):
    fill(tiers, 5)
    with pytest.raises(BadInput, match="5 blocks of 640 bytes are more than the accelerator's tier holds"):
        tiers.fetch([0, 1, 2, 3, 4])
    with pytest.raises(BadInput, match="raise its budget"):
        tiers.put(world.payload(9, num_tokens=100))
    fetch(tiers, 0, 1, 2, 3)


def test_holes_do_not_keep_out_what_fits(tmp_path):
    tiers = world.opened(tmp_path, accelerator=4)
    for number, num_tokens in enumerate([4, 4, 4, 4, 8, 8]):  # 128 bytes and 192
        tiers.put(world.payload(number, num_tokens))
    with tiers.fetch([0, 1, 2, 3]):
        pass
    with tiers.fetch([1, 4, 5]) as found:  # all of 512 bytes, with block 1 in the middle
        assert [len(payload) for payload in found] == [4, 8, 8]
    tiers.close()


def test_changes_after_put_do_not_reach_the_block(tiers):
    payload = world.payload(0)
    tiers.put(payload)
    for tensor in (*payload.tensors.values(), payload.positions):
        tensor.zero_()
    fetch(tiers, 0)


@pytest.mark.skipif(world.DEVICE == "cpu", reason="no CUDA device: copies are made in order")
def test_copies_keep_their_order_beside_computing(tmp_path):
    """Much computing is under way when blocks are put, lent, given back and pushed out by others."""
    tiers = world.opened(tmp_path, accelerator=4)
    busy = torch.randn(4096, 4096, device=world.DEVICE)
    taken = []
    for number in range(0, 16, 2):
        for _ in range(10):
            busy = busy @ busy * 1e-3
        made = world.payload(number)
        late = {name: tensor ^ (busy[0, 0] > 1e9) for name, tensor in made.tensors.items() if name == "codes"}
        tiers.put(Payload({**made.tensors, **late}, made.positions, made.span))
        tiers.put(world.payload(number + 1))
        with tiers.fetch([BlockId(number), BlockId(number + 1)]) as lent:
            for _ in range(10):
                busy = busy @ busy * 1e-3
            taken += [block.tensors["codes"] ^ (busy[0, 0] > 1e9) for block in lent]
    tiers.flush()
    for number, codes in enumerate(taken):
        assert torch.equal(codes, world.payload(number).tensors["codes"])
    fetch(tiers, 0, 15, 7)
    tiers.close()


def test_many_read_while_one_writes(tmp_path):
    tiers = world.opened(tmp_path, accelerator=12, ram=8, num_readers=3)
    fill(tiers, 4)
    errors: list[BaseException] = []
    finished = threading.Event()

    def ask(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        try:
            while not finished.is_set():
                num_blocks = tiers.state()[2].num_blocks
                fetch(tiers, *torch.randint(0, num_blocks, (4,), generator=generator).tolist())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(4, 150):
            tiers.put(world.payload(number))
            if number % 5 == 0:
                tiers.flush()
    finally:
        finished.set()
        for thread in threads:
            thread.join()
    assert errors == []
    fill(tiers, 1, first=150)
    for number in range(0, 151, 4):
        fetch(tiers, *range(number, min(number + 4, 151)))
    accelerator, ram, disk = tiers.state()
    assert accelerator.num_bytes <= 12 * world.BODY_BYTES and ram.num_bytes <= 8 * world.BODY_BYTES
    assert disk.num_blocks == 151
    tiers.close()


# -- faults --


def test_damage_is_named_and_all_else_is_there(tmp_path):
    tiers = world.opened(tmp_path)
    position = fill(tiers, 20)
    records = [tiers._log._record(block_id) for block_id in (3, 4, 11)]
    tiers.close()
    for record in records:
        with open(tmp_path / "kv" / f"{record['segment']:06d}.kv", "r+b") as file:
            file.seek(int(record["offset"]) + 64 + int(record["head_bytes"]) + 80)
            file.write(b"\x55")
    tiers = world.opened(tmp_path, position)
    for _ in range(2):
        with pytest.raises(BlocksLost, match="00:01-00:02, 00:05-00:06") as caught:
            fetch(tiers, 4, 3, 2, 11)
        assert caught.value.block_ids == (3, 4, 11)
        assert caught.value.spans == ((1.5, 2.0), (2.0, 2.5), (5.5, 6.0))
        fetch(tiers, 2, 5, 12)
    assert not {3, 4, 11} & {*tiers._ram.block_ids, *tiers._accelerator.block_ids}
    assert not tiers._accelerator.is_leased and not tiers._ram.is_leased
    tiers.close()


def test_a_full_disk_stops_writing_and_asks_go_on(tmp_path, monkeypatch):
    tiers = world.opened(tmp_path)
    position = fill(tiers, 12)
    real = os.pwritev

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    with pytest.raises(StorageFull, match="No space is left"):
        fill(tiers, 12, first=1000)
    for attempt in (lambda: tiers.put(world.payload(12)), tiers.flush):
        with pytest.raises(StorageFull):
            attempt()
    fetch(tiers, 0, 11, 5)
    monkeypatch.setattr(os, "pwritev", real)
    tiers.cut(position)
    fill(tiers, 3, first=12)
    fetch(tiers, 14, 13, 0)
    tiers.close()


def test_a_disk_that_cannot_be_reached_is_said(tiers, monkeypatch):
    fill(tiers, 10)

    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", refuse)
        with pytest.raises(PermissionError):
            fetch(tiers, 0, 1)
    fetch(tiers, 0, 1)
