"""Stage 2: the open_clip model. Its image side starts from the tower; both sides learn which captions fit which frame.

Every caption of a batch is held against every frame of it, and the world knows which fit: a sigmoid loss over the
whole table (SigLIP, Zhai et al. 2023, section 3.2) with many positives a row, not one.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from vidmem.recipes.accelerator import DEVICE, half
from vidmem.recipes.frames import LabelledFrame
from vidmem.recipes.tower import VISION, DenseTower, batches, load_tower, one_cycle, set_rate, to_pixels
from vidmem.world.script import PLACES, THINGS, Place
from vidmem.world.words import PLACE_PHRASES, a, noun, plural

CONTEXT = 24
EMBEDDING = 256


@dataclass(frozen=True, slots=True)
class Caption:
    """A text, and what a frame must hold for it to be true."""

    text: str
    wanted: tuple[tuple[str, Place | None, int], ...] = ()
    night: bool | None = None

    def fits(self, frame: LabelledFrame) -> bool:
        counts = Counter(thing for thing, _ in frame.things)
        for thing, place, number in self.wanted:
            if counts[thing] < number or (place is not None and (thing, place) not in frame.things):
                return False
        return self.night is None or self.night == frame.night


def caption(frame: LabelledFrame, rng: random.Random) -> Caption:
    """Something true of a frame, or now and then something about a thing that may not be there."""
    if rng.random() < 0.06:
        night = frame.night
        return Caption(rng.choice(("at {}", "{}", "it is {}")).format("night" if night else "day"), night=night)
    if not frame.things or rng.random() < 0.15:
        return _single(rng.choice(THINGS), rng.choice(PLACES), rng)
    thing, place = rng.choice(frame.things)
    number = sum(name == thing for name, _ in frame.things)
    if number > 1 and rng.random() < 0.3:
        word = ("two", "three", "four", "five")[number - 2]
        return Caption(f"{word} {plural(thing)}", ((thing, None, number),))
    if len(frame.things) > 1 and rng.random() < 0.15:
        other, _ = rng.choice(frame.things)
        if other != thing:
            return Caption(f"{a(thing)} and {a(other)}", ((thing, None, 1), (other, None, 1)))
    return _single(thing, place, rng)


def _single(thing: str, place: Place | None, rng: random.Random) -> Caption:
    form = rng.choice((a(thing), a(thing), f"the {noun(thing)}", noun(thing), f"a picture of {a(thing)}"))
    if place is not None and rng.random() < 0.3:
        return Caption(f"{form} {PLACE_PHRASES[place]}", ((thing, place, 1),))
    return Caption(form, ((thing, None, 1),))


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Lower case byte-level BPE over captions, each closed by an end token, which the text side is read at."""
    texts = [
        f"{form} {phrase} and at night by day it is a picture of"
        for thing in THINGS
        for form in (a(thing), f"the {noun(thing)}", f"two three four five {plural(thing)}")
        for phrase in PLACE_PHRASES.values()
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", model_max_length=CONTEXT
    )


def configuration(vocabulary: int) -> dict[str, object]:
    """The folder's `open_clip_config.json`."""
    return {
        "model_cfg": {
            "embed_dim": EMBEDDING,
            "init_logit_bias": -6.0,
            "vision_cfg": {
                "image_size": VISION.image_size,
                "layers": VISION.num_hidden_layers,
                "width": VISION.hidden_size,
                "head_width": VISION.hidden_size // VISION.num_attention_heads,
                "patch_size": VISION.patch_size,
                "no_ln_pre": True,
                "pool_type": "avg",
            },
            "text_cfg": {
                "context_length": CONTEXT,
                "vocab_size": vocabulary,
                "hf_tokenizer_name": "tokenizer",
                "tokenizer_kwargs": {"clean": "whitespace"},
                "width": 192,
                "heads": 6,
                "layers": 3,
                "pool_type": "eos",
                "eos_id": 1,
                "pad_id": 0,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def start_from_tower(model: CLIP, tower: DenseTower) -> None:
    """Copy the SigLIP tower's weights into open_clip's vision transformer.

    open_clip's patch convolution has no bias (it goes into the positions instead) and a class token, which starts
    as nothing; its pooled output leaves the class token out.
    """
    theirs, ours = tower.vision.state_dict(), model.visual
    find = {name.split("vision_model.")[-1]: value for name, value in theirs.items()}
    with torch.no_grad():
        ours.conv1.weight.copy_(find["embeddings.patch_embedding.weight"])
        ours.positional_embedding[1:] = (
            find["embeddings.position_embedding.weight"] + find["embeddings.patch_embedding.bias"]
        )
        ours.positional_embedding[0] = 0.0
        ours.class_embedding.mul_(0.1)
        for index, block in enumerate(ours.transformer.resblocks):
            at = f"encoder.layers.{index}."
            for part in ("weight", "bias"):
                packed = [find[f"{at}self_attn.{name}_proj.{part}"] for name in "qkv"]
                getattr(block.attn, f"in_proj_{part}").copy_(torch.cat(packed))
                getattr(block.attn.out_proj, part).copy_(find[f"{at}self_attn.out_proj.{part}"])
                getattr(block.ln_1, part).copy_(find[f"{at}layer_norm1.{part}"])
                getattr(block.ln_2, part).copy_(find[f"{at}layer_norm2.{part}"])
                getattr(block.mlp.c_fc, part).copy_(find[f"{at}mlp.fc1.{part}"])
                getattr(block.mlp.c_proj, part).copy_(find[f"{at}mlp.fc2.{part}"])


def loss_of(image: Tensor, text: Tensor, truth: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Sigmoid loss over all pairs; positives and negatives of each caption weigh the same."""
    logits = image @ text.T * scale + bias
    each = nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    positive = (each * truth).sum() / truth.sum().clamp(min=1)
    negative = (each * (1 - truth)).sum() / (1 - truth).sum().clamp(min=1)
    return positive + 4.0 * negative + 0.1 * each.sum() / len(image)


@torch.no_grad()
def recall_at_1(model: CLIP, tokenize: open_clip.HFTokenizer, frames: list[LabelledFrame]) -> float:
    """Of all things that some frame holds: is the best frame for `a THING` one that holds it?"""
    image = model.encode_image(to_pixels(np.stack([frame.image for frame in frames])), normalize=True)
    names = sorted({thing for frame in frames for thing, _ in frame.things})
    text = model.encode_text(tokenize([a(name) for name in names]).to(DEVICE), normalize=True)
    best = (text @ image.T).argmax(-1).tolist()
    return sum(name in {t for t, _ in frames[i].things} for name, i in zip(names, best, strict=True)) / len(names)


def train(run: Path, *, steps: int, batch: int, peak_rate: float, seed: int) -> None:
    """Train into the folder `run/clip`, which `open_clip` opens as `local-dir:`. Resumes from `run/clip-state.pt`."""
    torch.manual_seed(seed)
    folder = run / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    tokenizer.save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps(configuration(len(tokenizer)), indent=2) + "\n")
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).to(DEVICE)
    tokenize = open_clip.get_tokenizer(f"local-dir:{folder}")
    start_from_tower(model, load_tower(run))
    trunk = list(model.visual.transformer.parameters())
    held = {id(parameter) for parameter in trunk}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in held]
    slow = torch.optim.AdamW(trunk, lr=peak_rate, weight_decay=0.02)
    quick = torch.optim.AdamW(rest, lr=peak_rate, weight_decay=0.02)
    state, done = run / "clip-state.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=DEVICE)
        model.load_state_dict(saved["model"])
        slow.load_state_dict(saved["slow"])
        quick.load_state_dict(saved["quick"])
        done = saved["step"]
    rng, source = random.Random(seed + done), batches(seed + 7_000_000 + done, batch)
    unseen = batches(31_337, 400, max_things=3)
    held_out = next(unseen)
    begun, log = time.perf_counter(), (run / "clip.jsonl").open("a")
    for step in range(done + 1, steps + 1):
        frames = next(source)
        captions = [caption(frame, rng) for frame in frames for _ in range(2)]
        truth = torch.tensor([[c.fits(frame) for c in captions] for frame in frames], dtype=torch.float32).to(DEVICE)
        with half():
            image = model.encode_image(to_pixels(np.stack([frame.image for frame in frames])))
            text = model.encode_text(tokenize([c.text for c in captions]).to(DEVICE))
        image, text = (nn.functional.normalize(side.float(), dim=-1) for side in (image, text))
        loss = loss_of(image, text, truth, model.logit_scale.exp(), model.logit_bias)
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        share = one_cycle(step, steps)
        set_rate(slow, 0.15 * peak_rate * share)
        set_rate(quick, peak_rate * share)
        slow.step()
        quick.step()
        if step % 20 == 0:
            line = {"step": step, "loss": round(loss.item(), 4), "seconds": round(time.perf_counter() - begun, 1)}
            if step % 100 == 0 or step == steps:
                model.eval()
                line["recall@1"] = round(recall_at_1(model, tokenize, held_out), 4)
                model.train()
                optimizers = {"slow": slow.state_dict(), "quick": quick.state_dict()}
                torch.save({"model": model.state_dict(), **optimizers, "step": step}, state)
                save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
            log.write(json.dumps(line) + "\n")
            log.flush()
