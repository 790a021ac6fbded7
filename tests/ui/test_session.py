"""What the page does to its store, without the page: over small random models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import vidmem
from vidmem.ui.session import Session

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "models"))
from random_models import write_preset


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_preset(tmp_path_factory.mktemp("random"))


def test_a_page_over_a_store_that_is_there_uses_its_preset(tmp_path: Path, preset: Path) -> None:
    vidmem.open(tmp_path / "a.vidmem", preset).close()
    session = Session(tmp_path / "a.vidmem", None)
    assert session.preset.origin == str(preset)
    session.close()
    fresh = Session(tmp_path / "new.vidmem", None)
    assert fresh.preset.name == "tiny"
    fresh.close()
    assert not (tmp_path / "new.vidmem").exists()
