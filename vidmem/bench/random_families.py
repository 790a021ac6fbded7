"""Small random models of the four real families, float32 on the CPU, with a tokenizer that knows their marks."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from vidmem.models.prompt import CHAT_TEMPLATE, END_OF_TURN

SPECIAL = [
    "<|endoftext|>", "<|im_start|>", END_OF_TURN, "<image>", "<video>", "<fake_token_around_image>", "<global-img>",
    "<|vision_start|>", "<|vision_end|>", "<|video_pad|>", "<|image_pad|>",
]  # fmt: skip
TEXT = ["user\nassistant\n[00:07] When did the dog appear? Frame from 00:07: <1.5 seconds>", "0123456789" * 4]
FAMILIES = ("llava_onevision", "smolvlm", "qwen2_5_vl", "qwen3_vl")


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END_OF_TURN,
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL[1:],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def token_id(text: str) -> int:
    found = tokenizer().convert_tokens_to_ids(text)
    assert isinstance(found, int), f"{text} is one token"
    return found


def _ids(**tokens: str) -> dict[str, Any]:
    return {name: token_id(token) for name, token in tokens.items()}


def _text() -> dict[str, Any]:
    words = tokenizer()
    return {
        "vocab_size": len(words), "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "bos_token_id": None,
        "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
    }  # fmt: skip


def _siglip() -> dict[str, Any]:
    return {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 56, "patch_size": 14,
    }  # fmt: skip


def _llava_onevision() -> Any:
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**_siglip(), vision_use_head=False), text_config=Qwen2Config(**_text()),
        vision_feature_layer=-1, vision_feature_select_strategy="full", image_grid_pinpoints=[[56, 56]],
        **_ids(image_token_id="<image>", video_token_id="<video>"),
    )  # fmt: skip
    return LlavaOnevisionForConditionalGeneration(config)


def _smolvlm() -> Any:
    config = SmolVLMConfig(
        vision_config=_siglip(), text_config={**_text(), "model_type": "llama"}, scale_factor=2,
        **_ids(image_token_id="<image>", pad_token_id="<|endoftext|>"),
    )  # fmt: skip
    return SmolVLMForConditionalGeneration(config)


def _vision_tokens() -> dict[str, Any]:
    return _ids(
        image_token_id="<|image_pad|>", video_token_id="<|video_pad|>", vision_start_token_id="<|vision_start|>",
        vision_end_token_id="<|vision_end|>",
    )  # fmt: skip


def _qwen2_5_vl() -> Any:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
        "fullatt_block_indexes": [1], "window_size": 56,
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        vision_config=vision, text_config={**_text(), "rope_parameters": rope}, **_vision_tokens()
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl() -> Any:
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    vision = {
        "depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    text = {**_text(), "head_dim": 16, "rope_parameters": rope}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(vision_config=vision, text_config=text, **_vision_tokens()))


@cache
def random_model(family: str) -> Any:
    """One model of a family, the same every time; shared by all who ask, who leave it as it is."""
    torch.manual_seed(0)
    makers = {
        "llava_onevision": _llava_onevision, "smolvlm": _smolvlm, "qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl,
    }  # fmt: skip
    model = makers[family]().eval().requires_grad_(False)
    for name, weight in model.named_parameters():  # the usual start is so narrow that every prompt is answered alike
        if weight.dim() > 1 and "vis" not in name:
            weight.mul_(6.0)
        if name.endswith(("k_norm.weight", "q_norm.weight")):
            weight.uniform_(0.5, 1.5)
    return model
