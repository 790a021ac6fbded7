"""Frames to put into memories, and the memories to put them into."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch.nn import functional

from vidmem.memory import Elements, Memory, MemoryConfig

KEY_DIM, NUM_TOKENS, TOKEN_DIM = 6, 4, 3
POLICIES = [
    ("moviechat", {}),
    ("moviechat", {"carry_over": True, "read": "global", "similarity": "key"}),
    ("moviechat+", {"question": torch.ones(KEY_DIM)}),
    ("xmem", {"logit_scale": 5.0}),
    ("xmem", {"reads_on_write": False, "top_k": 2}),
    ("hermes", {}),
    ("hermes", {"granularity": "token", "semantic_share": 0.4}),
    ("hermes", {"pairs": "all", "weighted": False}),
    ("em", {"num_representatives": 2}),
    ("infinity-video", {"logit_scale": 5.0, "reads_on_write": True}),
    ("infinity-video", {"tau": 0.5, "even": "coefficients", "samples": "draw", "stickiness": 1.0, "seed": 3}),
    ("mc-vit", {"num_memories": 2}),
    ("mc-vit", {"num_memories": 1, "method": "coreset", "when_full": "forget"}),
    ("mc-vit", {"num_memories": 2, "method": "random", "seed": 3}),
    ("flash-vstream", {}),
    ("flash-vstream", {"detail_share": 0.7, "max_clusters": 5}),
    ("hippomm", {"threshold": 0.5, "top_k": 2}),
    ("latest", {"num_frames": 3}),
    ("window", {}),
    ("uniform", {}),
    ("reservoir", {"seed": 1}),
    ("pyramid", {}),
    ("pyramid", {"intervals": (3, 1), "ratios": (2, 1), "shares": (0, 1)}),
    ("videostreaming", {"clip_frames": 2}),
    ("videostreaming", {"clip_frames": 3, "clip_tokens": 1, "top_k": 1}),
    ("event", {"min_frames": 2}),
    ("event", {"min_frames": 1, "gist_share": 0.6, "carry": 0.5, "alpha": 0.0}),
]
"""Every policy, in forms that differ."""

clip_sizes = st.lists(st.integers(0, 15), max_size=8)


def frames(num: int, *, first: int = 0, seed: int = 0, seconds: float = 1.0) -> Elements:
    """Frames `first` to `first + num` of one endless random video: the same whatever stretch is asked for."""
    keys, values = [], []
    for index in range(first, first + num):
        random = torch.Generator().manual_seed(seed * 1_000_003 + index)
        keys.append(functional.normalize(torch.randn(KEY_DIM, generator=random), dim=0))
        values.append(torch.randn(NUM_TOKENS, TOKEN_DIM, generator=random))
    starts = torch.arange(first, first + num, dtype=torch.float64) * seconds
    if not num:
        return Elements.empty(KEY_DIM, NUM_TOKENS, TOKEN_DIM)
    return Elements.fresh(torch.stack(keys), torch.stack(values), torch.stack([starts, starts + seconds], dim=1))


def same(left: Elements, right: Elements, *, atol: float = 0.0) -> bool:
    """Whether spans are equal and all numbers are, to `atol`."""
    return (
        torch.equal(left.span_seconds, right.span_seconds)
        and left.key.shape == right.key.shape
        and all(
            torch.allclose(getattr(left, name), getattr(right, name), rtol=0, atol=atol)
            for name in ("key", "value", "usage", "life", "weight")
        )
    )


@st.composite
def configs(draw: st.DrawFn) -> MemoryConfig:
    name, options = draw(st.sampled_from(POLICIES))
    max_frames = draw(st.integers(1, 9))
    return MemoryConfig(
        sensory_seconds=draw(st.floats(0.5, 12.0)),
        working_max_frames=max_frames,
        working_min_frames=draw(st.integers(1, max_frames)),
        max_elements=draw(st.integers(1, 12)),
        policy=name,
        policy_options=options,
    )


def filled(config: MemoryConfig, sizes: list[int]) -> Memory:
    """A memory of frames that came in clips of these sizes."""
    memory, first = Memory(config), 0
    for size in sizes:
        memory.write(frames(size, first=first))
        first += size
    return memory
