"""The parts of a long run, and what was measured of them, kept in a folder: stopped, it goes on behind that."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vidmem.bench.report import Figure, Say
from vidmem.errors import BadInput

Figures = dict[str, Figure]
Measure = Callable[[], Figures]


def check_parts(wanted: Collection[str], parts: Collection[str]) -> None:
    """Raises BadInput if something is wanted that is no part of a benchmark."""
    if unknown := set(wanted).difference(parts):
        raise BadInput(f"{min(unknown)!r} is no part of this: take some of {', '.join(parts)}.")


def in_a_folder(measure: Callable[[Path], Figures]) -> Figures:
    """What is measured in a folder of its own; what a part leaves on the disk goes with it."""
    with tempfile.TemporaryDirectory(prefix="vidmem-bench-") as name:
        return measure(Path(name))


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
        if (there := self._there(name)) is not None:
            return there["result"]
        result = make()
        self._keep(name, result)
        return result

    def figures(self, name: str, measure: Measure) -> Figures:
        """The same of figures. Those of which one could not be measured are not kept: what it lacked may come."""
        if (there := self._there(name)) is not None:
            return {which: Figure(**figure) for which, figure in there["result"].items()}
        figures = measure()
        if all(figure.value is not None for figure in figures.values()):
            self._keep(name, {which: asdict(figure) for which, figure in figures.items()})
        return figures

    def parts(self, bench: str, measures: Mapping[str, Measure], wanted: Collection[str], say: Say) -> Figures:
        """The figures of all parts that are wanted of those that a benchmark measures one after the other."""
        figures: Figures = {}
        for part, measure in measures.items():
            if part in wanted:
                say(f"{bench}: {part}")
                figures |= self.figures(part, measure)
        return figures

    def _there(self, name: str) -> Any:
        """None if nothing of this was kept."""
        if self.folder is None or not (path := self.folder / f"{name}.json").exists():
            return None
        there = json.loads(path.read_text())
        return there if there["of"] == self.of else None

    def _keep(self, name: str, result: Any) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.part"
        part.write_text(json.dumps({"of": self.of, "result": result}))
        os.replace(part, self.folder / f"{name}.json")
