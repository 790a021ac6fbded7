"""The embedded video-LLM's tokenizer: a byte-level BPE learnt from what the sample world says."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from vidmem.models.prompt import CHAT_TEMPLATE, END_OF_TURN, VIDEO_TOKEN
from vidmem.world.questions import ask_many
from vidmem.world.scene import Scene
from vidmem.world.script import THINGS, Script, ScriptConfig
from vidmem.world.words import a, noun, plural

SPECIAL = ("<|endoftext|>", "<|im_start|>", END_OF_TURN, "<image>", VIDEO_TOKEN)


def corpus(num_scripts: int = 400) -> Iterator[str]:
    for seed in range(num_scripts):
        rng = random.Random(f"corpus:{seed}")
        duration = rng.uniform(8, 32)
        script = Script(ScriptConfig(seed=seed, duration=duration, chapter_seconds=duration))
        scene = Scene.of(script, [float(second) for second in range(int(duration))], shift=rng.choice((0, 4000)))
        for question in ask_many(scene, rng, 14):
            yield f"user\n{question.text}"
            yield f"assistant\n{question.answer}"
    for thing in THINGS:
        for _ in range(20):
            yield f"Was there {a(thing)}? The {noun(thing)} was there. How many {plural(thing)} were there?"
    for _ in range(40):
        yield " ".join(f"{number:02d}" for number in range(100))


def train_tokenizer(vocabulary: int = 1200) -> PreTrainedTokenizerFast:
    """Digits go in pairs, each pair one token, so that a time is five tokens wherever it stands."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d{1,2}"), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<image>", VIDEO_TOKEN],
        chat_template=CHAT_TEMPLATE,
        model_max_length=16384,
        clean_up_tokenization_spaces=False,
    )
