"""Several questions packed behind one clip: each sees the clip and itself, none sees another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedTokenizerFast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vidmem.models.prompt import END_OF_TURN, OPENING, VIDEO_TOKEN, closing, time_mark
from vidmem.recipes.accelerator import DEVICE
from vidmem.recipes.bank import Example

TOKENS_PER_FRAME = 16
TURN_TOKENS = 5
"""Tokens between a question's mark and its answer: end of turn, new line, start of turn, assistant, new line."""
SAID_BEHIND = 3
"""Tokens from the second that an answer ends with: itself, the full stop, end of turn."""
WIDTH = 256
ANY = -1
"""In `Packed.looks`: whatever the frame, whatever the thing."""


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int), f"{token} is one token"
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A batch of clips with their questions, padded to one length L: clips to `num_shared` tokens, then questions.

    `ids`, `positions`, `segments` and `labels` are (B, L); segment 0 is the clip, k the k-th question, -1 padding.
    `clocks` (B, L) are the times that a token must know, as minute * 60 + second within the hour, or -1.
    `asked_frames` (B, L) are the frames, numbers in `features`, that a token must know the things of, or -1.
    `looks` (N, 5) are the tokens that must look at their question's evidence: row and column in the batch, frame,
    thing, and whether the evidence is that the thing is gone. Frame and thing may be ANY.
    `sums` (all frames, 2) are how many things each frame shows and whether it is night; -1 where nobody knows.
    `features` (all frames, 64, 192) in the order in which their tokens stand; `is_visual` (B, L) where they do.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    labels: Tensor
    clocks: Tensor
    asked_frames: Tensor
    looks: Tensor
    is_visual: Tensor
    sums: Tensor
    num_shared: int
    features: Tensor
    num_frames: list[int]
    kinds: list[list[str]]

    @property
    def is_first_frame(self) -> Tensor:
        """(all frames,): the first of each clip."""
        first = [index == 0 for count in self.num_frames for index in range(count)]
        return torch.tensor(first, device=self.features.device)


@dataclass(slots=True)
class _Row:
    """Tokens of a clip or of its questions, before padding."""

    ids: list[int]
    positions: list[int]
    segments: list[int]
    labels: list[int]
    clocks: list[int]
    asked_frames: list[int]

    def padded(self, length: int, pad: int) -> _Row:
        missing = length - len(self.ids)
        return _Row(
            self.ids + [pad] * missing,
            self.positions + [0] * missing,
            self.segments + [-1] * missing,
            self.labels + [-100] * missing,
            self.clocks + [-1] * missing,
            self.asked_frames + [-1] * missing,
        )


class Packer:
    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.video = token_id(tokenizer, VIDEO_TOKEN)
        self.pad = token_id(tokenizer, str(tokenizer.pad_token))
        self.opening = self._ids(OPENING)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def pack(self, examples: list[Example]) -> Packed:
        clips = [self._clip(example) for example in examples]
        offsets = list(accumulate((len(example.labels) for example in examples), initial=0))
        asked = [
            self._questions(example, len(clip.ids), offset)
            for example, clip, offset in zip(examples, clips, offsets, strict=False)
        ]
        num_shared, rest = max(len(clip.ids) for clip in clips), max(len(row.ids) for row in asked)
        left = [clip.padded(num_shared, self.pad) for clip in clips]
        right = [row.padded(rest, self.pad) for row in asked]
        ids, positions, segments, labels, clocks, asked_frames = (
            torch.tensor([getattr(a, name) + getattr(b, name) for a, b in zip(left, right, strict=True)], device=DEVICE)
            for name in ("ids", "positions", "segments", "labels", "clocks", "asked_frames")
        )
        looks = [
            (row, num_shared + column, *look)
            for row, (example, offset) in enumerate(zip(examples, offsets, strict=False))
            for column, look in self._looks(example, offset)
        ]
        features = torch.cat([example.features for example in examples]).to(DEVICE)
        kinds: list[list[str]] = [[question.kind for question in example.questions] for example in examples]
        num_frames = [len(example.labels) for example in examples]
        return Packed(
            ids,
            positions,
            segments,
            labels,
            clocks,
            asked_frames,
            torch.tensor(looks, device=DEVICE).view(-1, 5),
            ids == self.video,
            torch.cat([example.sums for example in examples]).to(DEVICE),
            num_shared,
            features,
            num_frames,
            kinds,
        )

    def _clip(self, example: Example) -> _Row:
        ids = list(self.opening)
        clocks = [-1] * len(ids)
        for label in example.labels:
            mark = self._ids(time_mark(label))
            ids += mark + [self.video] * TOKENS_PER_FRAME
            clocks += [-1] * len(mark) + [clock_of(label)] * TOKENS_PER_FRAME
        return _Row(ids, list(range(len(ids))), [0] * len(ids), [-100] * len(ids), clocks, [-1] * len(ids))

    def _questions(self, example: Example, position: int, first_frame: int) -> _Row:
        row = _Row([], [], [], [], [], [])
        for number, (question, moment) in enumerate(zip(example.questions, example.moments, strict=True), start=1):
            asked, told = self._ids(closing(question.text)), self._ids(question.answer + END_OF_TURN)
            row.ids += asked + told
            row.positions += range(position, position + len(asked) + len(told))
            row.segments += [number] * (len(asked) + len(told))
            row.labels += [-100] * len(asked) + told
            clocks = [-1] * (len(asked) + len(told))
            if moment is not None:
                # from the question's end to where its answer says it
                stop = len(clocks) - SAID_BEHIND if question.kind == "when" else len(asked)
                start = len(asked) - TURN_TOKENS
                clocks[start:stop] = [clock_of(moment)] * (stop - start)
            row.clocks += clocks
            frames = [-1] * len(clocks)
            said_time = question.text.rstrip("?").split()[-1]
            if said_time in example.labels:
                # the question's last tokens, from its time's second on
                start = len(asked) - TURN_TOKENS - 2
                frames[start : len(asked)] = [first_frame + example.labels.index(said_time)] * (TURN_TOKENS + 2)
            row.asked_frames += frames
        return row

    def _looks(self, example: Example, first_frame: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
        """Columns of tokens that say an answer, counted from the first question; frame, thing, and if it is gone."""
        stop = 0
        for question, look in zip(example.questions, example.looks, strict=True):
            begin = stop + len(self._ids(closing(question.text)))
            stop = begin + len(self._ids(question.answer + END_OF_TURN))
            if look is not None:
                frame = ANY if look.frame is None else first_frame + look.frame
                thing = ANY if look.thing is None else look.thing
                yield from ((column, (frame, thing, int(look.gone))) for column in range(begin - 1, stop - SAID_BEHIND))


def clock_of(label: str) -> int:
    """`MM:SS` or `HH:MM:SS` as minute * 60 + second."""
    return int(label[-5:-3]) * 60 + int(label[-2:])


def question_mask(batch: Packed, dtype: torch.dtype) -> Tensor:
    """Additive (B, 1, L - S, L): a question's token sees the clip and what stands before it in its own question."""
    length, shared = batch.segments.shape[1], batch.num_shared
    columns = torch.arange(length, device=batch.ids.device)
    rows = columns[shared:, None]
    of, to = batch.segments[:, shared:, None], batch.segments[:, None, :]
    allowed = (columns <= rows) & ((to == 0) | (to == of)) | (columns == rows)
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(
        ~allowed, torch.finfo(dtype).min
    )[:, None]


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention (B, heads, L, D) in two calls: the clip causally, with no mask to read, then the questions.

    One call over all would spend half its work on what the mask takes away: at 40 frames that is most of a step.
    Padding behind a short clip is seen by nothing but padding.
    """
    shared = query.shape[2] - attention_mask.shape[2]
    clip = scaled_dot_product_attention(
        query[:, :, :shared], key[:, :, :shared], value[:, :, :shared], is_causal=True, scale=scaling
    )
    rest = scaled_dot_product_attention(query[:, :, shared:], key, value, attn_mask=attention_mask, scale=scaling)
    return torch.cat([clip, rest], dim=2).transpose(1, 2).contiguous(), None


PACKED_ATTENTION = "vidmem_packed"
ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, packed_attention)
