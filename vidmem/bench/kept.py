"""What a long run has measured, kept in a folder: stopped, it goes on behind that."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidmem.bench.report import Figure


@dataclass(frozen=True, slots=True)
class Kept:
    """Results by name, a JSON file each. Several processes may share it.

    Results of another code are taken for those of this one: a folder is for one state of the code.
    """

    folder: Path | None
    """None keeps nothing."""
    of: Mapping[str, Any]
    """What all results depend on, in JSON's types: what was kept of something else is measured anew."""

    def made(self, name: str, make: Callable[[], Any]) -> Any:
        """A result in JSON's types: the one that was kept, or a new one, which is kept then."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}.json"
        if path.exists():
            there = json.loads(path.read_text())
            if there["of"] == self.of:
                return there["result"]
        result = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps({"of": self.of, "result": result}))
        os.replace(part, path)
        return result

    def figures(self, name: str, measure: Callable[[], Mapping[str, Figure]]) -> dict[str, Figure]:
        """The same of figures."""
        made = self.made(name, lambda: {which: asdict(figure) for which, figure in measure().items()})
        return {which: Figure(**figure) for which, figure in made.items()}
