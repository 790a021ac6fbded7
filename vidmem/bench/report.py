"""The one form in which every benchmark reports: figures with their targets, and the machine they are true of."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Say = Callable[[str], None]
"""Called with one line about what is being measured."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value. Without a target it is only reported, and holds."""

    value: float | None
    """None could not be measured on this machine."""
    unit: str
    target: float | None
    holds: bool


def at_least(value: float, unit: str, target: float) -> Figure:
    return Figure(_short(value), unit, target, value >= target)


def at_most(value: float, unit: str, target: float) -> Figure:
    return Figure(_short(value), unit, target, value <= target)


def beside(value: float, unit: str) -> Figure:
    """A value that stands beside others, to read them by."""
    return Figure(_short(value), unit, None, True)


def unmeasured(unit: str) -> Figure:
    """A figure that this machine can't give. `unit` says why."""
    return Figure(None, unit, None, True)


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def report(seed: int, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """The JSON object of a run."""
    return {
        "machine": machine(),
        "version": _version(),
        "seed": seed,
        "figures": {name: dataclasses.asdict(figure) for name, figure in figures.items()},
    }


def _version() -> str | None:
    """None where vidmem runs out of its folder, as on a rented machine: hours of measuring must not end in an error."""
    try:
        return version("vidmem")
    except PackageNotFoundError:
        return None


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "torch_threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
