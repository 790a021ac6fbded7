"""Files that are on the disk before the rows that name them are committed, and go again if these do not come."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidmem.index.files import Syncs, remove_file, write_file


@dataclass(slots=True)
class NewFiles:
    """Files of a store that no committed row names yet. Their names were never used before.

    `begun` names every file from before its first byte, so that `discard` misses none.
    """

    store: Path
    begun: list[str] = field(default_factory=list, init=False)
    unsynced: list[int] = field(default_factory=list, init=False)
    """Open descriptors of what is not yet forced to the disk."""
    is_sealed: bool = field(default=False, init=False)
    """Set once all rows that name the files stand in the transaction: whatever then befalls its COMMIT, the files may
    be part of what is durable, and only the next opening can tell."""

    def put(self, name: str, data: bytes) -> None:
        """Write a file; `force` brings it to the disk. Raises OSError."""
        self.begun.append(name)
        self.unsynced.append(write_file(self.store / name, data))

    def discard(self) -> None:
        """Remove what was written, unless sealed; what stays is a leftover for the next opening."""
        self.close()
        if not self.is_sealed:
            for name in self.begun:
                remove_file(self.store / name)

    def close(self) -> None:
        """Close what `put` left open."""
        while self.unsynced:
            os.close(self.unsynced.pop())


def force(written: Sequence[NewFiles], syncs: Syncs) -> None:
    """Force files, and their names, to the disk together. Raises OSError."""
    names = [name for files in written for name in files.begun]
    folders = {name.rpartition("/")[0] for name in names} | {name.partition("/")[0] for name in names}
    last = written[-1]
    for folder in sorted(folders):
        last.unsynced.append(os.open(last.store / folder, os.O_RDONLY))
    syncs.sync([descriptor for files in written for descriptor in files.unsynced])
    for files in written:
        files.close()
