"""The Atkinson-Shiffrin memory: three stores under one policy. Pure torch; knows no model, file or screen.

    memory = Memory(MemoryConfig(policy="hippomm"))
    memory.write(Elements.fresh(embeddings, tokens, span_seconds))  # the frames of a clip, in time order
    readout = memory.read(text_embedding[None])                     # values, and what each element gave
    memory.state()                                                  # elements, tokens, bytes, seconds of each store

- `elements`: `Elements`, a struct of tensors: key, value, time span, usage, life.
- `policies`: they decide what stays of what leaves, what is forgotten, what a query reads. Chosen by name.
- `memory`, `long_term`, `stores`, `buffer`: they hold tensors, and keep bounds and order. `config` says which.
- Pure functions that compute: `similarity` and `resolution` of frames; `scenes` and `events`, where video is cut;
  `merging`, which neighbours are put together, `grouping`, what they become, `kmeans`, `coreset` and `novelty`, what
  stands for many; `basis` and `continuous`, functions of time; `episodes` and `semantics` (HERMES), `pyramid`
  (VideoChat-Online), `windows` and `recall` (HippoMM).
- `token_memory`, `segmentation`, `schedule`: XMem's own memory of image tokens for segmented objects.
- `tracking`: which frames a tracker of objects remembers, and which mask it takes.

Frames arrive in sensory and working memory. When one is too many for working memory, all but the newest
`working_min_frames` leave, and the policy turns them into a few elements of long-term memory.
"""

from vidmem.memory.config import MemoryConfig
from vidmem.memory.elements import Elements
from vidmem.memory.memory import Memory, MemoryState, Readout
from vidmem.memory.policies import Policy, PolicyInfo, policies, policy, policy_names, register
from vidmem.memory.stores import Store, StoreState

__all__ = [
    "Elements",
    "Memory",
    "MemoryConfig",
    "MemoryState",
    "Policy",
    "PolicyInfo",
    "Readout",
    "Store",
    "StoreState",
    "policies",
    "policy",
    "policy_names",
    "register",
]
