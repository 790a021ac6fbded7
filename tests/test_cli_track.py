"""`vidmem track`, `objects` and `where`, with models of random weights: files, JSON, exit codes, Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from interruptible import interruptible
from PIL import Image
from typer.testing import CliRunner, Result

from vidmem.cli import app
from vidmem.types import format_time

for folder in ("models", "pipelines"):
    sys.path.insert(0, str(Path(__file__).resolve().parent / folder))
from follow_world import MASK, add_tracker, write_changing, write_moving, write_tracker  # noqa: E402
from lively_sam import HEIGHT, WIDTH  # noqa: E402
from random_models import write_preset  # noqa: E402

BOX = "20,10,25,20"


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="vidmem")


def sentence(result: Result) -> str:
    """What was said on stderr: one line of vidmem's, and nothing on stdout."""
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("vidmem: "), result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return add_tracker(write_preset(folder), write_tracker(folder / "sam", absent_below=0.15), "tracking")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_moving(tmp_path_factory.mktemp("video") / "moving.mp4", 60)


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mask") / "mask.png"
    Image.fromarray((MASK * 255).astype(np.uint8)).save(path)
    return path


def decoded(counts: str, size: tuple[int, int]) -> np.ndarray:
    """COCO's compressed run lengths, after its C source: 5 bits a character, from the third run on as differences."""
    runs: list[int] = []
    place = 0
    while place < len(counts):
        value = shift = 0
        more = True
        while more:
            bits = ord(counts[place]) - 48
            value |= (bits & 0x1F) << (5 * shift)
            more = bool(bits & 0x20)
            place, shift = place + 1, shift + 1
            if not more and bits & 0x10:
                value |= -1 << (5 * shift)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(size, order="F")


def test_a_file_is_followed_without_a_store(video: Path, mask: Path, preset: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    how = ["--selection", "sam2", "--preset", preset, "--label", "box", "--json"]
    result = run("track", video, "--mask", mask, "--at", "00:02", "-o", output, *how)
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["frames"], said["start"], said["end"], said["object"]) == (50, 2.0, pytest.approx(11.8), None)
    track = json.loads((tmp_path / "out.json").read_text())
    assert said["track"] == str(tmp_path / "out.json")
    assert (track["width"], track["height"], track["fps"]) == (WIDTH, HEIGHT, 5.0)
    assert [frame["seconds"] for frame in track["frames"]] == pytest.approx(np.arange(10, 60) / 5)
    for frame in track["frames"]:
        (found,) = frame["objects"]
        if not found["visible"]:
            assert found["box"] is found["mask"] is None
            continue
        shape = decoded(found["mask"]["counts"], tuple(found["mask"]["size"]))
        rows, columns = np.nonzero(shape)
        left, top, width, height = found["box"]
        assert (left, top, left + width, top + height) == (
            columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        )  # fmt: skip
        assert 0 <= found["score"] <= 1
    hidden = [not frame["objects"][0]["visible"] for frame in track["frames"]]
    turns = [frame["seconds"] for frame, a, b in zip(track["frames"][1:], hidden, hidden[1:], strict=False) if a != b]
    assert [change["seconds"] for change in track["changes"]] == turns
    notes = [line for line in result.stderr.splitlines() if line.startswith("box is ")]
    assert len(notes) == len(turns)
    with av.open(str(output)) as container:
        pictures = list(container.decode(video=0))
    assert [frame.time for frame in pictures] == pytest.approx(np.arange(50) / 5, abs=1e-3)
    first = pictures[0].to_ndarray(format="rgb24")
    assert first.shape == (HEIGHT, WIDTH, 3)
    with av.open(str(video)) as container:
        plain = next(frame for index, frame in enumerate(container.decode(video=0)) if index == 10)
    changed = np.abs(first.astype(int) - plain.to_ndarray(format="rgb24")).sum(axis=2) > 60
    assert changed[MASK].mean() > 0.5 > changed.mean(), "what is followed is painted over"


def test_a_track_is_remembered_listed_and_found(video: Path, mask: Path, preset: Path, tmp_path: Path) -> None:
    store = tmp_path / "moving.vidmem"
    assert run("ingest", video, "--store", store, "--preset", preset).exit_code == 0
    assert "No object is remembered." in run("objects", store).stdout
    result = run("track", video, "--mask", mask, "-o", tmp_path / "out.mp4", "--store", store, "--label", "key")
    assert result.exit_code == 0, result.stderr
    assert "object 1 in" in result.stdout
    (known,) = json.loads(run("objects", store, "--json").stdout)
    assert (known["object_id"], known["label"], known["spans"][0]["start"]) == (1, "key", 0.0)
    (named,) = json.loads(run("objects", store, "a key", "--video", "moving.mp4", "--json").stdout)
    assert named["why"] == "called 'key'"
    line = run("objects", store).stdout
    assert line.startswith("   1  key") and known["thumbnail"] in line
    where = json.loads(run("where", store, "the key", "--json").stdout)
    assert where["from_track"] and where["last_seen"] == known["spans"][-1]["end"]
    assert run("where", store, "the key").stdout.startswith("key: seen ")
    assert run("objects", store, "--video", "other.mp4").exit_code == 5
    found = run("objects", store, "--find")
    assert found.exit_code == 0 and "moving.mp4: " in found.stderr


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--box", "1,2,3"], "--box '1,2,3' should be X,Y,W,H", 2),
        (["--box", "1,2,0,9"], "no area", 2),
        (["--point", "a,b"], "should be X,Y", 2),
        (["--point", "95,5"], "outside the frame of 90 x 60", 2),
        ([], "Give one of box, point and mask", 2),
        (["--box", BOX, "--at", "00:12"], "it lasts 00:12.000", 2),
        (["--box", BOX, "--at", "soon"], "is no time", 2),
        (["--box", BOX, "--until", "0"], "an end behind the beginning", 2),
        (["--mask", "none.png"], "there is no mask none.png", 5),
        (["--mask", __file__], "is no picture", 2),
        (["--box", BOX, "--selection", "best"], "no memory selection 'best'", 2),
        (["--box", BOX, "--store", "none.vidmem"], "none.vidmem", 5),
    ],
)
def test_what_is_wrong_is_one_sentence_and_leaves_no_file(
    video: Path, preset: Path, tmp_path: Path, words: list[str], said: str, code: int
) -> None:
    given = [] if "--store" in words else ["--preset", preset]
    result = run("track", video, "-o", tmp_path / "out.mp4", *given, *words)
    assert result.exit_code == code, result.stderr
    assert said in sentence(result)
    assert list(tmp_path.iterdir()) == []


def test_frames_that_change_their_size_are_drawn_at_that_of_the_first(mask: Path, preset: Path, tmp_path: Path) -> None:
    video, output = write_changing(tmp_path / "changing.ts"), tmp_path / "out.mp4"
    result = run("track", video, "--mask", mask, "-o", output, "--preset", preset)
    assert result.exit_code == 0, result.stderr
    assert "Frames have another size or shape from 00:01.000 on" in result.stderr
    track = json.loads((tmp_path / "out.json").read_text())
    assert (track["width"], track["height"], len(track["frames"])) == (WIDTH, HEIGHT, 10)
    with av.open(str(output)) as container:
        assert {(frame.width, frame.height) for frame in container.decode(video=0)} == {(WIDTH, HEIGHT)}


def test_a_file_that_is_cut_off_is_followed_to_its_end_and_it_is_said(
    video: Path, mask: Path, preset: Path, tmp_path: Path
) -> None:
    cut, output = tmp_path / "cut.mp4", tmp_path / "out.mp4"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    beyond = run("track", cut, "--mask", mask, "--at", "11", "-o", output, "--preset", preset)
    assert beyond.exit_code == 2
    assert "cut.mp4 has no picture at 11 s" in sentence(beyond) and not output.exists()
    result = run("track", cut, "--mask", mask, "-o", output, "--preset", preset)
    assert result.exit_code == 0 and output.exists()
    assert "cut.mp4 is cut off or damaged: of 00:12 only the first 00:0" in result.stderr
    earlier = run("track", cut, "--mask", mask, "--until", "2", "-o", output, "--preset", preset)
    assert earlier.exit_code == 0 and "cut off" not in earlier.stderr


def test_an_output_that_can_not_be_is_refused(video: Path, preset: Path, tmp_path: Path) -> None:
    for output, code in ((tmp_path / "out.avi", 2), (tmp_path / "gone" / "out.mp4", 5), (video, 2)):
        result = run("track", video, "--box", BOX, "-o", output, "--preset", preset)
        assert result.exit_code == code and sentence(result)
    assert run("track", tmp_path / "none.mp4", "--box", BOX, "-o", tmp_path / "out.mp4").exit_code == 5


def test_a_missing_tracker_is_named(video: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    lacking = add_tracker(write_preset(tmp_path / "m"), tmp_path / "gone", "lacking")
    result = run("track", video, "--box", BOX, "-o", tmp_path / "out.mp4", "--preset", lacking)
    assert result.exit_code == 4
    assert "gone" in sentence(result) and not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("is_remembered", [False, True])
def test_ctrl_c_leaves_a_video_that_plays_and_a_track_that_reads_and_says_so(
    mask: Path, preset: Path, tmp_path: Path, is_remembered: bool
) -> None:
    video, store = write_moving(tmp_path / "long.mp4", 3000), tmp_path / "long.vidmem"
    output = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "vidmem.cli", "track", str(video), "--mask", str(mask), "-o", str(output)]
    if is_remembered:
        assert run("ingest", video, "--store", store, "--preset", preset, "--fps", 0.1).exit_code == 0
    where = ["--store", str(store)] if is_remembered else ["--preset", str(preset)]
    with interruptible([*command, *where]) as process:
        part = tmp_path / ".out.json.part"
        while process.poll() is None and not (part.exists() and part.stat().st_size > 20_000):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    track = json.loads((tmp_path / "out.json").read_text())
    last = format_time(track["frames"][-1]["seconds"])
    kept = [f"what was committed stays in {store}"] if is_remembered else []
    drawn = f"{output} and {tmp_path / 'out.json'} hold what was followed until {last}"
    assert "; ".join(["vidmem: interrupted", *kept, drawn]) in said.splitlines()
    assert "Traceback" not in said
    with av.open(str(output)) as container:
        num_pictures = sum(1 for _ in container.decode(video=0))
    assert 0 < len(track["frames"]) <= num_pictures <= len(track["frames"]) + 1
    left = {"long.mp4", "out.mp4", "out.json", *(["long.vidmem"] if is_remembered else [])}
    assert {path.name for path in tmp_path.iterdir()} == left
