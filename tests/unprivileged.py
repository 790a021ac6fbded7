"""Start vidmem as a process that file permissions bind, also where the tests run as root."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

_PR_CAPBSET_DROP = 24
_OVERRIDES = (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: what lets root pass over permissions


def vidmem_unprivileged(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one verb. Root gives up passing over permissions, not its id: its interpreter may lie where only root reads.

    Skips the test where that can't be had, which is tried on a file in `folder`.
    """
    code = "import os, sys\nif os.access(sys.argv[1], os.R_OK): sys.exit(77)\nfrom vidmem.cli import main\n"
    code += "del sys.argv[1]; main()"
    locked = folder / "locked"
    locked.touch(mode=0o000)
    command = [sys.executable, "-c", code, str(locked), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=_bind)
    locked.unlink()
    if done.returncode == 77:
        pytest.skip("this system lets no process of root be bound by permissions")
    return done


def _bind() -> None:
    if os.geteuid() == 0:
        for capability in _OVERRIDES:
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
