"""The documentation says what is true: its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vidmem.cli import app
from vidmem.world.video import render_file

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "sample_videos" / "README.md"]
VERBS_WITHIN = ("world", "bench")


@pytest.fixture
def street(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder but for `street.mp4`, the video of the examples."""
    render_file(tmp_path / "street.mp4", seed=7, duration=20, fps=5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def code_blocks(language: str) -> list[tuple[str, str]]:
    """Every fenced block of one language, with the page it stands on."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, block) for page in PAGES for block in pattern.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[tuple[str, str]]:
    lines = [
        (page, line.partition("  #")[0].strip()) for page, block in code_blocks("sh") for line in block.splitlines()
    ]
    return [(page, line) for page, line in lines if line.startswith("vidmem ")]


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: value)
def test_every_command_of_the_documentation_parses(page: str, line: str) -> None:
    """Run with `--help` put last: the verb must exist, and so must every option before it."""
    words = shlex.split(line)[1:]
    verb = words[: 2 if words[0] in VERBS_WITHIN else 1]
    shown = CliRunner().invoke(app, [*verb, "--help"])
    assert shown.exit_code == 0, f"{page}: {line}"
    known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown.stdout))
    assert {word for word in words if word.startswith("-")} <= known, f"{page}: {line}"


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert not dead


def test_make_targets_of_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {
        word
        for page, block in code_blocks("sh")
        for line in block.splitlines()
        for word in re.findall(r"\bmake ([a-z]+)", line)
    }
    assert named <= targets


def test_the_python_examples_run(street: Path) -> None:
    for page, block in code_blocks("python"):
        exec(compile(block, page, "exec", dont_inherit=True), {})  # in the folder of `street.mp4`, as a reader would
    assert (street / "street.vidmem").is_dir()


def test_the_commands_of_the_first_page_run_in_their_order(street: Path) -> None:
    """All but those that serve, install or measure."""
    lines = [line for page, line in commands() if page == "README.md"]
    for line in lines:
        words = shlex.split(line)[1:]
        if words[0] not in ("ui", "demo", "bench"):
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, f"{line}: {done.stderr}"
            assert done.stdout.strip(), line
