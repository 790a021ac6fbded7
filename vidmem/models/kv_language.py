"""The video-LLM as KV memory uses it: the same prompt as `VideoLanguageModel.assemble` makes, cut into blocks."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import cached_property

from torch import Tensor

from vidmem.errors import BadInput
from vidmem.kv.asking import AllTaken, QuestionQueries
from vidmem.kv.attention import Window
from vidmem.kv.block import Block
from vidmem.kv.compress import Seen
from vidmem.kv.context import Context, assemble
from vidmem.kv.heads import Heads
from vidmem.kv.tokens import FrameTokens
from vidmem.kv.writer import StreamWriter
from vidmem.models.kv_dialogue import Dialogue
from vidmem.models.language import VideoLanguageModel
from vidmem.types import Span


class KvLanguage:
    """A loaded video-LLM with its family's adapter. Several threads may share it.

    Raises:
        BadInput: the model can't be streamed exactly.
    """

    def __init__(self, language: VideoLanguageModel) -> None:
        self._language = language
        self.family = language.family
        self.family.let_stream()

    @cached_property
    def opening(self) -> Block:
        """What every context begins with: the chat's opening."""
        return self.writer(None).opening

    def frame(self, time_label: str, tokens: Tensor, span: Span) -> FrameTokens:
        """A frame that was encoded before, tokens (P, D), behind its time mark: what becomes one block."""
        return self.family.frame(time_label, tokens, span)

    def seen(self, block: Block, frame: FrameTokens) -> Seen:
        """A frame's block, of which some tokens may have been dropped, and which of those that are left are visual."""
        # A place on all axes tells a frame's tokens apart; on one axis alone a picture's tokens share theirs.
        visual = frame.tokens.positions[:, frame.tokens.is_visual]
        return Seen(block, (block.positions[:, :, None] == visual[:, None, :]).all(0).any(-1))

    def writer(self, window_tokens: int | None) -> StreamWriter:
        """A writer of a new stream. The window reaches over as many tokens of frames, and the opening stays visible.

        Raises:
            BadInput: the window is longer than the model takes.
        """
        family, opening = self.family, self.family.text(self._language.opening_ids)
        if (window_tokens or 0) + len(opening) > self._language.max_context_tokens:
            raise BadInput(
                f"a window of {window_tokens} tokens is longer than the {self._language.max_context_tokens} that the "
                "model takes: lower `window_tokens` under [kv], or `context_tokens`, in the preset."
            )
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
        language = self._language
        return Dialogue(self.family, context).say(
            question,
            max_new_tokens=language.config.max_new_tokens,
            # As `VideoLanguageModel.stream` says it, whatever the checkpoint's own generation settings are.
            eos_token_id=sorted(language.end_ids),
            repetition_penalty=1.0,
        )
