"""The form in which the embedded video-LLM is asked: a time mark before every frame, then the question.

    <|im_start|>user\\n[00:07]<video>...[00:08]<video>...\\nWhen did it rain?<|im_end|>\\n<|im_start|>assistant\\n

with as many `<video>` tokens behind each mark as the model makes of one frame. The chat template in the model's
folder gives the same text from a message whose content alternates text and video items; this module is the one
place that training and answering share.
"""

from __future__ import annotations

from collections.abc import Sequence

VIDEO_TOKEN = "<video>"
END_OF_TURN = "<|im_end|>"
OPENING = "<|im_start|>user\n"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for item in message['content'] %}{% if item['type'] == 'text' %}{{ item['text'] }}"
    "{% elif item['type'] == 'image' %}{{ '<image>' }}{% else %}{{ '<video>' }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def time_mark(label: str) -> str:
    """`00:07` -> `[00:07]`, the text that goes before a frame's tokens."""
    return f"[{label}]"


def closing(question: str) -> str:
    """What follows the last frame: the question, and the opening of the answer."""
    return f"\n{question}{END_OF_TURN}\n<|im_start|>assistant\n"


def render_prompt(labels: Sequence[str], question: str, tokens_per_frame: int) -> str:
    """The whole prompt as text, every `<video>` standing for one visual token."""
    frames = "".join(time_mark(label) + VIDEO_TOKEN * tokens_per_frame for label in labels)
    return OPENING + frames + closing(question)
