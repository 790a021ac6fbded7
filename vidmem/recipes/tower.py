"""Stage 1: the image tower. A SigLIP class vision transformer learns, from nothing, to name what each patch shows."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from vidmem.recipes.accelerator import DEVICE, half
from vidmem.recipes.frames import GRID, PATCH, PIXELS, FrameMaker, LabelledFrame
from vidmem.world.script import THINGS

VISION = SiglipVisionConfig(
    hidden_size=192,
    intermediate_size=768,
    num_hidden_layers=6,
    num_attention_heads=6,
    image_size=PIXELS,
    patch_size=PATCH,
    vision_use_head=False,
)


KEPT_TOWER = Path(__file__).with_name("tower.safetensors")
"""A trained tower with its heads, in bfloat16: later stages can start here."""


class DenseTower(nn.Module):
    """The tower and two linear heads: what each patch shows (a thing, plain background, night), and where it lies.

    Naming things needs no places, so a tower that only names forgets them: a linear probe then tells 11 % of the
    patches apart. The video-LLM sees nothing but these features, and is asked *where*.
    """

    def __init__(self) -> None:
        super().__init__()
        self.vision = SiglipVisionModel(VISION)
        self.norm = nn.LayerNorm(VISION.hidden_size)
        self.head = nn.Linear(VISION.hidden_size, len(THINGS) + 2)
        self.place = nn.Linear(VISION.hidden_size, GRID * GRID)

    def features(self, pixels: Tensor) -> Tensor:
        """Patch features (F, 64, 192): the last encoder layer, before the final norm, as LLaVA-OneVision takes them."""
        return self.vision(pixel_values=pixels, output_hidden_states=True).hidden_states[-1]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of what (F, 64, things + 2) and of where (F, 64, 64)."""
        features = self.norm(self.features(pixels))
        return self.head(features), self.place(features)


def to_pixels(images: np.ndarray) -> Tensor:
    """uint8 (F, 112, 112, 3) to float32 (F, 3, 112, 112) in [-1, 1]."""
    return torch.from_numpy(images).to(DEVICE).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def targets(coverage: Tensor) -> Tensor:
    """Soft labels (F, 64, things + 1) that sum to 1: a third of a patch is enough to own it."""
    owned = (coverage.flatten(1, 2) * 3.0).clamp_(max=1.0)
    background = (1.0 - owned.sum(-1, keepdim=True)).clamp_(min=0.0)
    both = torch.cat([owned, background], dim=-1)
    return both / both.sum(-1, keepdim=True)


def loss_of(logits: Tensor, coverage: Tensor, night: Tensor) -> Tensor:
    wanted = targets(coverage)
    cross = -(wanted * logits[..., :-1].float().log_softmax(-1)).sum(-1)
    weight = torch.where(wanted[..., -1] > 0.99, 0.25, 1.0)  # empty patches are many and easy
    dark = nn.functional.binary_cross_entropy_with_logits(
        logits[..., -1].float().mean(1), night.float(), reduction="mean"
    )
    return (cross * weight).sum() / weight.sum() + 0.1 * dark


def place_loss(logits: Tensor) -> Tensor:
    """How badly patches (F, 64, 64) tell where in the frame they lie."""
    wanted = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten())


def found_things(logits: Tensor) -> list[set[str]]:
    """The things that at least one patch names with more than even odds."""
    share = logits[..., :-1].float().softmax(-1)[..., :-1].amax(1)
    return [{THINGS[i] for i in (row > 0.5).nonzero().flatten().tolist()} for row in share]


def f1(predicted: list[set[str]], frames: list[LabelledFrame]) -> float:
    truth = [{thing for thing, _ in frame.things} for frame in frames]
    hits = sum(len(p & t) for p, t in zip(predicted, truth, strict=True))
    return 2 * hits / max(1, sum(map(len, predicted)) + sum(map(len, truth)))


def batches(seed: int, size: int, max_things: int = 5) -> Iterator[list[LabelledFrame]]:
    """Endless batches, drawn one ahead in a thread."""
    maker = FrameMaker(seed)
    with ThreadPoolExecutor(1) as pool:
        draw = lambda: [maker.frame(max_things=max_things) for _ in range(size)]  # noqa: E731
        ahead = pool.submit(draw)
        while True:
            batch = ahead.result()
            ahead = pool.submit(draw)
            yield batch


def train(run: Path, *, steps: int, batch: int, peak_rate: float, seed: int, go_on: bool = False) -> None:
    """Train to `steps`, logging to `run/tower.jsonl`, saving `run/tower.safetensors` and a resumable state.

    With `go_on` a run that has no state yet starts from the tower that is kept beside the recipe.
    """
    torch.manual_seed(seed)
    model = DenseTower().to(DEVICE)
    if go_on:
        model.load_state_dict({k: v.float() for k, v in load_file(KEPT_TOWER).items()}, strict=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=0.05, betas=(0.9, 0.98))
    state = run / "tower-state.pt"
    done = 0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=DEVICE)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
    unseen = FrameMaker(10_000_019)
    held_out = [unseen.frame() for _ in range(256)]
    source = batches(seed + done, batch)
    begun = time.perf_counter()
    log = (run / "tower.jsonl").open("a")
    for step in range(done + 1, steps + 1):
        frames = next(source)
        pixels = to_pixels(np.stack([frame.image for frame in frames]))
        coverage = torch.from_numpy(np.stack([frame.coverage for frame in frames])).to(DEVICE)
        night = torch.tensor([frame.night for frame in frames], device=DEVICE)
        with half():
            logits, places = model(pixels)
        loss = loss_of(logits, coverage, night) + 0.2 * place_loss(places)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        set_rate(optimizer, peak_rate * one_cycle(step, steps))
        optimizer.step()
        if step % 20 == 0:
            line = {"step": step, "loss": round(loss.item(), 4), "seconds": round(time.perf_counter() - begun, 1)}
            if step % 200 == 0 or step == steps:
                line["f1"] = round(evaluate(model, held_out), 4)
                torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, state)
                save_file(model.state_dict(), run / "tower.safetensors")
            log.write(json.dumps(line) + "\n")
            log.flush()


def one_cycle(step: int, steps: int, *, warm_up: float = 0.05) -> float:
    """Share of the peak learning rate at a step: up in a straight line, down in a cosine to nothing."""
    progress = step / steps
    if progress < warm_up:
        return progress / warm_up
    return 0.5 + 0.5 * math.cos(math.pi * (progress - warm_up) / (1 - warm_up))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def evaluate(model: DenseTower, frames: list[LabelledFrame]) -> float:
    pixels = to_pixels(np.stack([frame.image for frame in frames]))
    with half():
        return f1(found_things(model(pixels)[0]), frames)


def load_tower(run: Path) -> DenseTower:
    """The tower that a run has trained; without one, the tower that is kept beside the recipe."""
    trained = run / "tower.safetensors"
    model = DenseTower()
    weights = load_file(trained if trained.exists() else KEPT_TOWER)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model.to(DEVICE).eval()
