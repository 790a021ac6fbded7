"""Standing questions about a stream: told what happens on it, whoever listens, and kept for the next watch."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

import vidmem
from vidmem.bench.clips import unseen_seed
from vidmem.bench.live_camera import held
from vidmem.cli import app
from vidmem.errors import BadInput, NotFound
from vidmem.pipelines import Told
from vidmem.world.script import Script, ScriptConfig
from vidmem.world.video import encode, frames

SECONDS = 16.0
"""In them a hammer comes at 2.4 s and goes at 9.3; a pig comes at 9.3 and goes at 13.5. There is no dog."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    script = Script(ScriptConfig(seed=unseen_seed(0, 500), duration=180.0))
    stays = {stay.thing: stay.span for stay in script.stays() if stay.span.start < SECONDS}
    assert 2 < stays["hammer"].start < 3 and 9 < stays["hammer"].end < 10 and 13 < stays["pig"].end < 14
    assert "dog" not in stays
    path = tmp_path_factory.mktemp("world") / "world.mp4"
    encode(path, frames(script, fps=5, size=(320, 180), end=SECONDS), fps=5, size=(320, 180), duration=SECONDS)
    return path


def until(is_true: Callable[[], bool], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def test_a_watch_tells_what_comes_and_goes_and_goes_on_with_it_when_it_is_watched_again(
    tmp_path: Path, world: Path
) -> None:
    before = held()
    heard: list[Told] = []
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        comes, goes = memory.alert("a hammer appears"), memory.alert("tell me when the hammer is gone")
        memory.alert("a dog appears")
        watch = memory.watch(str(world), fps=2.0, policy="block", speed=8.0)
        watch.listen(heard.append)
        assert watch.wait(300)
        state = watch.state().alerts
        assert [(one.alert_id, round(one.evidence.start, 1)) for one in heard] == [
            (comes.alert_id, 2.4), (goes.alert_id, 9.4),
        ]  # fmt: skip
        assert (state.num_told, state.unchecked, state.behind_seconds, state.telling.done) == (2, 0, 0.0, 2)
        assert [one.text for one in state.asked] == ["a hammer appears", "a dog appears"]  # the other is answered
        assert heard == memory.told() == list(state.told)
        evidence = heard[0].evidence
        assert evidence.verification == "confirmed" and evidence.thumbnail and Path(evidence.thumbnail).is_file()
        clock = memory._store.stream_clock(watch.video_id)
        assert clock is not None and evidence.wall_start == pytest.approx(clock.wall_at(evidence.start))
        assert heard[0].message.startswith("A hammer appeared at ")
        assert heard[1].message.startswith("The hammer was gone at ")
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        watch = memory.watch(str(world), fps=2.0, policy="block", speed=8.0)
        assert [one.text for one in watch.state().alerts.asked] == ["a hammer appears", "a dog appears"]
        assert watch.wait(300)
        assert [(alert.is_done, alert.told) for alert in memory.alerts()] == [(False, 2), (True, 1), (False, 0)]
        assert memory.verify() == []
        memory.remove_alert(comes.alert_id)
        with pytest.raises(NotFound):
            memory.remove_alert(comes.alert_id)
        assert {one.alert_id for one in memory.told()} == {goes.alert_id}
    assert held() == before


def test_who_hangs_or_fails_when_told_holds_up_nothing(tmp_path: Path, world: Path) -> None:
    gate = threading.Event()
    with vidmem.open(tmp_path / "a.vidmem") as memory:
        watch = memory.watch(str(world), fps=2.0, policy="block", speed=1.0)
        watch.alert("a hammer appears", lambda _: gate.wait(240))
        watch.alert("a hammer appears", lambda told: {}[told.message])
        watch.alert("a pig appears")
        with pytest.raises(BadInput, match="names nothing to look for"):
            watch.alert("appears")
        with pytest.raises(BadInput, match="gone_seconds"):
            watch.alert("a dog", gone_seconds=float("nan"))
        # The pig comes when the hammer was told, and is told while nobody has heard of the hammer.
        until(lambda: watch.num_told == 2 or not watch.is_running)
        state = watch.state().alerts
        assert watch.is_running and [told.text for told in state.told] == ["a hammer appears", "a pig appears"]
        assert (state.telling.done, state.telling.failed, state.telling.waiting) == (0, 1, 1)
        assert state.telling.failure.startswith("KeyError")
        gate.set()
        assert watch.wait(300)
        assert watch.state().committed == 32 and watch.state().alerts.telling.done == 1


class Hook(BaseHTTPRequestHandler):
    bodies: list[dict[str, object]] = []

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_the_command_line_tells_a_command_a_webhook_and_whoever_reads_it(tmp_path: Path, world: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, kept = f"http://127.0.0.1:{server.server_port}/?token=secret", tmp_path / "kept.jsonl"
    store = tmp_path / "a.vidmem"
    options = ["--fps", "2", "--policy", "block", "--speed", "4", "--json"]
    asked = ["--alert", "a hammer appears", "--alert", "tell me when the hammer is gone", "--alert", "a dog appears"]
    told_to = ["--exec", f"sh -c 'cat >> {kept}; echo >> {kept}'", "--webhook", url]
    command = [sys.executable, "-m", "vidmem.cli", "watch", world, "--store", store, *options, *asked, *told_to]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600)
    server.shutdown()
    server.server_close()
    assert done.returncode == 0 and "secret" not in done.stderr + done.stdout, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    alerts = [line["alert"] for line in lines if "alert" in line]
    assert [one["text"] for one in alerts] == ["a hammer appears", "tell me when the hammer is gone"]
    assert lines[-1]["alerts"]["num_told"] == 2 and lines[-1]["alerts"]["telling"]["done"] == 4
    told = [json.loads(line) for line in kept.read_text().splitlines()]
    assert told == Hook.bodies and [one["told_id"] for one in told] == [one["told_id"] for one in alerts]
    assert b"secret" not in b"".join(path.read_bytes() for path in store.glob("catalogue.sqlite*"))
    listed = CliRunner().invoke(app, ["alerts", str(store)])
    assert listed.exit_code == 0 and listed.stdout.count("A hammer appeared at") == 1
    assert "(answered; asked" in listed.stdout and "a dog appears  (told 0 times" in listed.stdout
    removed = CliRunner().invoke(app, ["alerts", str(store), "--remove", "1", "--json"])
    assert removed.exit_code == 0 and json.loads(removed.stdout)["removed"]["text"] == "a hammer appears"
    left = json.loads(CliRunner().invoke(app, ["alerts", str(store), "--json"]).stdout)
    assert [(one["alert_id"], len(one["latest"])) for one in left] == [(2, 1), (3, 0)]
    again = CliRunner().invoke(app, ["alerts", str(store), "--remove", "1"])
    assert again.exit_code == 5 and "No standing question 1" in again.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--alert", "appears"], "names nothing to look for"),
        (["--alert", "a dog", "--webhook", "ftp://me:secret@host"], "A webhook is an http"),
        (["--alert", "a dog", "--exec", "no-such-program"], "no program 'no-such-program'"),
        (["--exec", "true"], "there are none"),
    ],
)
def test_what_can_not_be_asked_or_told_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, world: Path, preset: Path, words: list[str], sentence: str
) -> None:
    store = tmp_path / "a.vidmem"
    result = CliRunner().invoke(app, ["watch", str(world), "--store", str(store), "--preset", str(preset), *words])
    assert result.exit_code == 2 and sentence in result.stderr, result.stderr
    assert "secret" not in result.stderr and result.stderr.count("\n") == 1
    assert not store.exists()
