"""Policies as their references have them, where ours do otherwise: measured beside them, and in no public list.

Out of the functions that the parity numbers are compared with, in the room and under the invariants of `Memory`: bounds
hold, and starts never decrease. What a bounded memory of frames can't express is said at each; `docs/policies.md` has
all departures. What of EM-LLM and VideoStreaming is otherwise needs training or endless room, so they are not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from vidmem.memory import Elements, Memory, MemoryConfig
from vidmem.memory.kmeans import SeededDraws
from vidmem.memory.merging import plan_merges
from vidmem.memory.novelty import novel_frames
from vidmem.memory.policies import (
    Change,
    Event,
    FlashVStream,
    Hermes,
    HippoMM,
    InfinityVideo,
    Level,
    McVit,
    MovieChat,
    MovieChatPlus,
    Policy,
    Pyramid,
    XMem,
)
from vidmem.memory.policies.baselines import fresh
from vidmem.memory.policies.event_reference import coded_boundaries
from vidmem.memory.policies.flash_vstream import clustered
from vidmem.memory.policies.flash_vstream_reference import key_frames, temporal_memory
from vidmem.memory.policies.infinity_video_reference import NUM_SAMPLES, draw_bins, sticky_draws, sticky_probability
from vidmem.memory.policies.infinity_video_reference import update as fitted
from vidmem.memory.policies.moviechat import mean_token
from vidmem.memory.policies.moviechat_reference import coded_gate
from vidmem.memory.policies.xmem import above_threshold
from vidmem.memory.pyramid import Neighbours
from vidmem.memory.resolution import resampled
from vidmem.memory.similarity import cosine_similarity

_NONE = torch.empty(0, dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class CodedMovieChat(MovieChat):
    """The OneVision port: averages go into the next round's merging, and what comes of them is written again.

    Its list has no times; what is written tells of the round's own stretch. MovieChat's own code merges as ours does.
    """

    def merged(self, leaving: Elements, long_term: Elements) -> Elements:
        carried = long_term[max(0, len(long_term) - self.merge_to) :]
        frames = Elements.cat([carried, leaving])
        plan = plan_merges(mean_token(frames.value), self.merge_to)
        start = leaving.span_seconds[:1, :1].expand(len(carried), 2)
        return Elements.fresh(
            plan.average(frames.key),
            plan.average(frames.value),
            plan.union(torch.cat([start, leaving.span_seconds])),
            plan.total(frames.weight),
        )


@dataclass(frozen=True, slots=True, eq=False)
class CodedMovieChatPlus(MovieChatPlus):
    """The gate is 1 / T: of a stretch of five frames or more one average stays, whatever the question."""

    def num_kept(self, leaving: Elements) -> int:
        logits = leaving.key.new_zeros(len(leaving))
        if self.question is not None:
            logits = cosine_similarity(leaving.key.float(), self.question.to(leaving.key).float()[None])[:, 0]
        return coded_gate(logits).merge_to


@dataclass(frozen=True, slots=True)
class CodedXMem(XMem):
    """All that ties at the threshold goes, so everything that was never read; new frames do not query memory."""

    reads_on_write: bool = False

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (change,) = XMem.consolidate(self, leaving, held, levels, first_index)
        kept = above_threshold(held[0].frequency, levels[0].max_elements - len(change.gained))
        return (replace(change, kept=kept),)


@dataclass(frozen=True, slots=True)
class CodedFlashVStream(FlashVStream):
    """Clusters begin with random frames and count as one each in the next round; cluster c's whole frame is number c.

    The code's numbers are those of all frames there ever were; here those of the ones kept and the new ones. It keeps
    no times, so that clusters have those that ours would give them.
    """

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (clusters, whole), (coarse, fine) = held, levels
        listed = Elements.cat([clusters, resampled(leaving, coarse.num_tokens)])
        listed = Elements.fresh(listed.key, listed.value, listed.span_seconds)
        draws = SeededDraws(torch.Generator().manual_seed(first_index))
        found = temporal_memory(listed.value, coarse.max_elements, draws=draws)
        heaviest = found.weight.argsort(descending=True, stable=True)
        numbers = key_frames(listed.value, found, heaviest, rule="coded").tolist()
        num_whole = len(whole)
        places = [place for place in dict.fromkeys(numbers) if place < num_whole + len(leaving)]
        kept = torch.tensor(places[: fine.max_elements], dtype=torch.int64).sort().values
        told = leaving[kept[kept >= num_whole] - num_whole]
        return Change(clustered(listed, found.label), _NONE), Change(fresh(told), kept[kept < num_whole])


@dataclass(frozen=True, slots=True)
class CodedInfinityVideo(InfinityVideo):
    """Ridge fits of all coefficients anew with every stretch, of independent draws in no order, less its newest frame.

    Keys and values are fitted alike. The newest frames' keys query the past for the sticky draws, for want of the
    trained queries. A coefficient has the time that its place tells, though what it was drawn from may lie anywhere.
    `tau` is ours: the published 0.75 goes with few, long chunks.
    """

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (past,), (level,) = held, levels
        rows = [torch.cat([part.key.float(), part.value.float().flatten(1)], dim=1) for part in (past, leaving)]
        draws = None
        if len(past):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + first_index)
            probability = sticky_probability(leaving.key[None], past.key[None]).cpu()
            draws = sticky_draws(draw_bins(probability, NUM_SAMPLES, generator)).to(past.key.device)
        size = level.max_elements
        coefficients = fitted(rows[0] if len(past) else None, rows[1], num_coefficients=size, tau=self.tau, draws=draws)
        key, value = coefficients.split([leaving.key.shape[1], leaving.value[0].numel()], dim=1)
        told = Elements.fresh(
            key.to(leaving.key.dtype),
            value.to(leaving.value.dtype).unflatten(1, leaving.value.shape[1:]),
            _spans_by_place(past.span_seconds, leaving.span_seconds, size, self.tau),
        )
        return (Change(told, _NONE),)


def _spans_by_place(past: Tensor, new: Tensor, num: int, tau: float) -> Tensor:
    """Spans (num, 2) of equal pieces of [0, 1], where spans (N, 2) lie up to `tau`, if any, and (L, 2) behind them."""
    share = tau if len(past) else 0.0
    behind = share + (1 - share) * np.arange(len(new) + 1) / len(new)
    places = np.concatenate([share * np.arange(len(past)) / max(len(past), 1), behind])
    seconds = torch.cat([past[:, 0], new[:, 0], new[-1:, 1]]).numpy()
    edges = torch.from_numpy(np.interp(np.arange(num + 1) / num, places, seconds))
    return torch.stack([edges[:-1], edges[1:]], dim=1)


@dataclass(frozen=True, slots=True)
class CodedPyramid(Pyramid):
    """What a frame pushes down joins the next level, and what that pushes out there is lost.

    Levels stay in time order, as `Memory` wants them; in the code what comes down joins the end.
    """

    def send_down(self, number: int, chains: Sequence[Neighbours], levels: Sequence[Level]) -> None:
        Pyramid.send_down(self, number, chains[:2], levels[:2])


@dataclass(frozen=True, slots=True)
class CodedHippoMM(HippoMM):
    """Key frames are below a cosine of 0.9 with all before them; there is no bound, so here the oldest go.

    Hits among the features of all frames can't be looked up in the key frames' times: memory holds key frames alone.
    """

    threshold: float = 0.9

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        novel = novel_frames(leaving.key, threshold=self.threshold, known=long_term.key)
        return (Change.forgetting_oldest(long_term, fresh(leaving[novel]), level.max_elements),)


@dataclass(frozen=True, slots=True)
class CodedEvent(Event):
    """SceneTilling's cuts: wherever the depth exceeds the mean by half a deviation, on slopes and in stillness too.

    What was cut stays cut; in the code one more frame moves all cuts.
    """

    min_frames: int = 1

    def cuts(self, features: Tensor) -> list[int]:
        return coded_boundaries(features, alpha=self.alpha)[:-1]


@dataclass(frozen=True, slots=True)
class CodedHermes(Hermes):
    """20 episodes whatever the room, token by token, after every stretch but the first, which is kept whole."""

    granularity: Literal["frame", "token"] = "token"
    num_episodes: ClassVar[int] = 20

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        episodes, *folds = levels
        if first_index:
            episodes = replace(episodes, max_elements=min(self.num_episodes, episodes.max_elements))
        return Hermes.consolidate(self, leaving, held, (episodes, *folds), first_index)


@dataclass(frozen=True, slots=True)
class CodedMcVit(McVit):
    """The bounded variant of the paper, which has no code: the oldest memories are forgotten."""

    when_full: Literal["reconsolidate", "forget"] = "forget"


CODED: dict[str, type[Policy]] = {
    kind.name: kind
    for kind in (
        CodedMovieChat,
        CodedMovieChatPlus,
        CodedXMem,
        CodedFlashVStream,
        CodedPyramid,
        CodedEvent,
        CodedInfinityVideo,
        CodedMcVit,
        CodedHermes,
        CodedHippoMM,
    )
}
"""By the names of ours."""


def coded_memory(config: MemoryConfig) -> Memory:
    """An empty memory with the settings and options of `config`, whose policy does as its reference.

    Raises:
        KeyError: the policy has no form of its own here.
    """
    memory = Memory(config)
    memory.policy = CODED[config.policy](**config.policy_options)
    return memory
