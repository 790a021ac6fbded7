"""Bringing blocks up: from disk over RAM to the accelerator, in threads, each reading while others check and copy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all
from dataclasses import replace
from functools import partial

from vidmem.errors import BadInput
from vidmem.kv.copies import Copies
from vidmem.kv.payload import Payload, fields_of, read_head, views
from vidmem.kv.records import BlockId
from vidmem.kv.segments import RUN_BYTES, SegmentLog
from vidmem.kv.tier import Guard, Held, Tier


class Staging:
    """Fills a tier on the accelerator from a tier in RAM, and that from disk. Thread-safe."""

    def __init__(
        self, log: SegmentLog, ram: Tier, accelerator: Tier, guard: Guard, copies: Copies, num_readers: int
    ) -> None:
        self._log, self._ram, self._accelerator = log, ram, accelerator
        self._guard, self._copies = guard, copies
        self._num_readers = num_readers
        self._readers = ThreadPoolExecutor(num_readers, "vidmem-kv-read")

    def close(self) -> None:
        """Wait for what is under way."""
        self._readers.shutdown()

    def borrow(self, sizes: Mapping[BlockId, int]) -> dict[BlockId, Held] | None:
        """Lease blocks on the accelerator, all or none, and set off for those that are not there.

        Args:
            sizes: the blocks' bytes.

        Returns:
            None if other leases leave no room now.

        Raises:
            BadInput: there is no room without them either.
        """
        with self._guard:
            borrowed = self._lease_all(sizes)
            if borrowed is None and self._accelerator.is_leased:
                return None
            if borrowed is None:  # the holes between what is there may be too small
                self._accelerator.drop_unleased()
                borrowed = self._lease_all(sizes)
            if borrowed is None:
                raise BadInput(
                    f"{len(sizes)} blocks of {sum(sizes.values())} bytes are more than the accelerator's tier holds at "
                    "once: ask for fewer, or raise its budget."
                )
            missing = [borrowed[block_id] for block_id in sorted(borrowed) if borrowed[block_id].filling is None]
            for piece in self._pieces(missing):
                filling = self._readers.submit(self._stage, piece)
                for held in piece:
                    held.filling = filling
            return borrowed

    def borrow_at_last(self, sizes: Mapping[BlockId, int]) -> dict[BlockId, Held]:
        """`borrow`, once other leases leave room. Raises TimeoutError where they never do."""
        return self._guard.wait_for(lambda: self.borrow(sizes))

    def await_all(self, borrowed: Iterable[Held]) -> None:
        """Wait until all have arrived. Raises BlocksLost, or what else befell their readers."""
        lost = [held.block_id for held in borrowed if held.filling and held.block_id in held.filling.result()]
        if lost:
            raise self._log.lost(lost)

    def give_back(self, borrowed: Sequence[Held]) -> None:
        """End the leases of `borrow`, once what is under way has arrived."""
        wait_for_all([held.filling for held in borrowed if held.filling is not None])
        # What the borrower has computed with the blocks is done before anything is written over them.
        self._copies.follow_compute()
        self._guard.release(self._accelerator, borrowed)

    def _lease_all(self, sizes: Mapping[BlockId, int]) -> dict[BlockId, Held] | None:
        # First what is there, so that making room for the rest does not push it out.
        leased = {block_id: self._accelerator.lease(block_id) for block_id in sizes}
        borrowed = {block_id: held for block_id, held in leased.items() if held is not None}
        is_complete = False
        try:
            for block_id in [block_id for block_id in sizes if block_id not in borrowed]:
                with self._copies.beside():
                    held = self._accelerator.reserve(block_id, sizes[block_id])
                if held is None:
                    return None
                borrowed[block_id] = held
            is_complete = True
            return borrowed
        finally:
            if not is_complete:
                for held in borrowed.values():
                    if held.filling is None:
                        self._accelerator.drop(held)
                    self._accelerator.release(held)

    def _pieces(self, missing: Sequence[Held]) -> list[list[Held]]:
        """Share ascending blocks among the readers, neighbours together, no share longer than a run."""
        most = -(-len(missing) // self._num_readers)
        pieces: list[list[Held]] = []
        num_bytes = 0
        for held in missing:
            num_bytes += len(held.body)
            if not pieces or len(pieces[-1]) == most or num_bytes > RUN_BYTES:
                pieces.append([])
                num_bytes = len(held.body)
            pieces[-1].append(held)
        return pieces

    def _stage(self, wanted: Sequence[Held]) -> frozenset[BlockId]:
        """In a reader's thread: fill places on the accelerator. Returns the blocks that are lost."""
        lost: set[BlockId] = set()
        try:
            rest = wanted
            while rest:
                # As many as find room, at least one. Nobody holds room while waiting, so nobody waits for ever.
                sources = self._guard.wait_for(partial(self._lease_in_ram, rest))
                lost |= self._carry(sources, rest)
                rest = rest[len(sources) :]
        except BaseException:
            lost = {held.block_id for held in wanted}
            raise
        finally:
            with self._guard:
                for held in wanted:
                    if held.block_id in lost:
                        self._accelerator.drop(held)
        return frozenset(lost)

    def _lease_in_ram(self, wanted: Sequence[Held]) -> list[Held] | None:
        sources: list[Held] = []
        for held in wanted:
            source = self._ram.lease(held.block_id) or self._ram.reserve(held.block_id, len(held.body))
            if source is None:
                break
            sources.append(source)
        return sources or None

    def _carry(self, sources: Sequence[Held], destinations: Sequence[Held]) -> set[BlockId]:
        """Read what RAM only has room for, and copy all to the accelerator. Returns the blocks that are lost."""
        absent = [source for source in sources if source.payload is None]
        try:
            self._read({source.block_id: source for source in absent})
            with self._copies.beside():
                for source, destination in zip(sources, destinations, strict=False):
                    if source.payload is not None:
                        destination.body.copy_(source.body, non_blocking=True)
                        tensors = views(fields_of(source.payload.tensors), destination.body)
                        destination.payload = replace(source.payload, tensors=tensors)
            self._copies.mark()()
        finally:
            lost = [source for source in absent if source.payload is None]
            self._guard.release(self._ram, lost, drop=True)
            self._guard.release(self._ram, [source for source in sources if source not in lost])
        return {source.block_id for source in lost}

    def _read(self, absent: Mapping[BlockId, Held]) -> None:
        """From disk into RAM. What is lost gets no payload."""
        for run in self._log.runs(absent):
            heads = self._log.read_run(run, [absent[block_id].body.numpy().data for block_id in run])
            for block_id, head in zip(run, heads, strict=True):
                if head is not None:
                    fields, positions = read_head(head)
                    held = absent[block_id]
                    held.payload = Payload(views(fields, held.body), positions, self._log.span(block_id))


class Loan:
    """Blocks on the accelerator, or on their way there, which stay there until it is closed.

    Close it as soon as their content was used or copied, best by `with`: what is lent can't make room for others, and
    who holds one loan while waiting for another may wait for himself.
    """

    def __init__(self, staging: Staging, block_ids: Sequence[BlockId], sizes: Mapping[BlockId, int]) -> None:
        self._staging, self._block_ids, self._sizes = staging, tuple(block_ids), sizes
        self._borrowed = staging.borrow(sizes)

    def result(self) -> list[Payload]:
        """The blocks in the order asked for, their tensors views that hold until the loan is closed.

        Raises:
            BlocksLost: some are damaged; it names all of these, and the loan is closed.
            OSError: the disk can't be reached; the loan is closed.
        """
        try:
            if self._borrowed is None:
                self._borrowed = self._staging.borrow_at_last(self._sizes)
            self._staging.await_all(self._borrowed.values())
            return [self._borrowed[block_id].filled for block_id in self._block_ids]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the blocks back; waits for what is under way."""
        borrowed, self._borrowed = self._borrowed, {}
        self._staging.give_back(list((borrowed or {}).values()))

    def __enter__(self) -> list[Payload]:
        return self.result()

    def __exit__(self, *error: object) -> None:
        self.close()
