"""Where blocks lie: on the accelerator, in page-locked RAM and on disk, each within its bytes.

Every block is written through to disk and stays in RAM until others push it out; what is fetched moves up to the
accelerator, over RAM. Leaving a tier is dropping, for the disk has everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import torch

from vidmem.errors import BadInput, NotFound
from vidmem.kv.arena import Arena
from vidmem.kv.copies import Copies
from vidmem.kv.payload import Fields, Payload, body_bytes, fields_of, fill, make_head
from vidmem.kv.records import Beginning, BlockId, Position
from vidmem.kv.segments import NewBlock, SegmentLog
from vidmem.kv.staging import Loan, Staging
from vidmem.kv.tier import Guard, Held, Tier, TierState


@dataclass(frozen=True, slots=True)
class TierConfig:
    """How much of what the tiers of one video may use."""

    accelerator_bytes: int = 2 * 1024**3
    """Room for fetched blocks on the accelerator, and so the most that one fetch can ask for."""
    ram_bytes: int = 4 * 1024**3
    """Room in RAM, page-locked where the accelerator is a CUDA device."""
    num_readers: int = 4
    """Threads that read from disk: one does not fill a fast disk, as it also checks and copies what it reads."""


@dataclass(frozen=True, slots=True, eq=False)
class _Coming:
    """A block that is to be put, and how it will lie."""

    payload: Payload
    fields: Fields

    @property
    def num_bytes(self) -> int:
        return body_bytes(self.fields)


class Tiers:
    """The blocks of one video. One thread writes (`put`, `flush`, `cut`), any number fetches.

    A fetch never makes the writer wait for longer than a copy between tiers takes.
    """

    def __init__(self, log: SegmentLog, device: torch.device | str = "cpu", config: TierConfig | None = None) -> None:
        """Take over an open log, which `close` closes."""
        config = config or TierConfig()
        device = torch.device(device)
        on_device = Arena(config.accelerator_bytes, device=device)
        in_ram = Arena(config.ram_bytes, is_pinned=device.type == "cuda")
        self._accelerator = Tier("accelerator", on_device, config.accelerator_bytes)
        self._ram = Tier("ram", in_ram, config.ram_bytes)
        self._log = log
        self._guard = Guard()
        self._copies = Copies(device)
        self._staging = Staging(log, self._ram, self._accelerator, self._guard, self._copies, config.num_readers)
        self._writer = ThreadPoolExecutor(1, "vidmem-kv-write")
        self._writing: Future[None] | None = None
        """What the writer's thread does last."""
        self._next = log.num_blocks
        self._failure: BaseException | None = None

    # -- writing --

    def put(self, payload: Payload) -> BlockId:
        """Add one block: `put_all`."""
        return self.put_all([payload])[0]

    def put_all(self, payloads: Sequence[Payload]) -> list[BlockId]:
        """Add blocks; their tensors, on any device, are copied before anything that is computed later changes them.

        They can be fetched at once and are written to disk in the background, all that find room in RAM together.

        Raises:
            BadInput: a block is larger than a tier; none of them is added.
            StorageFull: an earlier block could not be written. What was put since the last commit is to be `cut`.
        """
        self._raise_failure()
        rest = [_Coming(payload, fields_of(payload.tensors)) for payload in payloads]
        for coming in rest:
            for tier in (self._ram, self._accelerator):
                self._check_fits(tier, coming.num_bytes)
        block_ids = [BlockId(self._next + index) for index in range(len(rest))]
        while rest:
            helds = self._guard.wait_for(partial(self._reserve, rest))
            self._bring(rest[: len(helds)], helds)
            rest = rest[len(helds) :]
        return block_ids

    def flush(self) -> Position:
        """Force all blocks to disk and say up to where that is. Raises StorageFull, as `put`."""
        self._drain()
        self._raise_failure()
        return self._log.flush()

    def cut(self, position: Position) -> None:
        """Forget all blocks after a position that was flushed before. Raises StorageFull."""
        self._drain()
        self._log.cut(position)
        self._failure = None
        self._next = position.num_blocks
        with self._guard:
            for tier in (self._ram, self._accelerator):
                tier.drop_from(BlockId(position.num_blocks))

    def close(self) -> None:
        """Wait for what is under way and let go of the files. Loans must be closed before."""
        self._staging.close()
        self._writer.shutdown()
        self._log.close()

    # -- reading --

    def follow(self, position: Position, begin: Beginning | None = None) -> None:
        """Over a log that was opened to read: see also what was committed since, and that it begins later.

        Raises as `SegmentLog.follow`.
        """
        self._log.follow(position, begin)
        self._next = position.num_blocks

    def fetch(self, block_ids: Sequence[BlockId]) -> Loan:
        """Bring blocks to the accelerator, in the background: `result` of the loan waits for them.

        Raises:
            NotFound: there is no such block.
            BadInput: they are more than the accelerator's tier holds.
        """
        return Loan(self._staging, block_ids, {block_id: self._num_bytes(block_id) for block_id in block_ids})

    def state(self) -> tuple[TierState, TierState, TierState]:
        """Bytes by tier: accelerator, RAM, disk."""
        with self._guard:
            num_bytes = self._log.num_bytes
            disk = TierState("disk", self._log.num_blocks - self._log.first_block, num_bytes, num_bytes, None)
            return self._accelerator.state(), self._ram.state(), disk

    # -- inside --

    def _reserve(self, coming: Sequence[_Coming]) -> list[Held] | None:
        """Room in RAM for as many of the next blocks as find it now; None if there is none for the first."""
        helds: list[Held] = []
        for block_id, block in enumerate(coming, start=self._next):
            held = self._ram.reserve(BlockId(block_id), block.num_bytes)
            if held is None:
                break
            helds.append(held)
        return helds or None

    def _bring(self, coming: Sequence[_Coming], helds: Sequence[Held]) -> None:
        """Copy blocks into their room, and let them be written."""
        try:
            for block, held in zip(coming, helds, strict=True):
                payload = block.payload
                self._copies.follow_compute(payload.tensors.values())
                with self._copies.beside():
                    placed = fill(held.body, block.fields, payload.tensors)
                held.payload = Payload(placed, payload.positions.clone(), payload.span)
            heads = [make_head(block.fields, block.payload.positions) for block in coming]
            self._writing = self._writer.submit(self._write, helds, heads, self._copies.mark())
        except BaseException:
            self._guard.release(self._ram, helds, drop=True)
            raise
        self._next += len(helds)

    def _write(self, helds: Sequence[Held], heads: Sequence[bytes], wait_for_copies: Callable[[], None]) -> None:
        """In the writer's thread: append blocks that lie in RAM."""
        try:
            if self._failure is None:
                first = self._log.num_blocks
                assert first == helds[0].block_id, f"{first=} is not {helds[0].block_id}"
                wait_for_copies()
                self._log.append_all(
                    [
                        NewBlock(head, held.body.numpy().data, len(held.filled), held.filled.span)
                        for held, head in zip(helds, heads, strict=True)
                    ]
                )
        except BaseException as error:
            self._failure = error
        finally:
            self._guard.release(self._ram, helds)

    def _drain(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _num_bytes(self, block_id: BlockId) -> int:
        if not self._log.first_block <= block_id < self._next:
            num_held = self._next - self._log.first_block
            raise NotFound(f"{self._log.folder} has no block {block_id}: it holds {num_held}.")
        with self._guard:
            waiting = self._ram.size_of(block_id)
        return self._log.body_bytes(block_id) if waiting is None else waiting

    def _check_fits(self, tier: Tier, num_bytes: int) -> None:
        if num_bytes > tier.largest_block_bytes:
            raise BadInput(
                f"A block of {num_bytes} bytes does not fit into the {tier.name} tier, which takes blocks up to "
                f"{tier.largest_block_bytes}: raise its budget, quantise, or keep fewer tokens a frame."
            )
