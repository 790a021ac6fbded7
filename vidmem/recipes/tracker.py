"""Stage `tracker`: the embedded SAM 2 learns to segment what is pointed at, then to follow it through clips.

First which pixels belong together and what they show, then what a click or a box points at, then single images with
clicks that correct, then short and longer clips, unrolled, in which its own masks and pointers become its memory. Then
images and clips twice more, and between these clips in which that memory is wrong for a while.
What a step sees and draws depends on the seed and the step alone: a resumed run is the uninterrupted one. A step is
made of small operations, on which a second core of one process was of no use (1.75 s with one thread, 1.7 with two), so
each core has a process of its own, with clips of its own; gradients are their mean.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vidmem.models.sam import EMBEDDED_FOLDER, build_sam
from vidmem.models.sam_config import EMBEDDED, STRIDE, SamConfig
from vidmem.recipes.accelerator import DEVICE, half
from vidmem.recipes.crew import average, each_of_crew, place, same_in_all
from vidmem.recipes.tower import one_cycle, set_rate
from vidmem.recipes.tracker_clips import HELD_OUT, ClipBatch, ClipShape, batches, draw_batch
from vidmem.recipes.tracker_grouping import Grouping
from vidmem.recipes.tracker_loss import intersection_over_union, mask_loss
from vidmem.recipes.tracker_naming import Naming
from vidmem.recipes.tracker_pointing import asked_loss, begin_pointing, listening
from vidmem.recipes.tracker_remembering import begin_remembering
from vidmem.recipes.tracker_unroll import Plan, plan_image, plan_points, plan_recovery, plan_video, to_pixels, unroll

KEPT_HEADS = Path(__file__).with_name("tracker-heads.safetensors")
"""What the encoder is taught by and the tracker does not need: `Grouping` and `Naming`, as they were when it was
installed."""
_NAMING_WEIGHT = 0.3
"""Of what pixels show, beside masks."""
_SMALL_SIDE = 160
"""Most is learnt on small squares, whose steps take less than half the time: weights know no side."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a course: what is taught for `steps`, the learning rate rising to `peak_rate` and falling to nothing.

    `pixels` teaches the image encoder alone; `points` and `memory` what is behind it; the others all, as far as they
    reach.
    """

    lesson: Literal["pixels", "points", "images", "memory", "clips", "recovery"]
    steps: int
    peak_rate: float
    clips: int
    """Of a step, in each process."""
    objects: int
    frames: int = 1
    side: int | None = None
    """Of the squares that it is taught with; None for the model's own."""

    def shape(self, own: int) -> ClipShape:
        return ClipShape(self.clips, self.frames, self.objects, self.side or own)


@dataclass(frozen=True, slots=True)
class Course:
    """How much is taught, and how it is cut into steps."""

    phases: tuple[Phase, ...] = (
        Phase("pixels", 2500, 1.5e-3, clips=6, objects=6, side=_SMALL_SIDE),
        Phase("points", 900, 1e-3, clips=6, objects=3, side=_SMALL_SIDE),
        Phase("images", 2000, 5e-4, clips=6, objects=3, side=_SMALL_SIDE),
        Phase("memory", 700, 6e-4, clips=3, objects=3, frames=4, side=_SMALL_SIDE),
        Phase("clips", 1100, 4e-4, clips=2, objects=3, frames=7, side=_SMALL_SIDE),
        Phase("images", 1800, 5e-4, clips=6, objects=3, side=_SMALL_SIDE),
        Phase("clips", 2100, 4e-4, clips=2, objects=3, frames=7, side=_SMALL_SIDE),
        Phase("recovery", 500, 3e-4, clips=1, objects=4, frames=12, side=_SMALL_SIDE),
        Phase("images", 2600, 5e-4, clips=6, objects=3, side=_SMALL_SIDE),
        Phase("clips", 1000, 4e-4, clips=2, objects=3, frames=7, side=_SMALL_SIDE),
        Phase("images", 450, 5e-4, clips=6, objects=3),
        Phase("clips", 800, 4e-4, clips=2, objects=3, frames=7),
    )
    seed: int = 11
    processes: int = 2
    log_every: int = 20
    judge_every: int = 400
    save_seconds: float = 180.0
    """A state is saved this often, and whenever the model is judged."""
    averaging: float = 0.998
    """Part of the kept weights that each step leaves as it is: they are a running mean of the trained ones."""

    @property
    def steps(self) -> int:
        return sum(phase.steps for phase in self.phases)

    def draw(self, step: int) -> int:
        """What this process's batch of a step is drawn by, and all that is random in the step."""
        rank, size = place()
        return self.seed * 1_000_003 + step * size + rank

    def at(self, step: int) -> tuple[Phase, int]:
        """The phase of a step, which count from 1 throughout, and which of the phase's steps it is."""
        for phase in self.phases:
            if step <= phase.steps:
                return phase, step
            step -= phase.steps
        raise IndexError(f"the course has {self.steps} steps")


class Trainer:
    """The model and its optimiser, at a step."""

    def __init__(self, course: Course, config: SamConfig = EMBEDDED) -> None:
        torch.manual_seed(course.seed)
        self.course, self.config = course, config
        self.model = build_sam(config).to(DEVICE).train()
        self.kept = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(course.averaging))
        self.grouping, self.naming = Grouping(config.d_model).to(DEVICE), Naming(config.d_model).to(DEVICE)
        parts = (self.model, self.grouping, self.naming)
        self.optimizer = torch.optim.AdamW([p for part in parts for p in part.parameters()], weight_decay=0.02)
        self.step = 0

    def learn(self, batch: ClipBatch) -> float:
        """Take one step on a batch, and on those of the rest of the crew: the loss before it, a mean over frames."""
        self.step += 1
        phase, number = self.course.at(self.step)
        draw = self.course.draw(self.step)
        torch.manual_seed(draw)
        see_at(self.model, batch.frames.shape[-2])
        self.model.image_encoder.requires_grad_(phase.lesson not in ("points", "memory"))
        if number == 1 and phase.lesson in ("points", "memory"):
            if phase.lesson == "points":
                begin_pointing(self.model, self.grouping, self.naming, to_pixels(batch.frames, self.config, DEVICE))
            else:
                begin_remembering(self.model)
            same_in_all(self._learning())
            self.kept.n_averaged.zero_()  # the next step copies the model: a mean with what it was makes no sense
        loss = self.loss(phase, batch, draw)
        self.optimizer.zero_grad()
        loss.backward()
        mean = average(loss, self._learning())
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        set_rate(self.optimizer, phase.peak_rate * one_cycle(number, phase.steps))
        self.optimizer.step()
        self.kept.update_parameters(self.model)
        return mean

    def _learning(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def loss(self, phase: Phase, batch: ClipBatch, draw: int) -> Tensor:
        pixels = to_pixels(batch.frames, self.config, DEVICE)
        if phase.lesson == "pixels":
            with _precision():
                levels = self.model.image_encoder(pixels)["backbone_fpn"]
                return self.grouping.loss(levels, batch.masks[:, :, 0].to(DEVICE)) + self._named(levels, batch)
        rng = random.Random(f"{draw}:plan")
        plan = _PLANS[phase.lesson](rng, batch.num_frames)
        with _precision(), listening(self.model) as heard:
            made = unroll(self.model, batch, pixels, plan)
        truth = batch.masks.flatten(0, 1)[:, :, None].to(DEVICE)
        loss = torch.stack([mask_loss(prediction, truth[:, index]) for index, prediction in made]).mean()
        if phase.lesson == "points":
            return loss + asked_loss(self.grouping, heard, batch.masks[:, :, 0].to(DEVICE))
        return loss if phase.lesson == "memory" else loss + _NAMING_WEIGHT * self._named(heard.levels, batch)

    def _named(self, levels: list[Tensor], batch: ClipBatch) -> Tensor:
        return self.naming.loss(levels, batch.names.flatten(0, 1).to(DEVICE))

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        beside = path.with_suffix(".part")
        torch.save({"step": self.step, **{name: part.state_dict() for name, part in self._parts().items()}}, beside)
        os.replace(beside, path)

    def resume(self, path: Path) -> None:
        saved = torch.load(path, weights_only=True, map_location=DEVICE)
        for name, part in self._parts().items():
            part.load_state_dict(saved[name])
        self.step = saved["step"]

    def go_on(self, installed: Path, heads: Path) -> None:
        """Begin with installed weights, at the step of the course that they were installed at."""
        weights = installed / "model.safetensors"
        with safe_open(weights, "pt") as opened:
            self.step = int(opened.metadata()["step"])
        trained = {name: value.float() for name, value in load_file(weights).items()}
        self.model.load_state_dict(trained)
        self.kept.module.load_state_dict(trained)
        taught_by = load_file(heads)
        for prefix, part in (("grouping.", self.grouping), ("naming.", self.naming)):
            own = {name.removeprefix(prefix): value for name, value in taught_by.items() if name.startswith(prefix)}
            part.load_state_dict(own)

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"model": self.model, "kept": self.kept, "optimizer": self.optimizer}
        return parts | {"grouping": self.grouping, "naming": self.naming}


_PLANS: dict[str, Callable[[random.Random, int], Plan]] = {
    "points": plan_points,
    "images": plan_image,
    "memory": plan_video,
    "clips": plan_video,
    "recovery": plan_recovery,
}


def _precision() -> AbstractContextManager[Any]:
    """bfloat16 on a GPU only: on a CPU the backward pass of its attention makes a step take 1.5 times as long."""
    return half() if DEVICE.type == "cuda" else nullcontext()


def train(run: Path, course: Course, config: SamConfig = EMBEDDED, *, go_on: bool = False) -> None:
    """Train to the course's end, logging to `run/tracker.jsonl` and saving `run/tracker-state.pt` to resume from.

    With `go_on` a run that has no state yet starts from the installed weights, where their course ended.
    """
    each_of_crew(course.processes, run / "tracker-crew", _train, run, course, config, go_on)


def _train(run: Path, course: Course, config: SamConfig, go_on: bool) -> None:
    trainer, state, is_first = Trainer(course, config), run / "tracker-state.pt", place()[0] == 0
    if state.exists():
        trainer.resume(state)
    elif go_on:
        trainer.go_on(EMBEDDED_FOLDER, KEPT_HEADS)
    begun = saved = time.perf_counter()
    held_out = judged_clips(config.image_size) if is_first else []
    with (run / "tracker.jsonl").open("a", encoding="utf-8") as log:
        for batch in lessons(course, trainer.step, config.image_size):
            loss = trainer.learn(batch)
            if not is_first:
                continue
            now = time.perf_counter()
            line: dict[str, Any] = {"step": trainer.step, "loss": round(loss, 4), "seconds": round(now - begun, 1)}
            due = trainer.step % course.judge_every == 0 or trainer.step == course.steps
            if due:
                line |= judge(trainer.kept.module, config, held_out)
            if due or now - saved > course.save_seconds:
                trainer.save(state)
                saved = now
            if due or trainer.step % course.log_every == 0:
                log.write(json.dumps(line) + "\n")
                log.flush()


def see_at(model: Any, side: int) -> None:
    """Let a `SAM2Base` take squares of another side, with the same weights."""
    model.image_size, model.sam_image_embedding_size = side, side // STRIDE
    encoder = model.sam_prompt_encoder
    encoder.input_image_size = (side, side)
    encoder.image_embedding_size = (side // STRIDE, side // STRIDE)
    encoder.mask_input_size = (4 * side // STRIDE, 4 * side // STRIDE)


def lessons(course: Course, done: int, side: int) -> Iterator[ClipBatch]:
    """The batches of all steps after `done`."""
    last = 0
    for phase in course.phases:
        first, last = last + 1, last + phase.steps
        steps = range(max(first, done + 1), last + 1)
        yield from batches(phase.shape(side), [course.draw(step) for step in steps])


def judged_clips(side: int, count: int = 6) -> list[ClipBatch]:
    """Clips of 16 frames that training doesn't see."""
    shape = ClipShape(clips=2, frames=16, objects=3, side=side)
    return [draw_batch(shape, HELD_OUT + index) for index in range(count)]


@torch.no_grad()
def judge(model: Any, config: SamConfig, clips: list[ClipBatch]) -> dict[str, float]:
    """Mean IoU over objects and frames: on the first frame with a box given, and after it. Leaves it evaluating."""
    model.eval()
    first: list[Tensor] = []
    after: list[Tensor] = []
    for number, batch in enumerate(clips):
        torch.manual_seed(number)
        with _precision():
            made = unroll(model, batch, to_pixels(batch.frames, config, DEVICE), Plan("box"))
        truth = batch.masks.flatten(0, 1)[:, :, None].to(DEVICE)
        for index, prediction in made:
            best = prediction.ious.argmax(dim=1)
            found = prediction.masks[torch.arange(len(best)), best][:, None] > 0
            (after if index else first).append(intersection_over_union(found, truth[:, index]).mean())
    return {"J_first": round(torch.stack(first).mean().item(), 4), "J": round(torch.stack(after).mean().item(), 4)}
