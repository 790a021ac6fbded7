"""What the stock model of each family says of frames at whole seconds: one plain forward over text and pixels.

The text is written out here, and pixels are prepared by the family's own processor: nothing of vidmem's adapters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, AutoVideoProcessor

from vidmem.bench.random_families import random_model


@dataclass(frozen=True)
class Form:
    """How a family writes a frame: the text before it with the time in it, its placeholder, and the text after it."""

    before: str
    placeholder: str
    after: str = ""
    closing: str = ""
    """What stands behind the last frame."""
    time: str = "00:{:02d}"


FORMS = {
    "llava_onevision": Form("[{}]", "<video>", closing="<video>"),
    "smolvlm": Form(
        "\nFrame from {}:<fake_token_around_image><global-img>", "<image>", "<fake_token_around_image>", "\n\n"
    ),
    "qwen2_5_vl": Form("[{}]<|vision_start|>", "<|video_pad|>", "<|vision_end|>"),
    "qwen3_vl": Form("<{}><|vision_start|>", "<|video_pad|>", "<|vision_end|>", time="{}.0 seconds"),
}
TOKENS_PER_FRAME = 4


class Stock:
    """A checkpoint in a folder, as its own classes of transformers load it."""

    def __init__(self, folder: Path, family: str) -> None:
        self.form, self._family = FORMS[family], family
        self.words = AutoTokenizer.from_pretrained(folder)
        self._model = type(random_model(family)).from_pretrained(folder, dtype=torch.float32).eval()
        self._processor = AutoVideoProcessor.from_pretrained(folder)

    def times(self, num: int) -> list[str]:
        """The first seconds, as the family writes them."""
        return [self.form.time.format(second) for second in range(num)]

    @torch.no_grad()
    def logits(self, images: Tensor, times: Sequence[str], question: str) -> Tensor:
        """Logits (vocabulary,) behind the prompt."""
        inputs = self._inputs(images, times, question)
        return self._model(**inputs, use_cache=False).logits[0, -1]

    @torch.no_grad()
    def answer(self, images: Tensor, times: Sequence[str], question: str, num: int = 12) -> str:
        """The greedy answer of `generate` about images (F, H, W, 3)."""
        inputs = self._inputs(images, times, question)
        said = self._model.generate(**inputs, max_new_tokens=num, do_sample=False)
        return str(self.words.decode(said[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))

    def _inputs(self, images: Tensor, times: Sequence[str], question: str) -> dict[str, Any]:
        form, picture = self.form, self.form.placeholder * TOKENS_PER_FRAME
        frames = [form.before.format(time) + picture + form.after for time in times]
        turn = f"\n{question}<|im_end|>\n<|im_start|>assistant\n"
        parts = ["<|im_start|>user\n", *frames, form.closing, turn]
        ids = [token_id for part in parts if part for token_id in self.words(part)["input_ids"]]
        input_ids = torch.tensor([ids])
        inputs = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids), **self._pixels(images)}
        if "video_grid_thw" in inputs:
            here = input_ids == self.words.convert_tokens_to_ids(form.placeholder)
            inputs["mm_token_type_ids"] = 2 * here.int()
        return inputs

    def _pixels(self, images: Tensor) -> dict[str, Tensor]:
        pictures = images.permute(0, 3, 1, 2)
        if self._family == "smolvlm":  # its processor would choose frames, and write the text as well
            return {"pixel_values": ((pictures.float() / 255 - 0.5) / 0.5)[None]}
        if self._family == "llava_onevision":
            return dict(self._processor([pictures], do_sample_frames=False, return_tensors="pt"))
        # A still image is a video of two frames: what these models merge into one picture.
        stills = [torch.stack((picture, picture)) for picture in pictures]
        made = self._processor(stills, do_resize=False, do_sample_frames=False, return_tensors="pt")
        return {name: made[name] for name in ("pixel_values_videos", "video_grid_thw")}
