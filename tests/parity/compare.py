"""Which checks a file of numbers belongs to, and how it is compared: for the tests, and for `vidmem bench track`.

A file belongs to the system that its name begins with; other seeds and sizes of the same arrays are welcome. Every
array of a known file has to be looked at by a check.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import ModuleType

from . import (
    check_dam4sam,
    check_flash_vstream,
    check_hermes,
    check_hippomm,
    check_infinity_video,
    check_kivi,
    check_moviechat,
    check_pmb,
    check_policies_other,
    check_rekv,
    check_sam2long,
    check_samurai,
    check_scenetilling,
    check_xmem,
)
from .fixture import Fixture

FOLDER = Path(os.environ.get("VIDMEM_PARITY_DIR") or Path(__file__).parent.parent / "data" / "parity")
CHECKS: dict[str, ModuleType] = {
    "dam4sam": check_dam4sam,
    "flash_vstream": check_flash_vstream,
    "hermes": check_hermes,
    "hippomm": check_hippomm,
    "infinity_video": check_infinity_video,
    "kivi": check_kivi,
    "moviechat": check_moviechat,
    "pmb": check_pmb,
    "policies_other": check_policies_other,
    "rekv": check_rekv,
    "sam2long": check_sam2long,
    "samurai": check_samurai,
    "scenetilling": check_scenetilling,
    "xmem": check_xmem,
}


def system_of(path: Path) -> str | None:
    """None where vidmem has no implementation of it."""
    return next((name for name in CHECKS if path.stem == name or path.stem.startswith(f"{name}_")), None)


def files_of(system: str) -> list[Path]:
    return [path for path in sorted(FOLDER.glob("*.npz")) if system_of(path) == system]


def groups_of(path: Path) -> dict[str, set[str]]:
    """The arrays of a known system's file by the check that looks at them, in the file's order."""
    checks, groups = CHECKS[str(system_of(path))], dict[str, set[str]]()
    for name in load(path).names:
        groups.setdefault(checks.group_of(name), set()).add(name)
    return groups


def compare(path: Path, group: str) -> float:
    """The largest difference of a group's arrays.

    Raises:
        AssertionError: one is not within its tolerance, or no check looks at it.
    """
    fixture, check = load(path), CHECKS[str(system_of(path))].check_of(group)
    assert check is not None, f"nothing checks the arrays {group}* of {path.name}"
    fixture.seen.clear()
    check(fixture, group)
    arrays = groups_of(path)[group]
    assert not arrays - fixture.seen, f"{path.name}: nothing looks at {', '.join(sorted(arrays - fixture.seen))}"
    return max((fixture.errors[name] for name in arrays & fixture.errors.keys()), default=0.0)


@cache
def load(path: Path) -> Fixture:
    return Fixture(path)
