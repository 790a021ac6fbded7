"""Stage 3: the video-LLM. The tower is frozen; a projector and a small Qwen2 learn to answer questions about clips.

Several questions are packed behind one clip: each sees the clip and itself, none sees another.
"""

from __future__ import annotations

import argparse
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

from vidmem.models.prompt import END_OF_TURN, OPENING, VIDEO_TOKEN, closing, time_mark
from vidmem.recipes.bank import ClipBank, Example
from vidmem.recipes.tokens import train_tokenizer
from vidmem.recipes.tower import VISION, DenseTower, load_tower, one_cycle, set_rate
from vidmem.world.script import THINGS

TOKENS_PER_FRAME = 16
WIDTH = 256


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int), f"{token} is one token"
    return found


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


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A batch of clips with their questions, padded to one length L.

    `ids`, `positions`, `segments` and `labels` are (B, L); segment 0 is the clip, k the k-th question, -1 padding.
    `features` (all frames, 64, 192) in the order in which their tokens stand.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    labels: Tensor
    features: Tensor
    kinds: list[list[str]]


class Packer:
    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.video = token_id(tokenizer, VIDEO_TOKEN)
        self.pad = token_id(tokenizer, str(tokenizer.pad_token))
        self.opening = self._ids(OPENING)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def pack(self, examples: list[Example]) -> Packed:
        rows = [self._row(example) for example in examples]
        length = max(len(row[0]) for row in rows)
        fill = (self.pad, 0, -1, -100)
        ids, positions, segments, labels = (
            torch.tensor([row[part] + [fill[part]] * (length - len(row[part])) for row in rows]) for part in range(4)
        )
        features = torch.cat([example.features for example in examples])
        return Packed(ids, positions, segments, labels, features, [[q.kind for q in e.questions] for e in examples])

    def _row(self, example: Example) -> tuple[list[int], list[int], list[int], list[int]]:
        ids = list(self.opening)
        for label in example.labels:
            ids += self._ids(time_mark(label)) + [self.video] * TOKENS_PER_FRAME
        shared = len(ids)
        positions, segments, labels = list(range(shared)), [0] * shared, [-100] * shared
        for number, question in enumerate(example.questions, start=1):
            asked, told = self._ids(closing(question.text)), self._ids(question.answer + END_OF_TURN)
            ids += asked + told
            positions += range(shared, shared + len(asked) + len(told))
            segments += [number] * (len(asked) + len(told))
            labels += [-100] * len(asked) + told
        return ids, positions, segments, labels


def attention_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive (B, 1, L, L): a token sees what stands before it in the clip and in its own question."""
    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    of, to = segments[:, :, None], segments[:, None, :]
    allowed = causal & ((to == 0) | (to == of))
    allowed |= torch.eye(length, dtype=torch.bool)
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]


def word_embedding(model: LlavaOnevisionForConditionalGeneration) -> Tensor:
    """The table (vocabulary, D) of words, which is the output layer's too."""
    weight = model.lm_head.weight
    assert isinstance(weight, Tensor)
    return weight


def frame_tokens(model: LlavaOnevisionForConditionalGeneration, features: Tensor) -> Tensor:
    """The tower's patches (F, 64, 192) as the language model gets them: (F, 16, D)."""
    projected = model.model.multi_modal_projector(features.to(model.lm_head.weight.dtype))
    return model.model.apply_pooling(projected)


class Alignment(nn.Module):
    """Holds frame tokens to words: a token that shows a dog points where the word *dog* is embedded.

    Without it the language model needs thousands of steps before it looks at the frames at all; with it seeing is
    like reading. What a token shows comes from the tower's dense head, so no labels are needed. A second probe keeps
    the token's place in the frame readable.
    """

    words: Tensor

    def __init__(self, tower: DenseTower, tokenizer: PreTrainedTokenizerFast, width: int) -> None:
        super().__init__()
        self.tower = tower.requires_grad_(False)
        words = [tokenizer(f" {thing.split()[-1]}", add_special_tokens=False)["input_ids"][0] for thing in THINGS]
        self.register_buffer("words", torch.tensor(words))
        self.background = nn.Parameter(torch.randn(width) * 0.02)
        self.place = nn.Linear(width, TOKENS_PER_FRAME)

    def forward(self, tokens: Tensor, features: Tensor, embedding: Tensor) -> Tensor:
        """Loss of tokens (F, 16, D) made of features (F, 64, 192), given the word embedding (vocabulary, D)."""
        with torch.no_grad():
            shares = self.tower.head(self.tower.norm(features.float()))[..., :-1].softmax(-1)
            grid = int(shares.shape[1] ** 0.5)
            cells = shares.unflatten(1, (grid // 2, 2, grid // 2, 2)).mean((2, 4)).flatten(1, 2)  # (F, 16, things + 1)
        classes = torch.cat([embedding[self.words], self.background[None]])
        tokens = tokens.float()
        alike = nn.functional.normalize(tokens, dim=-1) @ nn.functional.normalize(classes, dim=-1).T
        weight = torch.where(cells[..., -1] > 0.95, 0.1, 1.0)
        named = -((alike * 16.0).log_softmax(-1) * cells).sum(-1)
        size = (tokens.norm(dim=-1) / classes.norm(dim=-1).mean().detach() - 2.0).square().mean()
        order = torch.arange(TOKENS_PER_FRAME).expand(len(tokens), -1)
        placed = nn.functional.cross_entropy(self.place(tokens * 5.0).flatten(0, 1), order.flatten())
        return (named * weight).sum() / weight.sum() + placed + 0.1 * size


def align(
    model: LlavaOnevisionForConditionalGeneration, alignment: Alignment, bank: ClipBank, steps: int, seed: int
) -> float:
    """Bring the projector to words before anything else is learnt. Returns the last loss."""
    rng = random.Random(seed)
    projector: nn.Module = model.model.multi_modal_projector
    learnt = [*projector.parameters(), *alignment.place.parameters(), alignment.background]
    optimizer = torch.optim.AdamW(learnt, lr=2e-3)
    loss = torch.zeros(())
    for step in range(1, steps + 1):
        features = torch.cat([rng.choice(bank.clips).features for _ in range(8)])
        with torch.autocast("cpu", torch.bfloat16):
            tokens = frame_tokens(model, features)
        loss = alignment(tokens, features, word_embedding(model).detach())
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, 2e-3 * one_cycle(step, steps))
        optimizer.step()
    return loss.item()


def answer_logits(
    model: LlavaOnevisionForConditionalGeneration, batch: Packed, frames: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (N, vocabulary) and labels (N,) of all answer tokens. `frames` are the batch's frame tokens if known."""
    inner = model.model
    if frames is None:
        frames = frame_tokens(model, batch.features)
    embeds = nn.functional.embedding(batch.ids, word_embedding(model))
    visual = batch.ids == model.config.video_token_id
    embeds = embeds.masked_scatter(visual[..., None], frames.to(embeds.dtype))
    if torch.is_autocast_enabled("cpu"):
        embeds = embeds.bfloat16()  # and with it all that is added up along the layers: half the memory to move
    mask = attention_mask(batch.segments, embeds.dtype)
    hidden = inner.language_model(
        inputs_embeds=embeds, attention_mask=mask, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    wanted = batch.labels[:, 1:] != -100
    return model.lm_head(hidden[:, :-1][wanted]), batch.labels[:, 1:][wanted]


@torch.no_grad()
def exact_match(model: LlavaOnevisionForConditionalGeneration, batches: list[Packed]) -> dict[str, float]:
    """Share of answers that greedy decoding gives to the letter, by kind: one forward pass tells."""
    right, total = Counter[str](), Counter[str]()
    for batch in batches:
        with torch.autocast("cpu", torch.bfloat16):
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


def stage(progress: float, rng: random.Random) -> tuple[int, bool]:
    """Number of frames and whether they are pieces: short clips first, then long ones and what recall brings."""
    if progress < 0.12:
        return rng.randint(2, 6), rng.random() < 0.1
    if progress < 0.32:
        return rng.randint(4, 14), rng.random() < 0.2
    return rng.randint(8, 40), rng.random() < 0.35


class Feed:
    """Makes batches one ahead in a thread."""

    def __init__(self, bank: ClipBank, packer: Packer, seed: int, tokens_per_batch: int) -> None:
        self.bank, self.packer, self.tokens_per_batch = bank, packer, tokens_per_batch
        self.rng = random.Random(seed)

    def draw(self, progress: float) -> Packed:
        num_frames, pieces = stage(progress, self.rng)
        questions = 12 if num_frames > 6 else 8
        count = max(4, self.tokens_per_batch // (21 * num_frames + 24 * questions))
        examples = [self.bank.example(self.rng, num_frames, questions, pieces=pieces) for _ in range(count)]
        return self.packer.pack([example for example in examples if example.questions])


def held_out(bank: ClipBank, packer: Packer, *, pieces: bool, count: int = 64) -> list[Packed]:
    rng = random.Random(991)
    examples = [bank.example(rng, rng.randint(8, 32), 8, pieces=pieces) for _ in range(count)]
    return [packer.pack(examples[start : start + 16]) for start in range(0, count, 16)]


INSTALLED = Path(__file__).parents[1] / "models" / "tiny" / "llava"


def train(
    run: Path, *, steps: int, peak_rate: float, seed: int, bank_size: int, tokens_per_batch: int, go_on: bool = False
) -> None:
    """Train to `steps`, logging to `run/language.jsonl`, saving resumable state beside it.

    With `go_on` a run that has no state yet starts from the installed weights instead of from nothing.
    """
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    tower = load_tower(run)
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(run / "tokenizer")
    model = build(tokenizer, tower)
    alignment = Alignment(tower, tokenizer, WIDTH)
    learnt = [
        parameter for module in (model, alignment) for parameter in module.parameters() if parameter.requires_grad
    ]
    decayed = [parameter for parameter in learnt if parameter.dim() > 1]
    plain = [parameter for parameter in learnt if parameter.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=peak_rate,
        betas=(0.9, 0.98),
    )
    state, done = run / "language-state.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        alignment.load_state_dict(saved["alignment"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
    elif go_on:
        model.load_state_dict(LlavaOnevisionForConditionalGeneration.from_pretrained(INSTALLED).float().state_dict())
    packer = Packer(tokenizer)
    log = (run / "language.jsonl").open("a")
    unseen = ClipBank(tower, seed=900_000_000, size=100)
    unseen.refresh(100)
    tests = {"clips": held_out(unseen, packer, pieces=False), "pieces": held_out(unseen, packer, pieces=True, count=32)}
    bank = ClipBank(tower, seed=1_000 + done * 8, size=bank_size)
    begun = time.perf_counter()
    bank.refresh(300)
    if not done and not go_on:
        loss = align(model, alignment, bank, steps=600, seed=seed)
        log.write(json.dumps({"aligned": round(loss, 4), "seconds": round(time.perf_counter() - begun, 1)}) + "\n")
        log.flush()
    feed = Feed(bank, packer, seed + done, tokens_per_batch)
    source = _ahead(feed, done, steps)
    for step in range(done + 1, steps + 1):
        batch = next(source)
        with torch.autocast("cpu", torch.bfloat16):
            frames = frame_tokens(model, batch.features)
            logits, labels = answer_logits(model, batch, frames)
        told = nn.functional.cross_entropy(logits.float(), labels)
        loss = told + 0.15 * alignment(frames, batch.features, word_embedding(model))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        set_rate(optimizer, peak_rate * one_cycle(step, steps))
        optimizer.step()
        bank.refresh(1)
        if step % 20 == 0:
            line = {
                "step": step,
                "loss": round(told.item(), 4),
                "seconds": round(time.perf_counter() - begun, 1),
                "shape": list(batch.ids.shape),
            }
            if step % 200 == 0 or step == steps:
                model.eval()
                line |= {name: exact_match(model, test) for name, test in tests.items()}
                model.train()
                torch.save(
                    {
                        "model": model.state_dict(),
                        "alignment": alignment.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": step,
                    },
                    state,
                )
            log.write(json.dumps(line) + "\n")
            log.flush()


def _ahead(feed: Feed, done: int, steps: int) -> Iterator[Packed]:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(feed.draw, done / steps)
        for step in range(done + 1, steps + 1):
            batch = waiting.result()
            waiting = pool.submit(feed.draw, step / steps)
            yield batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, default=Path(".runs"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--bank", type=int, default=4000)
    parser.add_argument("--go-on", action="store_true", help="start from the installed weights")
    parser.add_argument("--tokens", type=int, default=6500)
    options = parser.parse_args()
    train(
        options.run,
        steps=options.steps,
        peak_rate=options.rate,
        seed=options.seed,
        bank_size=options.bank,
        tokens_per_batch=options.tokens,
        go_on=options.go_on,
    )


if __name__ == "__main__":
    main()
