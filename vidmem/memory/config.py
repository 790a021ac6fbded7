"""Settings of one memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """How much each store may hold, and which policy decides."""

    sensory_seconds: float = 8.0
    """Sensory memory holds frames that start within this long of the newest frame's end, and always that one."""
    working_max_frames: int = 32
    """Working memory holds at most this many frames."""
    working_min_frames: int = 16
    """Newest frames that stay when the others leave because one came in too many."""
    max_elements: int = 1024
    """Long-term memory holds at most this many elements."""
    policy: str = "hippomm"
    """Name of the policy."""
    policy_options: Mapping[str, object] = field(default_factory=dict)
    """Fields of the policy's class that differ from their defaults."""

    def __post_init__(self) -> None:
        if not self.sensory_seconds > 0:
            raise ValueError(f"sensory_seconds={self.sensory_seconds} must be above 0")
        if not 1 <= self.working_min_frames <= self.working_max_frames:
            raise ValueError(
                f"working_min_frames={self.working_min_frames} must be in [1, {self.working_max_frames}], up to "
                "working_max_frames"
            )
        if self.max_elements < 1:
            raise ValueError(f"max_elements={self.max_elements} must be at least 1")
