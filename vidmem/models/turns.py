"""What stands between an answer and the user's next question, in any checkpoint's own chat form."""

from __future__ import annotations

from typing import Any

from vidmem.models.chat import plain

# Private-use characters that no template contains, as in `vidmem.models.chat`.
_ANSWER, _QUESTION = "\ue0f2", "\ue0f1"


def follow_up_ids(tokenizer: Any, question: str) -> list[int]:
    """Token ids from the end of an answer to the beginning of the next, with a question between.

    Names of special tokens in the question are text of the user's and are dropped.

    Raises:
        ValueError: the chat template does not show an answer and a question after it.
    """
    turns = [("user", "Hello"), ("assistant", _ANSWER), ("user", _QUESTION)]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    before, found, after = text.partition(_ANSWER)[2].partition(_QUESTION)
    if not found:
        raise ValueError("the chat template does not show a question that follows an answer")
    said = plain(tokenizer, question).strip()
    return list(tokenizer(before + said + after, add_special_tokens=False)["input_ids"])
