"""Our numbers against the references', over every `.npz` in $VIDMEM_PARITY_DIR (default: tests/data/parity).

A file belongs to the system that its name begins with; other seeds and sizes of the same arrays are welcome. Every
array of a known file has to be looked at by a check.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

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


def checks_for(path: Path) -> ModuleType | None:
    return next((CHECKS[name] for name in CHECKS if path.stem == name or path.stem.startswith(f"{name}_")), None)


@cache
def load(path: Path) -> Fixture:
    return Fixture(path)


FILES = sorted(FOLDER.glob("*.npz"))
GROUPS = [
    pytest.param(path, group, id=f"{path.stem}-{group}")
    for path in FILES
    if (checks := checks_for(path))
    for group in dict.fromkeys(checks.group_of(name) for name in load(path).names)
]


@pytest.mark.parametrize(("path", "group"), GROUPS)
def test_numbers_of_the_reference(path: Path, group: str, record_property: pytest.RecordProperty) -> None:
    checks, fixture = checks_for(path), load(path)
    assert checks is not None
    check = checks.check_of(group)
    assert check is not None, f"nothing checks the arrays {group}* of {path.name}"
    fixture.seen.clear()
    check(fixture, group)
    arrays = {name for name in fixture.names if checks.group_of(name) == group}
    assert not arrays - fixture.seen, f"{path.name}: nothing looks at {', '.join(sorted(arrays - fixture.seen))}"
    error = max((fixture.errors[name] for name in arrays & fixture.errors.keys()), default=0.0)
    record_property("max_abs_error", error)
    print(f"{path.stem} {group}: {len(arrays)} arrays, largest difference {error:.2g}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_of_a_known_system(path: Path) -> None:
    if checks_for(path) is None:
        pytest.skip(f"vidmem has no implementation of {path.stem} yet, so its numbers are not compared")


def test_there_are_numbers_to_compare_with() -> None:
    assert GROUPS, f"no file of a known system in {FOLDER}"
