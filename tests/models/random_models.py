"""Small random models of the real classes, as folders that the loaders read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2VLVideoProcessor,
    Qwen3VLVideoProcessor,
    SiglipVisionConfig,
    SmolVLMVideoProcessor,
)

from vidmem.bench.random_families import random_model
from vidmem.bench.random_families import tokenizer as families_tokenizer
from vidmem.models.prompt import CHAT_TEMPLATE, END_OF_TURN, VIDEO_TOKEN

SPECIAL = ["<|endoftext|>", "<|im_start|>", END_OF_TURN, "<image>", VIDEO_TOKEN]
TEXT = ["user\nassistant\n[00:07] When did the dog appear? The dog appeared at 00:07.", "0123456789" * 4, "naïve €"]
PIXELS = 56


def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>", VIDEO_TOKEN],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def write_llava(folder: Path, *, seed: int = 0, image_size: int = PIXELS) -> Path:
    torch.manual_seed(seed)
    words = tokenizer()
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=image_size,
        patch_size=14, vision_use_head=False,
    )  # fmt: skip
    text = Qwen2Config(
        vocab_size=len(words), hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    image, video = words.convert_tokens_to_ids(["<image>", VIDEO_TOKEN])
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=image, video_token_index=video, image_token_id=image,
        video_token_id=video, vision_feature_layer=-1, vision_feature_select_strategy="full",
        image_grid_pinpoints=[[image_size, image_size]], tie_word_embeddings=True,
    )  # fmt: skip
    model = LlavaOnevisionForConditionalGeneration(config)
    with torch.no_grad():  # the usual start is so narrow that every prompt gives the same answer
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "vision_tower" not in name:
                weight.mul_(6.0)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    size = {"height": image_size, "width": image_size}
    LlavaOnevisionVideoProcessor(size=size, image_mean=[0.5] * 3, image_std=[0.5] * 3).save_pretrained(folder)
    return folder


def write_clip(folder: Path, *, seed: int = 0, image_size: int = PIXELS) -> Path:
    """An open_clip folder whose tokenizer is a fast one in the same folder."""
    import open_clip

    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    words.save_pretrained(folder)
    config = {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {"image_size": image_size, "layers": 2, "width": 32, "head_width": 16, "patch_size": 14},
            "text_cfg": {
                "context_length": 24,
                "vocab_size": len(words),
                "width": 32,
                "heads": 2,
                "layers": 2,
                "hf_tokenizer_name": "local",
                "tokenizer_kwargs": {},
            },
        },
        "preprocess_cfg": {
            "mean": [0.4, 0.5, 0.6],
            "std": [0.2, 0.3, 0.25],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    return folder


def write_preset(folder: Path, **budget: float) -> Path:
    """A preset file, in tokens mode, with a random encoder and a random video-LLM beside it."""
    write_clip(folder / "clip")
    write_llava(folder / "llava")
    lines = [
        'mode = "tokens"',
        'name = "random"',
        'device = "cpu"',
        "[encoder]",
        'model = "./clip"',
        "relevance_floor = -1.0",
    ]
    lines += ["[language]", 'model = "./llava"', "max_new_tokens = 12", "[budget]"]
    lines += [f"{key} = {value}" for key, value in {"context_tokens": 300, **budget}.items()]
    path = folder / "random.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


# -- the four families --

PROCESSORS = {
    "llava_onevision": LlavaOnevisionVideoProcessor,
    "smolvlm": SmolVLMVideoProcessor,
    "qwen2_5_vl": Qwen2VLVideoProcessor,
    "qwen3_vl": Qwen3VLVideoProcessor,
}
SIDES = {"qwen2_5_vl": 56, "qwen3_vl": 64}
"""What a preset says where the family leaves the choice; the others see squares of `PIXELS` alone."""


def write_family(folder: Path, family: str) -> Path:
    """A random model of a family with tokenizer and video processor, as a checkpoint lies on a disk."""
    random_model(family).save_pretrained(folder)
    families_tokenizer().save_pretrained(folder)
    square = {"size": {"height": PIXELS, "width": PIXELS}} if family == "llava_onevision" else {}
    mean_and_std = {} if family == "qwen2_5_vl" else {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    PROCESSORS[family](**square, **mean_and_std).save_pretrained(folder)
    return folder


def write_family_preset(folder: Path, family: str, mode: str, **language: object) -> Path:
    """A preset file of a random model of a family, written beside it if that is not there yet."""
    if not (folder / "clip").is_dir():
        write_clip(folder / "clip")
        write_family(folder / family, family)
    settings = {"image_newline": True, "max_new_tokens": 12, "side": SIDES.get(family, 0), **language}
    lines = [f'mode = "{mode}"', 'device = "cpu"', "[encoder]", 'model = "./clip"', "relevance_floor = -1.0"]
    lines += [
        "[language]",
        f'model = "./{family}"',
        *(f"{key} = {json.dumps(value)}" for key, value in settings.items()),
    ]
    lines += ["[budget]", "context_tokens = 900", "clip_seconds = 4", "[kv]", 'format = "none"']
    path = folder / f"{'-'.join([mode, *map(str, language)])}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path
