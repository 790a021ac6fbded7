"""Stage 3: the video-LLM. The tower is frozen; a projector and a small Qwen2 learn to answer questions about clips.

Several questions are packed behind one clip: each sees the clip and itself, none sees another.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from vidmem.models.prompt import VIDEO_TOKEN
from vidmem.recipes.accelerator import DEVICE, half
from vidmem.recipes.alignment import (
    GONE,
    NOTHING,
    Alignment,
    Moments,
    align,
    came_before,
    changes,
    frame_tokens,
    word_embedding,
)
from vidmem.recipes.bank import ClipBank
from vidmem.recipes.evidence import LOOKS_HEAD, LOOKS_LAYER, attention, missed, wanted
from vidmem.recipes.packing import PACKED_ATTENTION, WIDTH, Packed, Packer, question_mask, token_id
from vidmem.recipes.tokens import train_tokenizer
from vidmem.recipes.tower import VISION, DenseTower, load_tower, set_rate


def build(tokenizer: PreTrainedTokenizerFast, tower: DenseTower) -> LlavaOnevisionForConditionalGeneration:
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=16384,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = LlavaOnevisionConfig(
        vision_config=VISION,
        text_config=text,
        image_token_index=token_id(tokenizer, "<image>"),
        video_token_index=token_id(tokenizer, VIDEO_TOKEN),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[112, 112]],
        tie_word_embeddings=True,
    )
    model = LlavaOnevisionForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.vision.state_dict())
    model.model.vision_tower.requires_grad_(False)
    attend_to_alike(model)
    return model


@torch.no_grad()
def attend_to_alike(model: LlavaOnevisionForConditionalGeneration, std: float = 0.05) -> None:
    """Start half of the heads with equal query and key projections, so that a token looks at tokens like itself.

    The word *dog* of a question then finds the frames' dogs from the first step on, instead of after a thousand.
    """
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        half = attention.q_proj.weight.shape[0] // 2
        attention.q_proj.weight[:half].normal_(0.0, std)
        attention.k_proj.weight[:half] = attention.q_proj.weight[:half]


FRAMES_KNOW, ANSWERS_KNOW = 1, 3
"""Layers after which frame tokens are held to what changed and to their time, and answers to the time of what is asked
about. This early, because a thing's frames are found by a head of the second layer (of its attention 69 % lies on
them): what frames come to know later it can't bring."""


def run_packed(model: LlavaOnevisionForConditionalGeneration, batch: Packed, frames: Tensor) -> tuple[Tensor, ...]:
    """Hidden states (B, L, D): before the first layer and after each, the last one normed."""
    embeds = nn.functional.embedding(batch.ids, word_embedding(model))
    visual = batch.ids == model.config.video_token_id
    embeds = embeds.masked_scatter(visual[..., None], frames.to(embeds.dtype))
    if torch.is_autocast_enabled(embeds.device.type):
        embeds = embeds.bfloat16()  # and with it all that is added up along the layers: half the memory to move
    run = model.model.language_model(
        inputs_embeds=embeds,
        attention_mask=question_mask(batch, embeds.dtype),
        position_ids=batch.positions,
        use_cache=False,
        output_hidden_states=True,
    )
    hidden_states: tuple[Tensor, ...] = run.hidden_states
    return hidden_states


def answer_logits(
    model: LlavaOnevisionForConditionalGeneration, batch: Packed, hidden: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (N, vocabulary) and labels (N,) of all answer tokens; `hidden` is `run_packed`'s if that ran."""
    if hidden is None:
        hidden = run_packed(model, batch, frame_tokens(model, batch.features))[-1]
    wanted = batch.labels[:, 1:] != -100
    return model.lm_head(hidden[:, :-1][wanted]), batch.labels[:, 1:][wanted]


@torch.no_grad()
def exact_match(model: LlavaOnevisionForConditionalGeneration, batches: list[Packed]) -> dict[str, float]:
    """Share of answers that greedy decoding gives to the letter, by kind: one forward pass tells."""
    right, total = Counter[str](), Counter[str]()
    for batch in batches:
        with half():
            logits, labels = answer_logits(model, batch)
        hit = logits.argmax(-1) == labels
        wanted = batch.labels[:, 1:] != -100
        row, column = wanted.nonzero(as_tuple=True)
        segment = batch.segments[:, 1:][row, column]
        for index, kinds in enumerate(batch.kinds):
            for number, kind in enumerate(kinds, start=1):
                right[kind] += bool(hit[(row == index) & (segment == number)].all())
                total[kind] += 1
    scores = {kind: round(right[kind] / total[kind], 3) for kind in sorted(total)}
    return {"all": round(right.total() / total.total(), 4), **scores}


LEVELS = (3, 6, 12, 24, 40)
"""Most frames of a context, level by level. A model that was shown 40 at once for 1,000 steps had learnt to see in
none; held to three frames, it saw after 200."""
PASS_MARK = 0.75


@dataclass(slots=True)
class Curriculum:
    """Short contexts until they are understood, then longer ones, and what recall brings."""

    level: int = 0

    def draw(self, rng: random.Random) -> tuple[int, bool]:
        """Number of frames of the next batch, and whether they are pieces. Now and then one of a level further."""
        level = min(self.level + (rng.random() < 0.3), len(LEVELS) - 1)
        return rng.randint(max(1, LEVELS[level] // 4), LEVELS[level]), rng.random() < (0.1, 0.1, 0.35, 0.35, 0.5)[level]

    def judge(self, score: float) -> None:
        """Go up a level if enough answers at this one are right."""
        if score >= PASS_MARK:
            self.level = min(self.level + 1, len(LEVELS) - 1)


def held(step: int, steps: int) -> float:
    """Share of the peak learning rate at a step: up, held while abilities still come one after the other, and down."""
    progress = step / steps
    return min(progress / 0.05, 1.0, (1.0 - progress) / 0.35)


class Feed:
    """Makes batches one ahead in a thread."""

    def __init__(self, bank: ClipBank, packer: Packer, seed: int, tokens_per_batch: int) -> None:
        self.bank, self.packer, self.tokens_per_batch = bank, packer, tokens_per_batch
        self.rng = random.Random(seed)
        self.curriculum = Curriculum()

    def draw(self) -> Packed:
        num_frames, pieces = self.curriculum.draw(self.rng)
        questions = min(20, 6 + num_frames)  # a long clip is dear, a question behind it cheap
        count = max(4, self.tokens_per_batch // (21 * num_frames + 24 * questions))
        examples = [self.bank.example(self.rng, num_frames, questions, pieces=pieces) for _ in range(count)]
        return self.packer.pack([example for example in examples if example.questions])

    def batches(self) -> Iterator[Packed]:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(self.draw)
            while True:
                batch = waiting.result()
                waiting = pool.submit(self.draw)
                yield batch


def held_out(bank: ClipBank, packer: Packer, frames: tuple[int, int], *, pieces: bool, count: int) -> list[Packed]:
    """Batches that are never trained on, of contexts of so many frames."""
    rng = random.Random(991)
    examples = [bank.example(rng, rng.randint(*frames), 8, pieces=pieces) for _ in range(count)]
    asked = [example for example in examples if example.questions]
    return [packer.pack(asked[start : start + 16]) for start in range(0, len(asked), 16)]


INSTALLED = Path(__file__).parents[1] / "models" / "tiny" / "llava"
CHECK_EVERY = 100
MUON_RATE = 2.0
"""Muon's learning rate, of AdamW's. With it 100 steps brought what 500 of AdamW alone had not: of the answers about
three frames 78 % right instead of 66 %."""


def optimizers(
    model: LlavaOnevisionForConditionalGeneration, learnt: list[nn.Parameter]
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon for the matrices inside the language model, AdamW for all else (words, projector, norms, biases)."""
    matrices = [p for p in model.model.language_model.layers.parameters() if p.dim() == 2]
    inside = {id(p) for p in matrices}
    others = [p for p in learnt if id(p) not in inside]
    groups = [
        {"params": [p for p in others if p.dim() > 1], "weight_decay": 0.05},
        {"params": [p for p in others if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return (
        torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups, betas=(0.9, 0.98)),
    )


class Trainer:
    """One training run of the video-LLM: model, optimizer, what it is held to, and its files in `run`."""

    def __init__(self, run: Path, *, seed: int) -> None:
        torch.manual_seed(seed)
        torch.set_flush_denormal(True)
        self.run, self.step = run, 0
        self.tower = load_tower(run)
        tokenizer = train_tokenizer()
        tokenizer.save_pretrained(run / "tokenizer")
        self.model = build(tokenizer, self.tower)
        nn.Module.to(self.model, DEVICE)
        self.model.model.language_model.set_attn_implementation(PACKED_ATTENTION)
        self.packer = Packer(tokenizer)
        self.alignment = Alignment(self.tower, tokenizer, WIDTH).to(DEVICE)
        self.moments = Moments(WIDTH).to(DEVICE)
        modules = (self.model, self.alignment, self.moments)
        self.learnt = [p for module in modules for p in module.parameters() if p.requires_grad]
        self.optimizers = optimizers(self.model, self.learnt)

    @property
    def state(self) -> Path:
        return self.run / "language-state.pt"

    def resume(self, *, go_on: bool) -> int:
        """Take up the run's own state, or with `go_on` the installed weights. Returns the curriculum's level."""
        if self.state.exists():
            saved = torch.load(self.state, weights_only=True, map_location=DEVICE)
            self.model.load_state_dict(saved["model"])
            self.alignment.load_state_dict(saved["alignment"])
            self.moments.load_state_dict(saved["moments"])
            for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            self.step = saved["step"]
            return int(saved["level"])
        if go_on:
            installed = LlavaOnevisionForConditionalGeneration.from_pretrained(INSTALLED).float()
            self.model.load_state_dict(installed.state_dict())
            # The run's tower makes the features, so it is the one that must be installed with what is learnt here.
            self.model.model.vision_tower.load_state_dict(self.tower.vision.state_dict())
        return 0

    def save(self, level: int) -> None:
        states = {
            "model": self.model.state_dict(),
            "alignment": self.alignment.state_dict(),
            "moments": self.moments.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        torch.save({**states, "step": self.step, "level": level}, self.state)

    def learn(self, batch: Packed, rate: float) -> float:
        """One step. Returns the loss of the answers alone."""
        told, loss = self._losses(batch)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.learnt, 1.0)
        for optimizer, scale in zip(self.optimizers, (MUON_RATE, 1.0), strict=True):
            set_rate(optimizer, scale * rate)
            optimizer.step()
        self.step += 1
        return told.item()

    def _losses(self, batch: Packed) -> tuple[Tensor, Tensor]:
        """Of the answers alone, and with all that tokens on the way to them are held to."""
        with half():
            frames = frame_tokens(self.model, batch.features)
            layers = run_packed(self.model, batch, frames)
            logits, labels = answer_logits(self.model, batch, layers[-1])
            early, _ = answer_logits(self.model, batch, self.model.model.language_model.norm(layers[LOOKS_LAYER + 1]))
        told, told_early = (nn.functional.cross_entropy(said.float(), labels) for said in (logits, early))
        cells = self.alignment.cells(batch.features)
        look = attention(self.model, batch, layers[LOOKS_LAYER], LOOKS_LAYER, LOOKS_HEAD)
        loss = told + 0.15 * self.alignment(frames, cells, word_embedding(self.model))
        loss = loss + self._of_frames(batch, layers, cells) + self._of_questions(batch, layers, cells)
        return told, loss + 0.1 * missed(look, batch, wanted(batch, cells)) + 0.1 * told_early

    def _of_frames(self, batch: Packed, layers: tuple[Tensor, ...], cells: Tensor) -> Tensor:
        """What frame tokens must know: of their cell, of their time, of what came before, and of the whole frame."""
        states, shown_before = changes(cells, batch.is_first_frame)
        clocks = batch.clocks[(batch.clocks >= 0) & (batch.segments == 0)].view_as(states)
        clocks = torch.where(states == GONE, clocks.roll(1, 0), clocks).flatten()  # when it was last seen
        states = states.flatten()
        seen, later = (layers[layer][batch.is_visual] for layer in (FRAMES_KNOW, FRAMES_KNOW + 1))
        changed = self.moments.changed(seen, states, shown_before.flatten())
        timed = self.moments.timed(seen[states != NOTHING], clocks[states != NOTHING])
        followed = self.moments.followed(later, came_before(cells, batch.num_frames).flatten())
        summed = self.moments.summed(later.unflatten(0, cells.shape[:2])[:, -1], batch.sums)
        return 0.1 * (changed + timed) + 0.05 * (followed + summed)

    def _of_questions(self, batch: Packed, layers: tuple[Tensor, ...], cells: Tensor) -> Tensor:
        """What tokens of questions and answers must know: when it was, and what was there at the time asked about."""
        hidden = layers[ANSWERS_KNOW]
        said, asked = (batch.clocks >= 0) & (batch.segments > 0), batch.asked_frames >= 0
        timed = self.moments.timed(hidden[said], batch.clocks[said])
        return 0.1 * timed + 0.05 * self.moments.shown(hidden[asked], cells[batch.asked_frames[asked]])


def train(
    run: Path, *, steps: int, peak_rate: float, seed: int, bank_size: int, tokens_per_batch: int, go_on: bool = False
) -> None:
    """Train to `steps`, logging to `run/language.jsonl`, saving resumable state beside it.

    With `go_on` a run that has no state yet starts from the installed weights instead of from nothing.
    """
    trainer = Trainer(run, seed=seed)
    level = trainer.resume(go_on=go_on)
    unseen = ClipBank(trainer.tower, seed=900_000_000, size=100)
    unseen.refresh(100)
    ladder = [
        held_out(unseen, trainer.packer, (max(1, top // 4), top), pieces=False, count=max(16, 96 // top))
        for top in LEVELS
    ]
    goals = {
        "clips": held_out(unseen, trainer.packer, (8, 32), pieces=False, count=48),
        "pieces": held_out(unseen, trainer.packer, (8, 32), pieces=True, count=32),
    }
    bank = ClipBank(trainer.tower, seed=1_000 + trainer.step * 8, size=bank_size)
    bank.refresh(bank_size // 4)
    if not trainer.step and not go_on:
        align(trainer.model, trainer.alignment, bank, steps=600, seed=seed)
    feed = Feed(bank, trainer.packer, seed + trainer.step, tokens_per_batch)
    feed.curriculum.level = level
    begun, log = time.perf_counter(), (run / "language.jsonl").open("a")
    for batch in feed.batches():
        loss = trainer.learn(batch, peak_rate * held(trainer.step + 1, steps))
        bank.refresh(1)
        step = trainer.step
        line: dict[str, object] = {"step": step, "loss": round(loss, 4), "level": feed.curriculum.level}
        if step % CHECK_EVERY == 0 or step >= steps:
            trainer.model.eval()
            at_level = exact_match(trainer.model, ladder[feed.curriculum.level])
            line["at level"] = at_level
            if step % (4 * CHECK_EVERY) == 0 or step >= steps:
                line |= {name: exact_match(trainer.model, goal) for name, goal in goals.items()}
            trainer.model.train()
            feed.curriculum.judge(at_level["all"])
            trainer.save(feed.curriculum.level)
        if step % 20 == 0 or step >= steps:
            shape = {"seconds": round(time.perf_counter() - begun, 1), "shape": list(batch.ids.shape)}
            log.write(json.dumps(line | shape) + "\n")
            log.flush()
        if step >= steps:
            return
