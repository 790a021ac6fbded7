"""What the command line prints while it works."""

from __future__ import annotations

import io
import sys
import time

import pytest

from vidmem import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_only_while_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("render") as show:
        assert terminal.getvalue() == ""
        time.sleep(0.11)
        show(1.0, 2.0)
        assert "render  50%" in terminal.getvalue()
        show(2.0, 2.0)
        shown = terminal.getvalue()
        assert shown.endswith("\r")
    assert terminal.getvalue() == shown
