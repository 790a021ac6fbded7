"""The command line without the models: help, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest
from interruptible import interruptible
from typer.testing import CliRunner, Result

from vidmem.cli import app

VERBS = (
    ["demo"],
    ["ingest"],
    ["watch"],
    ["ask"],
    ["search"],
    ["track"],
    ["objects"],
    ["where"],
    ["info"],
    ["remove"],
    ["models"],
    ["policies"],
    ["doctor"],
    ["ui"],
    ["world", "render"],
    ["bench", "world"],
    ["bench", "ingest"],
    ["bench", "kv"],
    ["bench", "policies"],
    ["bench", "track"],
    ["bench", "live"],
)
HEAVY = ("torch", "transformers", "gradio", "open_clip", "faiss", "av", "decord", "numba")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="vidmem")


def one_sentence(result: Result) -> str:
    """What was said on stderr: one line of vidmem's, and nothing on stdout."""
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("vidmem: "), result.stderr
    return lines[0]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_has_help_with_an_example(verb: list[str]) -> None:
    result = run(*verb, "--help")
    assert result.exit_code == 0
    assert "Example: vidmem " + " ".join(verb) in result.stdout
    assert "--json" in result.stdout or verb == ["ui"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from vidmem.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"sys.exit(' '.join(name for name in {HEAVY!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"imported for --help: {done.stderr}"
    assert "Usage: " in done.stdout


def test_version() -> None:
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("vidmem ")


def test_wrong_usage_ends_with_2() -> None:
    for words in (["ask"], ["nonsense"], ["ingest", "a.mp4"], ["search", "s", "w", "-k", "0"]):
        result = run(*words)
        assert result.exit_code == 2, words
        assert result.stdout == ""


def test_world_render_writes_a_video_and_its_truth(tmp_path: Path) -> None:
    video = tmp_path / "world.mp4"
    result = run(
        "world", "render", video, "--seed", "3", "--duration", "2", "--size", "160x90", "--fps", "10", "--json"
    )
    assert result.exit_code == 0, result.stderr
    written = json.loads(result.stdout)
    assert Path(written["video"]) == video and written["seed"] == 3
    assert json.loads(Path(written["truth"]).read_text())
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (160, 90)
        assert sum(1 for _ in container.decode(video=0)) == 20


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--duration", "soon"], "is no time"),
        (["--duration", "inf"], "is no time"),
        (["--duration", "0"], "1 second or more"),
        (["--size", "wide"], "is no frame size"),
        (["--size", "161x90"], "even numbers"),
        (["--needle", "unicorn"], "no 'unicorn'"),
    ],
)
def test_world_render_names_what_is_wrong(tmp_path: Path, options: list[str], said: str) -> None:
    result = run("world", "render", tmp_path / "world.mp4", *options)
    assert result.exit_code == 2
    assert said in one_sentence(result)
    assert list(tmp_path.iterdir()) == []


def test_world_render_into_a_missing_folder_ends_with_5(tmp_path: Path) -> None:
    result = run("world", "render", tmp_path / "nowhere" / "world.mp4", "--duration", "1")
    assert result.exit_code == 5
    assert "nowhere" in one_sentence(result)


def test_ctrl_c_ends_with_130_and_leaves_no_half_file(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vidmem.cli",
        "world",
        "render",
        str(tmp_path / "long.mp4"),
        "--duration",
        "1:00:00",
    ]
    with interruptible(command) as process:
        while not any(tmp_path.iterdir()) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().endswith("vidmem: interrupted") and "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_policies_are_listed_with_the_room_that_they_share() -> None:
    document = json.loads(run("policies", "--json").stdout)
    assert document["room"]["max_elements"] == 1024 and document["room"]["policy"] == "hippomm"
    assert {"hippomm", "xmem", "moviechat"} <= {policy["name"] for policy in document["policies"]}
    assert "1024 frames" in run("policies").stdout
