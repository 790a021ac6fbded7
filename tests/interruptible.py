"""Start a program that Ctrl-C reaches, whatever started the tests."""

from __future__ import annotations

import signal
import subprocess


def interruptible(command: list[str]) -> subprocess.Popen[str]:
    """What a shell puts in the background ignores SIGINT, and hands that on to its children: undo it for the child."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
