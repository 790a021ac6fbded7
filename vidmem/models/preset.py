"""Presets: which models, on which device, with which budgets. A preset is a TOML file that a person can copy."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from vidmem.errors import BadInput
from vidmem.kv.formats import Format
from vidmem.kv.heads import Heads
from vidmem.models.folders import ENCODER_FILES, LANGUAGE_FILES, missing_files, repository_of
from vidmem.models.sam_config import SAM2_1, SIZES
from vidmem.types import Mode

DeviceName = str
"""`auto` (CUDA if there is one), `cpu`, `cuda`, `cuda:1` ..."""
DtypeName = Literal["auto", "float32", "bfloat16", "float16"]
Retrieval = Literal["hybrid", "external", "internal"]

GENERAL_VOCABULARY = Path(__file__).with_name("vocabulary.txt")
"""Some hundred everyday things, for models that know real footage."""

_FOLDER = Path(__file__).with_name("presets")
_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "Format": (str,),
    "Retrieval": (str,),
    "Heads": (list,),
}
_PLAIN: dict[str, type] = {"name": str, "description": str, "device": str, "dtype": str, "mode": str, "memory": dict}
_CHOICES: dict[str, tuple[str, ...]] = {
    "dtype": get_args(DtypeName),
    "mode": get_args(Mode),
    "format": get_args(Format),
    "retrieval": get_args(Retrieval),
}
"""Entries that take one of a few words."""
_ORDER = ("tiny", "small", "base", "large")


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Which open_clip model embeds frames and words."""

    model: str = ""
    """A folder with `open_clip_config.json`, a hub repository, or open_clip's own name for an architecture."""
    pretrained: str = ""
    """open_clip's tag of the weights, where `model` is an architecture."""
    revision: str = ""
    text_template: str = "{}"
    """How words are put before the model, `{}` being the words."""
    relevance_floor: float = 0.0
    """Cosine similarity below which a frame is no match."""
    crop_margin: float = 1.2
    """How many times as large as an object the crop is that shows the object to the model."""
    crop_squashed: bool = False
    """Whether that crop has the frame's proportions, squashed as frames are, for a model that never saw a thing
    otherwise; else it is not distorted."""

    def __post_init__(self) -> None:
        if not self.crop_margin >= 1:
            raise BadInput(f"[encoder] crop_margin = {self.crop_margin} cuts objects off: give at least 1.")


@dataclass(frozen=True, slots=True)
class LanguageConfig:
    """Which video-LLM answers: a checkpoint of a family that has an adapter (`vidmem.models.families`)."""

    model: str = ""
    """A transformers folder, or a hub repository."""
    revision: str = ""
    time_marks: bool = True
    """Put each frame's time before it, in the family's own form, so that "when" can be answered."""
    image_newline: bool = False
    """Put what the checkpoints of the hub were trained to find after the last frame there: LLaVA-OneVision's learned
    newline, SmolVLM's empty line."""
    side: int = 0
    """Pixels of a side of the square that frames are squashed to, where the family leaves the choice; 0 for its own."""
    max_context_tokens: int = 0
    """Longest prompt; 0 for what the model's configuration allows."""
    max_new_tokens: int = 64
    """Longest answer."""

    def __post_init__(self) -> None:
        if self.side < 0:
            raise BadInput(f"[language] side = {self.side} is no picture size: use 0 for the model's own.")


@dataclass(frozen=True, slots=True)
class TrackerConfig:
    """Which sam2 model follows objects, and what they may be called."""

    model: str = ""
    """A folder, or a hub repository; "" for what the authors of SAM 2.1 published of `size`."""
    size: str = ""
    """Which of `vidmem.models.sam_config.SIZES` the weights are of; "" for what lies beside them says it."""
    revision: str = ""
    vocabulary: str = ""
    """A text file of phrases, one a line, as the encoder is to read them; "" for the general one of vidmem."""

    def __post_init__(self) -> None:
        if self.size and self.size not in SIZES:
            raise BadInput(f"[tracker] size = {self.size!r} is no size of SAM 2: choose among {', '.join(SIZES)}.")
        if self.size and self.size not in SAM2_1 and not self.model:
            raise BadInput(f"[tracker] size = {self.size!r} has no published weights: add `model = ...`.")

    @property
    def repository(self) -> str:
        """Folder or hub repository of the weights; "" if none is named."""
        if self.model or not self.size:
            return self.model
        return f"facebook/sam2.1-hiera-{self.size.replace('_', '-')}"


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """What a context may hold, and how video is cut."""

    context_tokens: int = 900
    """Tokens of frames and their time marks before a question."""
    clip_seconds: float = 8.0
    """A clip is what is encoded and committed at once."""
    sketch_share: float = 0.2
    """Share of the context kept for frames spread evenly over the whole video, where nothing was found."""
    gist_elements: int = 2
    """Elements of long-term memory that may join a context."""


@dataclass(frozen=True, slots=True)
class KvConfig:
    """How keys and values are kept and brought back. Read in kv mode only."""

    window_tokens: int = 0
    """How far back a frame sees while it streams in; 0 for as many tokens as a context holds of frames."""
    format: Format = "int8"
    """How blocks rest in RAM and on disk: none, int8, int4, int2 or kivi2 (`vidmem.kv.quantise`)."""
    keep_ratio: float = 1.0
    """Part of a clip's visual tokens that is stored, the most novel ones (`vidmem.kv.compress`); 1 stores all."""
    absorb: bool = False
    """Let a frame of which only its time mark would be stored become part of the block before it."""
    retrieval: Retrieval = "hybrid"
    """What ranks frames: `external` is the encoder through the index, `internal` the video-LLM's own queries."""
    heads: Heads = ()
    """`[[layer, KV head], ...]` that look for what a question names; none for all of a layer a third of the way up."""
    neighbours: int = 1
    """Blocks on either side that come along with a chosen one: frames, where none is absorbed."""
    max_clip_share: float = 0.5
    """Part of the chosen frames that may come out of one clip while others have something to offer."""
    accelerator_bytes: int = 2 * 1024**3
    """Room for blocks on the model's device, for each video that is asked about (at most three at a time)."""
    ram_bytes: int = 4 * 1024**3
    """Room for blocks in RAM, the same."""

    def __post_init__(self) -> None:
        if min(self.window_tokens, self.neighbours) < 0 or not 0 < self.max_clip_share <= 1:
            raise BadInput("[kv] needs window_tokens and neighbours of at least 0, and max_clip_share in (0, 1].")
        if not all(len(head) == 2 and min(head) >= 0 for head in self.heads):
            raise BadInput("[kv] heads should be pairs of a layer and a KV head, as [[1, 0], [2, 3]].")
        if not 0 < self.keep_ratio <= 1:
            raise BadInput(f"[kv] keep_ratio = {self.keep_ratio} is no part of a clip's tokens: give it in (0, 1].")
        if self.absorb and self.keep_ratio == 1:
            raise BadInput("[kv] absorb = true needs a keep_ratio below 1: where all is kept, no frame is absorbed.")
        if min(self.accelerator_bytes, self.ram_bytes) < 1:
            raise BadInput("[kv] needs accelerator_bytes and ram_bytes above 0.")


@dataclass(frozen=True, slots=True)
class Preset:
    """A set of models with devices and budgets. `base` is the folder that relative model paths start from."""

    name: str
    base: Path
    origin: str = ""
    """What opens this preset again: its name, or its file's path."""
    description: str = ""
    device: DeviceName = "auto"
    dtype: DtypeName = "auto"
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    mode: Mode = "kv"
    """What a new store keeps of a frame for the video-LLM; one that is there keeps its own mode."""
    kv: KvConfig = field(default_factory=KvConfig)
    memory: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `MemoryConfig`."""

    def missing(self) -> dict[str, str]:
        """What keeps the preset from running here: for `encoder` and `language`, one sentence each with the cure."""
        encoder = missing_files(self.encoder_repository, ENCODER_FILES, revision=self.encoder.revision, base=self.base)
        language = missing_files(self.language.model, LANGUAGE_FILES, revision=self.language.revision, base=self.base)
        return {part: why for part, why in (("encoder", encoder), ("language", language)) if why}

    @property
    def vocabulary(self) -> Path:
        """File of the phrases that objects may be called by."""
        if not self.tracker.vocabulary:
            return GENERAL_VOCABULARY
        return self.base / Path(self.tracker.vocabulary).expanduser()

    @property
    def encoder_repository(self) -> str:
        """Folder or hub repository of the encoder's files; a tag of open_clip is looked up in its own list."""
        if not self.encoder.pretrained:
            return self.encoder.model
        return repository_of(self.encoder.model, self.encoder.pretrained)


def presets() -> tuple[str, ...]:
    """Names of the presets that come with vidmem, the smallest first."""
    return _ORDER


def load_preset(name_or_path: str | Path) -> Preset:
    """Read a preset by its name, or from a TOML file.

    Raises:
        BadInput: there is no such preset or file, or the file says what a preset can't.
    """
    text = str(name_or_path)
    path = _FOLDER / f"{text}.toml" if text in _ORDER else Path(text).expanduser()
    if not path.is_file():
        raise BadInput(f"no preset is called {text!r}: choose one of {', '.join(_ORDER)}, or give a TOML file.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"the preset {path} is not valid TOML: {error}") from error
    return _read(table, path, text if text in _ORDER else str(path.resolve()))


def _read(table: dict[str, Any], path: Path, origin: str) -> Preset:
    parts = {
        "encoder": EncoderConfig,
        "language": LanguageConfig,
        "tracker": TrackerConfig,
        "budget": BudgetConfig,
        "kv": KvConfig,
    }
    given: dict[str, Any] = {"name": path.stem, "base": path.resolve().parent, "origin": origin}
    for key, value in table.items():
        if key in parts:
            given[key] = _config(parts[key], value, f"{path} [{key}]")
        elif key in _PLAIN:
            if not isinstance(value, _PLAIN[key]):
                raise BadInput(f"{path} {key} = {value!r} should be a {_PLAIN[key].__name__}.")
            given[key] = value
        else:
            raise BadInput(f"{path} has an entry {key!r} that no preset has: remove it or correct its name.")
    for name in ("dtype", "mode"):
        if name in given:
            _check_choice(name, str(given[name]), str(path))
    preset = Preset(**given)
    if not _takes_words(preset.encoder.text_template):
        raise BadInput(
            f"{path} [encoder] text_template = {preset.encoder.text_template!r} needs one {{}} for the words."
        )
    for part in ("encoder", "language"):
        if not getattr(preset, part).model:
            raise BadInput(f"{path} names no model in [{part}]: add `model = ...`.")
    return preset


def _takes_words(template: str) -> bool:
    try:
        return "words" in template.format("words")
    except (ValueError, LookupError):
        return False


def _called(kinds: tuple[type, ...]) -> str:
    return kinds[-1].__name__


def _check_choice(name: str, value: str, where: str) -> None:
    choices = _CHOICES[name]
    if value not in choices:
        listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
        raise BadInput(f"{where} asks for {name} {value!r}: use {listed}.")


Config = TypeVar("Config", EncoderConfig, LanguageConfig, TrackerConfig, BudgetConfig, KvConfig)


def _config(kind: type[Config], table: Any, where: str) -> Config:
    known = {item.name: item.type for item in fields(kind)}
    if not isinstance(table, dict):
        raise BadInput(f"{where} must be a table.")
    for key, value in table.items():
        if key not in known:
            raise BadInput(f"{where} has no entry {key!r}: choose among {', '.join(known)}.")
        expected = _KINDS[str(known[key])]
        if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
            raise BadInput(f"{where} {key} = {value!r} should be a {_called(expected)}.")
        if key in _CHOICES:
            _check_choice(key, str(value), where)
    if "heads" in table:
        table = {**table, "heads": _heads(table["heads"], where)}
    return kind(**table)


def _heads(pairs: list[Any], where: str) -> Heads:
    if not all(isinstance(pair, list) and all(type(number) is int for number in pair) for pair in pairs):
        raise BadInput(f"{where} heads = {pairs!r} should be pairs of whole numbers, as [[1, 0], [2, 3]].")
    return tuple(tuple(pair) for pair in pairs)
