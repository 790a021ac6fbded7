"""The video-LLM as KV memory uses it: the same prompt as `VideoLanguageModel.assemble` makes, cut into blocks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import cached_property

import torch
from torch import Tensor

from vidmem.kv.asking import AllTaken, QuestionQueries
from vidmem.kv.attention import Window
from vidmem.kv.block import Block
from vidmem.kv.compress import Seen
from vidmem.kv.context import Context, assemble
from vidmem.kv.heads import Heads
from vidmem.kv.rope import text_positions
from vidmem.kv.tokens import FrameTokens, Tokens, join
from vidmem.kv.writer import StreamWriter
from vidmem.models.kv_dialogue import Dialogue
from vidmem.models.language import VideoLanguageModel
from vidmem.types import Span


class KvLanguage:
    """A loaded video-LLM with its family's adapter. Several threads may share it.

    Raises:
        BadInput: there is no adapter for the model, or it can't be streamed exactly.
    """

    def __init__(self, language: VideoLanguageModel) -> None:
        self._language = language
        self.family = language.family()

    @cached_property
    def opening(self) -> Block:
        """What every context begins with: the chat's opening."""
        return self.writer(None).opening

    def frame(self, time_label: str, tokens: Tensor, span: Span) -> FrameTokens:
        """A frame that was encoded before, tokens (P, D), behind its time mark: what becomes one block."""
        family = self.family
        embeds = tokens.to(family.device, family.dtype)
        seen = torch.ones(len(embeds), dtype=torch.bool)
        parts = [Tokens(embeds, text_positions(len(embeds), family.rotary.num_axes), seen)]
        if mark := self._language.mark_ids(time_label):
            parts.insert(0, family.text(mark))
        return FrameTokens(join(parts), span)

    def seen(self, block: Block, frame: FrameTokens) -> Seen:
        """A frame's block, of which some tokens may have been dropped, and which of those that are left are visual."""
        return Seen(block, frame.tokens.is_visual[block.positions[0]])

    def writer(self, window_tokens: int | None) -> StreamWriter:
        """A writer of a new stream. The window reaches over as many tokens of frames, and the opening stays visible."""
        family, opening = self.family, self.family.text(self._language.opening_ids)
        window = None if window_tokens is None else Window(window_tokens + len(opening), len(opening))
        return StreamWriter(family, family.layout, family.rotary, opening, window=window)

    def remade(self, frames: Sequence[FrameTokens]) -> list[Block]:
        """Blocks of a few frames whose own are not to be had: each sees only the opening and those before it here."""
        return self.writer(None).write(frames) if frames else []

    def queries(self, question: str, heads: Heads) -> list[Tensor]:
        """What a question's tokens look for behind the opening, for each KV head (Q, D), before RoPE."""
        family = self.family
        tokens = family.text(family.ids(question))
        asking = QuestionQueries(assemble(self.opening), family.rotary, tokens.positions, heads)
        with suppress(AllTaken):
            family.run(tokens, asking)
        return asking.queries

    def context(self, blocks: Sequence[Block]) -> Context:
        """[opening | blocks in temporal order], on the model's device."""
        return assemble(self.opening, retrieved=blocks)

    def stream(self, context: Context, question: str) -> Generator[str, None, None]:
        """Answer a question from a context, piece by piece, as `VideoLanguageModel.stream` does from frames.

        Raises:
            BadInput: the context with question and answer is longer than the model takes.
        """
        most = self._language.config.max_new_tokens
        return Dialogue(self.family, context).say(question, max_new_tokens=most)
