"""The command line over a real store and the embedded models: every verb, its JSON, its exit codes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import av
import pytest
from interruptible import interruptible
from typer.testing import CliRunner, Result
from unprivileged import vidmem_unprivileged

from vidmem import cli
from vidmem.cli import app
from vidmem.errors import StorageFull
from vidmem.models.preset import load_preset
from vidmem.pipelines import IngestReport
from vidmem.types import Span, VideoId, format_span, parse_time
from vidmem.world.video import render_file

BURGER = Span(12.8, 15.2)
"""When the burger is there in the video of this module, after its ground truth."""


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="vidmem")


def sentence(result: Result) -> str:
    assert result.stdout == ""
    assert result.stderr.startswith("vidmem: ") and "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "street.mp4"
    render_file(path, seed=5_000_000_011, duration=24, fps=5)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, video: Path) -> Path:
    path = tmp_path_factory.mktemp("store") / "street.vidmem"
    assert run("ingest", video, "--store", path).exit_code == 0
    return path


def test_ingest_says_what_it_did_and_recognises_it_the_next_time(tmp_path: Path, video: Path) -> None:
    first = run("ingest", video, "--store", tmp_path / "s.vidmem", "--fps", "0.5", "--json")
    assert first.exit_code == 0, first.stderr
    (report,) = json.loads(first.stdout)["reports"]
    assert (report["frames"], report["video_seconds"], report["already_there"]) == (12, 24.0, False)
    again = run("ingest", video, "--store", tmp_path / "s.vidmem", "--fps", "0.5")
    assert again.exit_code == 0
    assert "already in the store" in again.stdout


def test_ask_streams_the_answer_and_prints_its_evidence(store: Path) -> None:
    result = run("ask", store, "When did the burger appear?")
    assert result.exit_code == 0, result.stderr
    answer, *lines = result.stdout.splitlines()
    assert answer.strip()
    form = r"  (\d\d:\d\d)-(\d\d:\d\d)  (-?\d\.\d{3})  (\S+)(  \(.+\))?"
    found = [match for line in lines[:-1] if (match := re.fullmatch(form, line))]
    assert len(found) == len(lines) - 1 > 0, result.stdout
    assert all(Path(match[4]).is_file() for match in found)
    assert BURGER.overlaps(Span(parse_time(found[0][1]), parse_time(found[0][2])))


def test_ask_as_json_is_the_answer_with_its_evidence_and_timings(store: Path) -> None:
    result = run("ask", store, "Was there a dog?", "--json")
    answer = json.loads(result.stdout)
    assert answer["question"] == "Was there a dog?" and answer["text"]
    assert {"video_id", "source", "start", "end", "score", "rank", "thumbnail"} <= set(answer["evidence"][0])
    assert answer["timings"]["first_token"] <= answer["timings"]["total"]


def test_search_gives_at_most_k_hits_best_first(store: Path) -> None:
    hits = json.loads(run("search", store, "a burger", "-k", "2", "--json").stdout)
    assert 1 <= len(hits) <= 2
    assert BURGER.overlaps(Span(hits[0]["start"], hits[0]["end"]))
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def test_scenes_begin_where_something_comes_goes_or_moves(store: Path, video: Path) -> None:
    scenes = json.loads(run("scenes", store, "street.mp4", "--json").stdout)
    assert scenes == json.loads(run("scenes", store, "--json").stdout) and len(scenes) > 2
    assert [scene["start"] for scene in scenes] == [0.0, *(scene["end"] for scene in scenes[:-1])]
    assert scenes[-1]["end"] == 24.0 and not any(scene["is_open"] for scene in scenes)
    shown = [second["boxes"] for second in json.loads(video.with_suffix(".json").read_text())["boxes"]]
    for start in [int(scene["start"]) for scene in scenes[1:]]:
        assert shown[start] != shown[start - 1]
    lines = run("scenes", store).stdout.splitlines()
    assert lines == [f"{format_span(scene['start'], scene['end'])}  {scene['thumbnail']}" for scene in scenes]
    assert all(Path(scene["thumbnail"]).is_file() for scene in scenes)


def test_info_counts_what_the_stores_hold(store: Path) -> None:
    state = json.loads(run("info", store, "--json").stdout)
    (seen,) = state["videos"]
    assert (seen["name"], seen["frames"], seen["is_finished"]) == ("street.mp4", 24, True)
    assert state["preset"] == "tiny" and state["working"]["elements"] > 0
    shown = run("info", store).stdout
    assert "street.mp4" in shown and "long-term" in shown


def test_asking_leaves_the_store_as_it_was(store: Path) -> None:
    def listing() -> dict[str, bytes]:
        kept = (path for path in store.rglob("*") if path.is_file() and not path.name.endswith(("-shm", "-wal")))
        return {str(path): path.read_bytes() for path in kept}

    before = listing()
    assert run("ask", store, "What appeared first?").exit_code == 0
    assert listing() == before


def test_what_is_not_there_ends_with_5(store: Path, tmp_path: Path) -> None:
    for words in (
        ["ask", tmp_path / "none.vidmem", "What?"],
        ["search", tmp_path / "none.vidmem", "a dog"],
        ["info", tmp_path / "none.vidmem"],
        ["scenes", tmp_path / "none.vidmem"],
        ["scenes", store, "feedfeedfeedfeed"],
        ["ask", store, "What?", "--video", "feedfeedfeedfeed"],
        ["ingest", tmp_path / "none.mp4", "--store", tmp_path / "new.vidmem"],
    ):
        result = run(*words)
        assert result.exit_code == 5, words
        sentence(result)
    assert not (tmp_path / "none.vidmem").exists() and not (tmp_path / "new.vidmem").exists()


def test_bad_input_ends_with_2_and_makes_no_store(store: Path, tmp_path: Path) -> None:
    letter = tmp_path / "letter.mp4"
    letter.write_text("no video\n" * 100)
    for words in (
        ["ask", store, "  "],
        ["search", store, ""],
        ["ingest", letter, "--store", tmp_path / "new.vidmem"],
        ["ingest", letter, "--store", tmp_path / "new.vidmem", "--preset", "enormous"],
    ):
        result = run(*words)
        assert result.exit_code == 2, words
        sentence(result)
    assert not (tmp_path / "new.vidmem").exists()


def test_a_cut_video_leaves_no_new_store_and_an_old_one_as_it_was(video: Path, store: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    with av.open(str(video)) as whole, av.open(str(cut), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream_from_template(whole.streams.video[0])
        for packet in whole.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (tmp_path / "empty.vidmem").mkdir()
    mine = Path(shutil.copytree(store, tmp_path / "mine.vidmem"))
    for name in ("new.vidmem", "empty.vidmem", "mine.vidmem"):
        result = run("ingest", cut, "--store", tmp_path / name)
        assert result.exit_code == 2 and "cut off" in result.stderr, result.stderr
    assert not (tmp_path / "new.vidmem").exists() and not list((tmp_path / "empty.vidmem").iterdir())
    assert run("info", mine, "--verify").exit_code == 0
    assert len(json.loads(run("info", mine, "--json").stdout)["videos"]) == 1


def test_a_video_is_removed_by_its_name_or_id_and_is_gone(video: Path, store: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(store, tmp_path / "mine.vidmem"))
    denser = json.loads(run("ingest", video, "--store", mine, "--fps", "2", "--json").stdout)["reports"][0]["video_id"]
    twice = run("remove", mine, "street.mp4")
    assert twice.exit_code == 2
    assert "2 videos" in sentence(twice) and denser in sentence(twice)
    unknown = run("remove", mine, "feedfeedfeedfeed")
    assert unknown.exit_code == 5 and "vidmem info" in sentence(unknown)
    first = run("remove", mine, denser, "--json")
    assert first.exit_code == 0 and json.loads(first.stdout)["removed"]["video_id"] == denser
    last = run("remove", mine, "street.mp4")
    assert last.exit_code == 0 and "street.mp4: removed" in last.stdout
    state = json.loads(run("info", mine, "--json").stdout)
    assert state["videos"] == [] and state["working"]["elements"] == state["disk"]["num_frames"] == 0
    assert run("info", mine, "--verify").exit_code == 0
    assert not [path for folder in ("kv", "memory", "thumbs") for path in (mine / folder).rglob("*")]
    assert video.is_file() and run("ask", mine, "Was there a dog?").exit_code == 5


def test_what_a_damaged_store_says_to_do_can_be_done(video: Path, store: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(store, tmp_path / "mine.vidmem"))
    for segment in (path for path in (mine / "kv").rglob("*") if path.is_file()):
        segment.write_bytes(segment.read_bytes()[:-9] + bytes(9))
    said = sentence(run("ask", mine, "Was there a dog?"))
    command = re.search(r"`vidmem (remove .*?)`", said)
    assert command is not None, said
    assert run(*command[1].split()).exit_code == 0
    assert run("ingest", video, "--store", mine).exit_code == 0
    assert run("ask", mine, "Was there a dog?").exit_code == 0


def test_one_bad_video_among_several_is_passed_over_and_ends_with_6(video: Path, tmp_path: Path) -> None:
    result = run("ingest", tmp_path / "none.mp4", video, "--store", tmp_path / "s.vidmem", "--json")
    assert result.exit_code == 6
    said = json.loads(result.stdout)
    assert [Path(report["source"]).name for report in said["reports"]] == ["street.mp4"]
    assert list(said["failures"]) == [str(tmp_path / "none.mp4")]


@pytest.mark.parametrize(("error", "code"), [(StorageFull("No space is left."), 1), (KeyboardInterrupt(), 130)])
def test_what_ends_a_batch_does_not_hide_what_was_done(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    class Full:
        preset = load_preset("tiny")

        def ingest(self, path: str, **_: object) -> IngestReport:
            if path == str(tmp_path / "b.mp4"):
                raise error
            return IngestReport(VideoId("feed"), path, False, 0.0, frames=8, clips=1, video_seconds=8.0)

    for name in ("a.mp4", "b.mp4"):
        shutil.copy(video, tmp_path / name)
    monkeypatch.setattr(cli, "writing", lambda *_: nullcontext(Full()))
    names = [tmp_path / name for name in ("none.mp4", "a.mp4", "b.mp4")]
    result = run("ingest", *names, "--store", tmp_path / "s.vidmem", "--json")
    assert result.exit_code == code
    said = json.loads(result.stdout)
    assert [report["source"] for report in said["reports"]] == [str(tmp_path / "a.mp4")]
    assert list(said["failures"]) == [str(tmp_path / "none.mp4")]
    assert said["error"] == (str(error) or "interrupted")


def test_a_store_of_other_models_ends_with_4(store: Path) -> None:
    result = run("ask", store, "What?", "--preset", "base")
    assert result.exit_code == 4
    sentence(result)


def test_a_store_of_models_that_are_not_here_is_still_looked_at(store: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(store, tmp_path / "older.vidmem"))
    manifest = older / "manifest.toml"
    changed = re.sub(r"^(encoder_revision|language_revision) = .*", r'\1 = "of-old"', manifest.read_text(), flags=re.M)
    manifest.write_text(changed)
    result = run("ask", older, "What?")
    assert result.exit_code == 4
    assert "in revision of-old" in sentence(result) and "into a new store" in sentence(result)
    assert run("info", older, "--verify").exit_code == 0
    assert (
        json.loads(run("info", older, "--json").stdout)["videos"]
        == json.loads(run("info", store, "--json").stdout)["videos"]
    )


def test_a_store_of_a_newer_format_ends_with_4(store: Path, tmp_path: Path) -> None:
    newer = Path(shutil.copytree(store, tmp_path / "newer.vidmem"))
    manifest = newer / "manifest.toml"
    manifest.write_text(re.sub(r"^format = \d+", "format = 99", manifest.read_text(), flags=re.MULTILINE))
    result = run("ask", newer, "What?")
    assert result.exit_code == 4
    assert "format 99" in sentence(result)


def test_a_lost_index_is_made_again_and_said(store: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(store, tmp_path / "damaged.vidmem"))
    (damaged / "index.faiss").unlink()
    result = run("search", damaged, "a burger", "--json")
    assert result.exit_code == 0
    assert "index.faiss" in result.stderr
    wanted = json.loads(run("search", store, "a burger", "--json").stdout)
    assert [hit["start"] for hit in json.loads(result.stdout)] == [hit["start"] for hit in wanted]


def test_info_names_the_files_that_are_gone(store: Path, tmp_path: Path) -> None:
    sound = run("info", store, "--verify", "--json")
    assert sound.exit_code == 0 and json.loads(sound.stdout) == {"problems": []}
    damaged = Path(shutil.copytree(store, tmp_path / "damaged.vidmem"))
    lost = next((damaged / "kv").iterdir())
    lost.unlink()
    result = run("info", damaged, "--verify")
    assert result.exit_code == 1
    assert result.stdout == f"kv/{lost.name} is gone.\n"


def test_ctrl_c_during_ingest_keeps_what_was_committed(tmp_path: Path) -> None:
    video, store = tmp_path / "long.mp4", tmp_path / "long.vidmem"
    render_file(video, seed=5_000_000_012, duration=240, fps=2, size=(160, 90))
    command = [sys.executable, "-m", "vidmem.cli", "ingest", str(video), "--store", str(store)]
    with interruptible(command) as process:
        while len(list(store.glob("thumbs/*/*"))) < 16 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said
    assert f"vidmem: interrupted; what was committed stays in {store}" in said and "Traceback" not in said
    (seen,) = json.loads(run("info", store, "--json").stdout)["videos"]
    assert 8 <= seen["frames"] < 240 and not seen["is_finished"]
    (report,) = json.loads(run("ingest", video, "--store", store, "--json").stdout)["reports"]
    assert report["resumed_from"] > 0 and report["frames"] == 240 - seen["frames"]


def test_a_folder_that_cannot_be_written_ends_with_1(video: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    done = vidmem_unprivileged("ingest", video, "--store", closed / "s.vidmem", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "can't be written" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not list(closed.iterdir())


@pytest.mark.parametrize("name", ["manifest.toml", "catalogue.sqlite"])
def test_a_store_that_may_not_be_read_is_not_called_damaged(store: Path, tmp_path: Path, name: str) -> None:
    closed = Path(shutil.copytree(store, tmp_path / "closed.vidmem"))
    (closed / name).chmod(0o000)
    done = vidmem_unprivileged("info", closed, folder=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"{closed / name} can't be read: allow reading it" in done.stderr
