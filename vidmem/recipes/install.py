"""Last stage: put what was trained where the `tiny` preset looks for it, as a transformers and an open_clip folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
)

from vidmem.models.prompt import CHAT_TEMPLATE
from vidmem.models.sam_config import EMBEDDED, SamConfig, write_config
from vidmem.recipes.frames import GRID, PIXELS
from vidmem.recipes.language import build
from vidmem.recipes.tower import KEPT_TOWER, load_tower
from vidmem.recipes.tracker import KEPT_HEADS

TINY = Path(__file__).parents[1] / "models" / "tiny"


def keep_tower(run: Path) -> None:
    """Keep the run's tower beside the recipe, so that later stages can be trained again without the first."""
    weights = load_tower(run).state_dict()
    save_file({name: value.bfloat16() for name, value in weights.items()}, KEPT_TOWER)


def install_clip(run: Path, target: Path = TINY) -> None:
    """Copy the open_clip folder, weights rounded to bfloat16."""
    folder = target / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(run / "clip" / name, folder / name)
    weights = load_file(run / "clip" / "model.safetensors")
    save_file({name: value.bfloat16() for name, value in weights.items()}, folder / "model.safetensors")


def install_language(run: Path, target: Path = TINY) -> None:
    """Write the whole transformers folder: model in bfloat16, tokenizer, processor, chat template."""
    folder = target / "llava"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "tokenizer")
    model = build(tokenizer, load_tower(run))
    state = torch.load(run / "language-state.pt", weights_only=True, map_location="cpu")["model"]
    model.load_state_dict(state)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.do_sample = False
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16()
    model.config.dtype = torch.bfloat16
    model.save_pretrained(folder)
    size, half = {"height": PIXELS, "width": PIXELS}, [0.5, 0.5, 0.5]
    LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size=size, image_mean=half, image_std=half, image_grid_pinpoints=[[PIXELS, PIXELS]]
        ),
        video_processor=LlavaOnevisionVideoProcessor(size=size, image_mean=half, image_std=half),
        tokenizer=tokenizer,
        num_image_tokens=GRID * GRID,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


def install_tracker(run: Path, target: Path = TINY, config: SamConfig = EMBEDDED) -> None:
    """Write `config.json` and the running mean of the weights, rounded to float16 as they are then used."""
    folder = target / "sam"
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder / "config.json")
    state = torch.load(run / "tracker-state.pt", weights_only=True, map_location="cpu")
    prefix = "module."
    weights = {name.removeprefix(prefix): value for name, value in state["kept"].items() if name.startswith(prefix)}
    _save_half(weights, folder / "model.safetensors", state["step"])


def keep_heads(run: Path, target: Path = KEPT_HEADS) -> None:
    """Keep beside the recipe what the run's tracker was taught by, so that its course can be gone on with."""
    state = torch.load(run / "tracker-state.pt", weights_only=True, map_location="cpu")
    parts = ("grouping", "naming")
    weights = {f"{part}.{name}": value for part in parts for name, value in state[part].items()}
    _save_half(weights, target, state["step"])


def _save_half(weights: dict[str, Tensor], path: Path, step: int) -> None:
    """As float16, with the step of the course that they are of."""
    halves = {name: value.half().contiguous() for name, value in weights.items()}
    save_file(halves, path, metadata={"step": str(step)})
