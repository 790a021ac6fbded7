"""Memory policies, chosen by name."""

from __future__ import annotations

from collections.abc import Callable

from vidmem.memory.policies.moviechat import MovieChat, MovieChatPlus
from vidmem.memory.policies.policy import Policy
from vidmem.memory.policies.xmem import XMem

__all__ = ["MovieChat", "MovieChatPlus", "Policy", "XMem", "policy", "policy_names"]

_POLICIES: dict[str, Callable[..., Policy]] = {kind.name: kind for kind in (MovieChat, MovieChatPlus, XMem)}


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
