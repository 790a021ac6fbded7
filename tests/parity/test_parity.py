"""Our numbers against the references', over every `.npz` in $VIDMEM_PARITY_DIR (default: tests/data/parity)."""

from __future__ import annotations

from pathlib import Path

import pytest

from .compare import CHECKS, FOLDER, compare, files_of, groups_of, system_of

GROUPS = [
    pytest.param(path, group, id=f"{path.stem}-{group}")
    for system in CHECKS
    for path in files_of(system)
    for group in groups_of(path)
]


@pytest.mark.parametrize(("path", "group"), GROUPS)
def test_numbers_of_the_reference(path: Path, group: str, record_property: pytest.RecordProperty) -> None:
    error = compare(path, group)
    record_property("max_abs_error", error)
    print(f"{path.stem} {group}: {len(groups_of(path)[group])} arrays, largest difference {error:.2g}")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_every_file_is_of_a_known_system(path: Path) -> None:
    if system_of(path) is None:
        pytest.skip(f"vidmem has no implementation of {path.stem} yet, so its numbers are not compared")


def test_there_are_numbers_to_compare_with() -> None:
    assert GROUPS, f"no file of a known system in {FOLDER}"
