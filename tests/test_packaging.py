"""What `pip install vidmem` brings is what the checkout holds, and the pins fit the requirements."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays as it is."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("vidmem", "sample_videos"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    build = "import setuptools.build_meta as backend; print(backend.build_wheel('.'))"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    return next(copy.glob("*.whl"))


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    files = (path for path in (ROOT / "vidmem").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {str(path.relative_to(ROOT)) for path in files} <= packed
    assert {name.split("/")[0] for name in packed if not name.startswith("vidmem-")} == {"vidmem"}


def test_the_wheel_brings_the_sample_videos_and_the_licences(wheel: Path) -> None:
    packed = zipfile.ZipFile(wheel).namelist()
    for name in ("short.mp4", "short.json", "long.mp4"):
        assert any(packed_name.endswith(f"/share/vidmem/sample_videos/{name}") for packed_name in packed)
    assert any(name.endswith("/LICENSE") for name in packed) and any(name.endswith("/NOTICE") for name in packed)


def test_the_links_at_the_root_show_the_packages() -> None:
    for name in ("models", "pipelines", "ui"):
        link = ROOT / name
        assert link.is_symlink() and not link.readlink().is_absolute()
        assert link.resolve() == ROOT / "vidmem" / name


def test_pins_are_names_and_versions_only() -> None:
    for name, version in PINS.items():
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) and re.fullmatch(r"[0-9][0-9a-z.]*", version), name


def test_every_requirement_is_pinned_to_a_version_that_it_allows() -> None:
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PINS.items()}
    extras = PROJECT["optional-dependencies"]
    for text in (*PROJECT["dependencies"], *extras["test"], *extras["bench"]):
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"platform_machine": "x86_64"}):
            version = pins[re.sub(r"[-_.]+", "-", requirement.name).lower()]
            assert requirement.specifier.contains(version), text
