"""What `vidmem doctor` and `vidmem models` say about this machine."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidmem import doctor
from vidmem.cli import app
from vidmem.doctor import Check, examine, is_ready


@pytest.fixture(scope="module")
def checks() -> dict[str, Check]:
    return {check.name: check for check in examine()}


def test_doctor_finds_what_is_installed(checks: dict[str, Check]) -> None:
    assert checks["torch"].found.startswith(importlib.metadata.version("torch"))
    assert checks["PyAV"].found.startswith(importlib.metadata.version("av"))
    assert checks["gradio"].found == importlib.metadata.version("gradio")
    assert checks["ffmpeg (imageio-ffmpeg)"].status == "ok"
    assert checks["FAISS"].status == "ok"


def test_doctor_agrees_with_the_path_about_the_systems_ffmpeg(checks: dict[str, Check]) -> None:
    assert (checks["ffmpeg (system)"].status == "ok") == (shutil.which("ffmpeg") is not None)


def test_whatever_is_missing_comes_with_a_cure(checks: dict[str, Check]) -> None:
    assert all(check.cure for check in checks.values() if check.status == "missing")


def test_a_broken_library_is_missing_with_its_reason() -> None:
    def broken() -> str:
        raise OSError("libfoo.so.1: cannot open shared object file\nmore")

    check = doctor._probe("foo", broken, needed=True, cure="pip install foo")
    assert check.status == "missing" and check.found == "OSError: libfoo.so.1: cannot open shared object file"
    assert not is_ready([check])


def test_broken_libraries_are_told_in_every_check(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise OSError

    for name in ("torch", "faiss", "av", "decord"):
        monkeypatch.setitem(sys.modules, name, Broken())
    found = {check.name: check for check in examine()}
    for name in ("torch", "CUDA", "FAISS", "FAISS GPU", "PyAV", "decord"):
        assert found[name].status == "missing" and found[name].cure


def test_a_full_disk_is_missing_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MIN_FREE_BYTES", 1 << 60)
    check = doctor._disk(tmp_path)
    assert check.status == "missing" and check.needed and "free" in check.cure


def test_doctor_exits_with_0_where_tiny_runs_and_with_4_where_not(checks: dict[str, Check]) -> None:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    said = json.loads(result.stdout)
    assert result.exit_code == (0 if is_ready(list(checks.values())) else 4)
    assert said["ready"] == (result.exit_code == 0)
    assert {check["name"] for check in said["checks"]} == set(checks)


def test_models_lists_every_preset_and_what_it_lacks() -> None:
    result = CliRunner().invoke(app, ["models", "--json"])
    assert result.exit_code == 0
    listed = {preset["name"]: preset for preset in json.loads(result.stdout)}
    assert list(listed) == ["tiny", "small", "base", "large"]
    assert listed["tiny"]["missing"] == {}
    assert "hf download" in " ".join(listed["small"]["missing"].values()) or not listed["small"]["missing"]
