"""Telling somebody, out of the way of whoever has something to tell: a function, a command or a webhook."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vidmem.errors import BadInput
from vidmem.index import Told

Then = Callable[[Told], object]
"""Is called with what a standing question is told, in a thread of its own."""

COMMAND_SECONDS = 30.0
WEBHOOK_SECONDS = 10.0
_TRIES = 3
_PAUSE_SECONDS = 2.0
_POLL_SECONDS = 0.1
_WAITING = 64
"""What may wait for one that is slow; what comes beyond that is not told to it."""


def told_document(told: Told) -> dict[str, Any]:
    """What commands get on their standard input, and webhooks in their body, as JSON."""
    evidence = {name: value for name, value in dataclasses.asdict(told.evidence).items() if value is not None}
    return {**{field.name: getattr(told, field.name) for field in dataclasses.fields(told)}, "evidence": evidence}


class TellingFailed(Exception):
    """One sentence, without secrets."""


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a program, without a shell, with the alert as JSON on its standard input."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Command:
        """Read a command line. Raises BadInput if there is no such program."""
        try:
            words = tuple(shlex.split(text))
        except ValueError as error:
            raise BadInput(f"{text!r} is no command line ({error}): close its quotes.") from error
        if not words:
            raise BadInput("An empty command can't be run: give a program with its arguments.")
        if shutil.which(words[0]) is None:
            raise BadInput(f"There is no program {words[0]!r} to be run: correct its name, or give its whole path.")
        return cls(words)

    def __call__(self, told: Told) -> None:
        document = json.dumps(told_document(told), ensure_ascii=False)
        # In a session of its own: what it started ends with it, and Ctrl-C of the watch is not meant for it.
        with subprocess.Popen(
            self.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            try:
                process.communicate(document.encode(), timeout=COMMAND_SECONDS)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise TellingFailed(f"{self.words[0]} took more than {COMMAND_SECONDS:.0f} s and was ended") from None
        if process.returncode:
            raise TellingFailed(f"{self.words[0]} ended with exit code {process.returncode}")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts the alert as JSON; where that fails, twice again."""

    url: str = dataclasses.field(repr=False)

    @classmethod
    def of(cls, url: str) -> Webhook:
        """Raises BadInput if that is no address of a web server."""
        try:
            parts = urlsplit(url)
            is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_one = False
        if not is_one:
            raise BadInput("A webhook is an http:// or https:// URL with a host: what was given is none.")
        return cls(url)

    def __call__(self, told: Told) -> None:
        body = json.dumps(told_document(told), ensure_ascii=False).encode()
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE_SECONDS)
            failure = self._post(body)
            if failure is None:
                return
        raise TellingFailed(f"the webhook at {urlsplit(self.url).hostname} {failure}")

    def _post(self, body: bytes) -> str | None:
        """Why it failed. Says nothing of the URL beyond its host: who knows the rest may post, too."""
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"}, method="POST")
        try:
            with _OPENER.open(request, timeout=WEBHOOK_SECONDS):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return f"answered {error.code}"
        except TimeoutError:
            return f"did not answer within {WEBHOOK_SECONDS:.0f} s"
        except urllib.error.URLError as error:
            return f"can't be reached ({error.reason})"
        except Exception as error:  # of http.client, some of which tell the URL
            return f"can't be used ({type(error).__name__})"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would come as a GET, without what is told."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


@dataclass(frozen=True, slots=True)
class Telling:
    """How it goes with telling somebody. Counts since the beginning."""

    done: int = 0
    failed: int = 0
    """It raised, or its command or webhook failed."""
    missed: int = 0
    """It was too slow: so many waited already."""
    waiting: int = 0
    failure: str = ""
    """Why it last failed."""


class Teller:
    """Tells one thing after the other in a thread of its own, so that nobody waits for whoever is told."""

    def __init__(self, then: Then) -> None:
        self._then = then
        self._waiting: queue.Queue[Told] = queue.Queue(_WAITING)
        self._lock = threading.Lock()
        self._done = self._failed = self._missed = self._under_way = 0
        self._failure = ""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vidmem-tell", daemon=True)
        self._thread.start()

    def give(self, told: Told) -> None:
        """Have it told. Returns at once; what there is no room for is counted."""
        with self._lock:
            self._under_way += 1
            try:
                self._waiting.put_nowait(told)
            except queue.Full:
                self._under_way -= 1
                self._missed += 1

    def state(self) -> Telling:
        with self._lock:
            return Telling(self._done, self._failed, self._missed, self._under_way, self._failure)

    def end(self) -> None:
        """Tell what waits, and then no more. Returns at once."""
        self._is_over.set()

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (told := self._next()) is not None:
            failure = None
            try:
                self._then(told)
            except TellingFailed as error:
                failure = str(error)
            except Exception as error:  # whatever a function of the user's raises
                failure = f"{type(error).__name__}: {error}"
            with self._lock:
                self._under_way -= 1
                self._done += failure is None
                if failure is not None:
                    self._failed, self._failure = self._failed + 1, failure

    def _next(self) -> Told | None:
        """What is to be told next, once there is something; None when all is."""
        while True:
            try:
                return self._waiting.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._is_over.is_set():
                    return None


def together(tellings: Sequence[Telling]) -> Telling:
    """How it goes with telling several."""
    return Telling(
        done=sum(one.done for one in tellings),
        failed=sum(one.failed for one in tellings),
        missed=sum(one.missed for one in tellings),
        waiting=sum(one.waiting for one in tellings),
        failure=next((one.failure for one in reversed(tellings) if one.failure), ""),
    )


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()
