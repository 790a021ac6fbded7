"""Telling functions, commands and webhooks: none of them can hold up or end who tells."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vidmem.errors import BadInput
from vidmem.index import AlertId, Told, ToldId
from vidmem.pipelines import telling
from vidmem.pipelines.telling import Command, Teller, Telling, Webhook
from vidmem.types import Hit, VideoId


def told(number: int = 1) -> Told:
    hit = Hit(VideoId("v"), "rtsp://door/1", 1.0, 2.0, 0.5, 1, thumbnail="/t.jpg", wall_start=1.7e9, wall_end=1.7e9 + 1)
    return Told(ToldId(number), AlertId(1), "a dog appears", "A dog appeared.", "2026-11-22T03:00:00+00:00", hit)


def until(is_true: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def after(teller: Teller) -> Telling:
    """How it went, once all is told."""
    teller.end()
    until(lambda: teller.is_done)
    return teller.state()


class Listener:
    """A web server on loopback that keeps what is posted to it, and answers with a code."""

    def __init__(self, code: int, *, failures: int = 0) -> None:
        self.bodies: list[dict[str, object]] = []
        self.num_asked = 0
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                listener.num_asked += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_taken = listener.num_asked > failures
                self.send_response(code if is_taken else 503)
                if code == 302:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                if is_taken:
                    assert self.headers["Content-Type"] == "application/json"
                    listener.bodies.append(json.loads(body))

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=secret"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Listener]]:
    monkeypatch.setattr(telling, "_PAUSE_SECONDS", 0.01)
    servers: list[Listener] = []

    def start(code: int, **options: int) -> Listener:
        servers.append(Listener(code, **options))
        return servers[-1]

    yield start
    for listener in servers:
        listener.server.shutdown()
        listener.server.server_close()


def test_a_function_gets_all_in_order_and_what_it_raises_is_counted() -> None:
    heard = []

    def then(one: Told) -> None:
        heard.append(one.told_id)
        if one.told_id == 2:
            raise RuntimeError("the lamp is broken")

    teller = Teller(then)
    for number in range(1, 5):
        teller.give(told(number))
    state = after(teller)
    assert heard == [1, 2, 3, 4]
    assert state == Telling(done=3, failed=1, failure="RuntimeError: the lamp is broken")


def test_one_that_hangs_holds_up_nobody_and_what_it_misses_is_counted() -> None:
    gate = threading.Event()
    teller = Teller(lambda _: gate.wait(60))
    for number in range(200):
        teller.give(told(number))  # never waits: the gate is shut
    state = teller.state()
    assert state.done == 0 and state.waiting + state.missed == 200
    assert state.waiting in (telling._WAITING, telling._WAITING + 1)
    gate.set()
    state = after(teller)
    assert (state.done + state.missed, state.failed) == (200, 0)


def test_a_command_gets_the_alert_as_json(tmp_path: Path) -> None:
    kept = tmp_path / "told with space.json"
    teller = Teller(Command.of(f"tee '{kept}'"))
    teller.give(told())
    assert after(teller) == Telling(done=1)
    document = json.loads(kept.read_text())
    assert document["message"] == "A dog appeared." and document["evidence"]["thumbnail"] == "/t.jpg"
    assert document["evidence"]["wall_start"] == 1.7e9


def test_a_command_that_fails_or_hangs_is_counted_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Teller(Command.of("false"))
    failing.give(told())
    assert after(failing) == Telling(failed=1, failure="false ended with exit code 1")
    monkeypatch.setattr(telling, "COMMAND_SECONDS", 0.3)
    hanging = Teller(Command.of("sh -c 'sleep 600; true'"))
    hanging.give(told())
    state = after(hanging)
    assert state.failed == 1 and "was ended" in state.failure


def test_a_webhook_is_posted_json(listen: Callable[..., Listener]) -> None:
    listener = listen(204)
    teller = Teller(Webhook.of(listener.url))
    teller.give(told())
    assert after(teller) == Telling(done=1)
    assert [body["text"] for body in listener.bodies] == ["a dog appears"]


def test_a_webhook_that_is_busy_is_tried_again(listen: Callable[..., Listener]) -> None:
    listener = listen(200, failures=2)
    teller = Teller(Webhook.of(listener.url))
    teller.give(told())
    assert after(teller).done == 1 and listener.num_asked == 3


@pytest.mark.parametrize("code", [500, 404, 302])
def test_a_webhook_that_refuses_is_said_without_its_secrets(listen: Callable[..., Listener], code: int) -> None:
    hook = Webhook.of(listen(code).url)
    teller = Teller(hook)
    teller.give(told())
    assert after(teller) == Telling(failed=1, failure=f"the webhook at 127.0.0.1 answered {code}")
    assert "secret" not in repr(hook)


def test_a_webhook_that_nobody_answers_is_said(listen: Callable[..., Listener]) -> None:
    listener = listen(200)
    listener.server.shutdown()
    listener.server.server_close()
    teller = Teller(Webhook.of(listener.url))
    teller.give(told())
    failure = after(teller).failure
    assert "127.0.0.1 can't be reached" in failure and "secret" not in failure


@pytest.mark.parametrize(
    "url", ["", "hooks/secret", "ftp://host/secret", "http://", "http://[::1/secret", "http://h:x/"]
)
def test_what_is_no_webhook_is_one_sentence_without_it(url: str) -> None:
    with pytest.raises(BadInput, match="A webhook is an http") as error:
        Webhook.of(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("", "empty command"),
        ("no-such-program-here --x", "no program 'no-such-program-here'"),
        ("echo 'a", "its quotes"),
    ],
)
def test_what_can_not_be_run_is_one_sentence(command: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Command.of(command)
