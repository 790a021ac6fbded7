"""Memory policies, chosen by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from vidmem.memory.policies.baselines import Latest, Reservoir, Uniform, Window
from vidmem.memory.policies.em import EM
from vidmem.memory.policies.event import Event
from vidmem.memory.policies.flash_vstream import FlashVStream
from vidmem.memory.policies.hermes import Hermes
from vidmem.memory.policies.hippomm import HippoMM
from vidmem.memory.policies.infinity_video import InfinityVideo
from vidmem.memory.policies.mc_vit import McVit
from vidmem.memory.policies.moviechat import MovieChat, MovieChatPlus
from vidmem.memory.policies.policy import Change, FramePolicy, Level, Policy
from vidmem.memory.policies.pyramid import Pyramid
from vidmem.memory.policies.videostreaming import VideoStreaming
from vidmem.memory.policies.xmem import XMem

__all__ = [
    "EM",
    "Change",
    "Event",
    "FlashVStream",
    "FramePolicy",
    "Hermes",
    "HippoMM",
    "InfinityVideo",
    "Latest",
    "Level",
    "McVit",
    "MovieChat",
    "MovieChatPlus",
    "Policy",
    "PolicyInfo",
    "Pyramid",
    "Reservoir",
    "Uniform",
    "VideoStreaming",
    "Window",
    "XMem",
    "policies",
    "policy",
    "policy_names",
    "register",
]

_KINDS: tuple[type[Policy], ...] = (
    MovieChat,
    MovieChatPlus,
    XMem,
    FlashVStream,
    EM,
    Pyramid,
    VideoStreaming,
    Event,
    InfinityVideo,
    McVit,
    Hermes,
    HippoMM,
    Latest,
    Window,
    Uniform,
    Reservoir,
)
_POLICIES: dict[str, type[Policy]] = {kind.name: kind for kind in _KINDS}


@dataclass(frozen=True, slots=True)
class PolicyInfo:
    """What a policy is."""

    name: str
    summary: str
    """One line."""
    options: Mapping[str, object]
    """Fields of its class with their defaults."""
    source: str


def policies() -> list[PolicyInfo]:
    """All that can be chosen."""
    return [
        PolicyInfo(
            kind.name,
            summary=(kind.__doc__ or "").partition("\n")[0],
            options={field.name: field.default for field in fields(kind)},  # type: ignore[arg-type]
            source=kind.source,
        )
        for kind in _POLICIES.values()
    ]


def register(kind: type[Policy]) -> type[Policy]:
    """Let a policy be chosen by its name, in this process. A decorator for its class.

    Raises:
        ValueError: the name is taken.
    """
    if kind.name in _POLICIES:
        raise ValueError(f"a memory policy is called {kind.name!r} already: give this one another name")
    _POLICIES[kind.name] = kind
    return kind


def policy_names() -> tuple[str, ...]:
    return tuple(_POLICIES)


def policy(name: str, **options: object) -> Policy:
    """Build the policy `name`; options are the fields of its class.

    Raises:
        ValueError: there is no such policy, or it refuses an option's value.
        TypeError: it has no such option.
    """
    if name not in _POLICIES:
        raise ValueError(f"no memory policy is called {name!r}: choose one of {', '.join(_POLICIES)}")
    return _POLICIES[name](**options)
