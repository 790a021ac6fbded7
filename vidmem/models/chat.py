"""The prompt around a question, in any checkpoint's own chat form, cut into what goes before and after frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Private-use characters that no template contains. They stand for the frames and for the question while the template is
# rendered, so that a question which happens to hold `<video>` or a template's own words can't change the frame layout.
_FRAMES, _QUESTION = "\ue0f0", "\ue0f1"


@dataclass(frozen=True, slots=True)
class ChatIds:
    """Token ids of a prompt without its frames."""

    opening: list[int]
    """Before the first frame."""
    closing: list[int]
    """After the last frame: the question and the opening of the answer."""


class Chat:
    """Turns questions into token ids with a checkpoint's tokenizer and chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        content = [{"type": "text", "text": f"{_FRAMES}\n{_QUESTION}"}]
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        self._opening, _, rest = text.partition(_FRAMES)
        self._before_question, found, self._after_question = rest.partition(_QUESTION)
        if not found:
            raise ValueError("the chat template does not show the text of a user's message")

    def ids(self, question: str) -> ChatIds:
        """The prompt for a question. Names of special tokens in it are text of the user's and are dropped."""
        closing = self._before_question + plain(self._tokenizer, question).strip() + self._after_question
        return ChatIds(self._encode(self._opening), self._encode(closing))

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])


def plain(tokenizer: Any, text: str) -> str:
    """Text of the user's, in which names of special tokens are only that: they are dropped."""
    for token in sorted(tokenizer.all_special_tokens, key=len, reverse=True):
        text = text.replace(token, " ")
    return text


class StreamDecoder:
    """Turns a growing list of ids into text pieces, holding back what a later id may still change."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._told = ""

    def add(self, token_id: int) -> str:
        """The text that is certain after one more id; "" while a character is incomplete."""
        self._ids.append(token_id)
        text = self._text()
        if text.endswith("\ufffd"):  # bytes of one character lie in several tokens
            return ""
        return self._tell(text)

    def end(self) -> str:
        """What is left when no more ids come."""
        return self._tell(self._text())

    def _text(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _tell(self, text: str) -> str:
        piece, self._told = text[len(self._told) :], text
        return piece
