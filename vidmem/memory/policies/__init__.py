"""Memory policies, chosen by name."""

from __future__ import annotations

from collections.abc import Callable

from vidmem.memory.policies.baselines import Latest, Reservoir, Uniform, Window
from vidmem.memory.policies.moviechat import MovieChat, MovieChatPlus
from vidmem.memory.policies.policy import Change, FramePolicy, Level, Policy
from vidmem.memory.policies.xmem import XMem

__all__ = [
    "Change",
    "FramePolicy",
    "Latest",
    "Level",
    "MovieChat",
    "MovieChatPlus",
    "Policy",
    "Reservoir",
    "Uniform",
    "Window",
    "XMem",
    "policy",
    "policy_names",
]

_KINDS: tuple[type[Policy], ...] = (
    MovieChat,
    MovieChatPlus,
    XMem,
    Latest,
    Window,
    Uniform,
    Reservoir,
)
_POLICIES: dict[str, Callable[..., Policy]] = {kind.name: kind for kind in _KINDS}


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
