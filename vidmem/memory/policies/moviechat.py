"""MovieChat: average the most similar neighbours; read everything or what surrounds a moment.

Source: MovieChat (Song et al., CVPR 2024, arXiv 2307.16449), MovieChat+ (arXiv 2404.17176) and their code, with the
OneVision port. The reference's own forms, where the policies differ from them, are the functions of
`moviechat_reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from vidmem.memory.elements import Elements
from vidmem.memory.merging import plan_merges
from vidmem.memory.policies.policy import Change, FramePolicy, Level
from vidmem.memory.similarity import cosine_similarity


def mean_token(frames: Tensor) -> Tensor:
    """(T, P, D) to (T, D) in float32. The dot product of two is the mean dot product over all pairs of tokens."""
    return frames.float().mean(dim=1)


@dataclass(frozen=True, slots=True)
class MovieChat(FramePolicy):
    """Keep each stretch that leaves working memory as a few averages of neighbouring frames.

    When long-term memory is full the oldest elements are forgotten. Reading by a query is ours (the reference
    hands the whole sequence to the language model, `moviechat_reference.positioned`): softmax of cosines.
    """

    name: ClassVar[str] = "moviechat"
    source: ClassVar[str] = "MovieChat (Song et al., CVPR 2024), arXiv 2307.16449"
    merge_to: int = 2
    """Averages kept of each stretch."""
    similarity: Literal["dot_mean", "cosine", "key"] = "dot_mean"
    """What neighbours are merged by: the mean dot product of their tokens (as published; favours large norms), the
    cosine of their mean tokens, or the cosine of their keys."""
    carry_over: bool = False
    """Let the newest averages take part in the next merge (the OneVision port). What is made of them alone is not
    written again, where the port writes it twice; what mixes old and new keeps the span of the new."""
    read: Literal["global", "breakpoint"] = "breakpoint"
    """Query long-term memory alone (once it holds anything), or working memory too."""

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class object than the one that super() would look for.
        FramePolicy.__post_init__(self)
        if self.merge_to < 1:
            raise ValueError(f"merge_to={self.merge_to} must be at least 1")
        if self.similarity not in ("dot_mean", "cosine", "key"):
            raise ValueError(f"similarity={self.similarity!r} must be dot_mean, cosine or key")
        if self.read not in ("global", "breakpoint"):
            raise ValueError(f"read={self.read!r} must be global or breakpoint")

    @property
    def reads_working(self) -> bool:
        return self.read == "breakpoint"

    def num_kept(self, leaving: Elements) -> int:
        """Averages to keep of a stretch."""
        return self.merge_to

    def consolidate(
        self, leaving: Elements, held: tuple[Elements, ...], levels: tuple[Level, ...], first_index: int
    ) -> tuple[Change, ...]:
        (long_term,), (level,) = held, levels
        gained = self.merged(leaving, long_term)
        return (Change.forgetting_oldest(long_term, gained, level.max_elements),)

    def merged(self, leaving: Elements, long_term: Elements) -> Elements:
        """What long-term memory gains from frames that leave working memory."""
        num_carried = min(self.num_kept(leaving), len(long_term)) if self.carry_over else 0
        frames = _with_carried(long_term[len(long_term) - num_carried :], leaving) if num_carried else leaving
        features = frames.key.float() if self.similarity == "key" else mean_token(frames.value)
        plan = plan_merges(features, self.num_kept(leaving), normalise=self.similarity != "dot_mean")
        merged = Elements.fresh(
            plan.average(frames.key),
            plan.average(frames.value),
            plan.union(frames.span_seconds),
            plan.total(frames.weight),
        )
        num_told = sum(end <= num_carried for _, end in plan.groups)
        return merged[num_told:]


def _with_carried(carried: Elements, leaving: Elements) -> Elements:
    frames = Elements.cat([carried, leaving])
    # A carried frame's own span is told by its element already, so a mixture starts where the new frames start. For the
    # same reason what was carried adds no frames to a mixture's weight.
    frames.span_seconds[: len(carried)] = leaving.span_seconds[0, 0]
    frames.weight[: len(carried)] = 0.0
    return frames


@dataclass(frozen=True, slots=True, eq=False)
class MovieChatPlus(MovieChat):
    """MovieChat that keeps more of a stretch which has to do with one question, known while watching.

    This is what the MovieChat+ paper means. Its code compares the *mean* of a softmax over the stretch's frames, which
    is 1 / T whatever the question (`moviechat_reference.coded_gate`).
    """

    name: ClassVar[str] = "moviechat+"
    source: ClassVar[str] = "MovieChat+ (Song et al., 2024), arXiv 2404.17176"
    merge_to: int = 1
    """Averages kept of a stretch that is not relevant."""
    merge_to_relevant: int = 3
    """Averages kept of a relevant one."""
    question: Tensor | None = None
    """(C,) text embedding from the encoder of the keys. None: nothing is relevant."""
    relevance: Literal["mean", "max"] = "max"
    """Whether all frames of a stretch or its best one is compared with the question."""
    relevance_threshold: float = 0.25
    """Cosine of question and frame from which a stretch is relevant."""

    def __post_init__(self) -> None:
        MovieChat.__post_init__(self)
        if self.merge_to_relevant < self.merge_to:
            raise ValueError(f"{self.merge_to_relevant=} must be at least {self.merge_to=}")
        if self.relevance not in ("mean", "max"):
            raise ValueError(f"relevance={self.relevance!r} must be mean or max")

    def num_kept(self, leaving: Elements) -> int:
        if self.question is None:
            return self.merge_to
        cosines = cosine_similarity(leaving.key.float(), self.question.to(leaving.key.device).float()[None])
        score = float(cosines.mean() if self.relevance == "mean" else cosines.max())
        return self.merge_to_relevant if score >= self.relevance_threshold else self.merge_to
