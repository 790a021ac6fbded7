"""What this machine has of what vidmem needs, and what to do about what it lacks.

Every check really tries the thing: a binary is started, a library imported, a model's files looked for. Only the
heavy pure-Python packages are asked for their version alone, for importing them all would take half a minute.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MIN_FREE_BYTES = 1_000_000_000
"""Below this much free disk an ingest of some hours will not fit: at 1 fps a preset keeps some hundred MB an hour."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `needed` says whether the `tiny` preset can't do without it."""

    name: str
    status: Literal["ok", "missing"]
    found: str
    needed: bool
    cure: str = ""


def examine(folder: Path | None = None) -> list[Check]:
    """Look at this machine, in the order in which a reader would mend it.

    Args:
        folder: where stores will lie; its disk is measured. The working directory if None.
    """
    return [
        _python(),
        _probe("torch", _torch, needed=True, cure="pip install torch torchvision"),
        _cuda(),
        *(_installed(package) for package in ("transformers", "open_clip_torch", "safetensors", "gradio")),
        _installed("sam2", needed=False),
        _probe("PyAV", _pyav, needed=True, cure="pip install av"),
        _probe("decord", _decord, needed=False, cure="pip install decord (PyAV decodes everything without it)"),
        _probe("ffmpeg (imageio-ffmpeg)", _own_ffmpeg, needed=True, cure="pip install imageio-ffmpeg"),
        _system_ffmpeg(),
        _probe("FAISS", _faiss, needed=True, cure="pip install faiss-gpu (Linux x86-64) or faiss-cpu"),
        _faiss_gpu(),
        *_models(),
        _disk(folder or Path.cwd()),
    ]


def is_ready(checks: list[Check]) -> bool:
    """Whether all that the embedded `tiny` preset needs is here."""
    return all(check.status == "ok" for check in checks if check.needed)


def _python() -> Check:
    return Check("Python", "ok", f"{platform.python_version()} at {sys.executable}", needed=True)


def _probe(name: str, probe: Callable[[], str], *, needed: bool, cure: str) -> Check:
    """Run a probe that returns what it found and raises when the thing is absent or broken."""
    try:
        return Check(name, "ok", probe(), needed)
    except Exception as error:  # a broken binary package fails in any way it likes
        return Check(name, "missing", _reason(error), needed, cure)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _installed(package: str, *, needed: bool = True) -> Check:
    return _probe(package, lambda: importlib.metadata.version(package), needed=needed, cure=f"pip install {package}")


def _torch() -> str:
    import torch

    return f"{torch.__version__}, {torch.get_num_threads()} threads"


def _cuda() -> Check:
    try:
        import torch

        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    except Exception as error:  # drivers and libraries that do not fit each other
        names, reason = [], _reason(error)
    else:
        reason = "no CUDA device"
    if names:
        return Check("CUDA", "ok", ", ".join(names), needed=False)
    return Check(
        "CUDA",
        "missing",
        reason,
        needed=False,
        cure="nothing to do for tiny, which runs on the CPU; larger presets want one",
    )


def _pyav() -> str:
    import av

    return f"{av.__version__}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}"


def _decord() -> str:
    return str(importlib.import_module("decord").__version__)


def _own_ffmpeg() -> str:
    import imageio_ffmpeg

    return f"{_ffmpeg_version(imageio_ffmpeg.get_ffmpeg_exe())} at {imageio_ffmpeg.get_ffmpeg_exe()}"


def _system_ffmpeg() -> Check:
    found = shutil.which("ffmpeg")
    if found is None:
        cure = "nothing to do: vidmem uses the binary of imageio-ffmpeg"
        return Check("ffmpeg (system)", "missing", "not on PATH", needed=False, cure=cure)
    cure = "mend or remove it; vidmem does not use it"
    return _probe("ffmpeg (system)", lambda: f"{_ffmpeg_version(found)} at {found}", needed=False, cure=cure)


def _ffmpeg_version(binary: str) -> str:
    run = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=20, check=True)
    return run.stdout.split(" ", 3)[2]


def _faiss() -> str:
    return str(importlib.import_module("faiss").__version__)


def _faiss_gpu() -> Check:
    try:
        count = int(importlib.import_module("faiss").get_num_gpus())
    except Exception:  # the check of FAISS itself says what is wrong with it
        count = 0
    if count:
        return Check("FAISS GPU", "ok", f"{count} GPU(s)", needed=False)
    cure = "nothing to do: indexes are searched on the CPU"
    return Check("FAISS GPU", "missing", "no GPU that FAISS can use", needed=False, cure=cure)


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    if free >= MIN_FREE_BYTES:
        return Check("disk", "ok", found, needed=True)
    return Check("disk", "missing", found, needed=True, cure=f"free {MIN_FREE_BYTES / 1e9:.0f} GB or store elsewhere")


def _models() -> list[Check]:
    """One check a preset: whether the files of its encoder and language model are here."""
    from vidmem.models.preset import load_preset, presets

    checks = []
    for name in presets():
        preset = load_preset(name)
        missing = preset.missing()
        status: Literal["ok", "missing"] = "missing" if missing else "ok"
        found = f"no {' and no '.join(missing)}" if missing else preset.description
        cure = (
            " ".join(missing.values()) if name == "tiny" else "only if you want it: `vidmem models` says what to fetch"
        )
        checks.append(Check(f"models of {name}", status, found, name == "tiny", cure))
    return checks
