"""The models of a preset, loaded when they are first used."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidmem.errors import BadInput
from vidmem.index import Store, StoreIdentity
from vidmem.models.folders import ENCODER_FILES, LANGUAGE_FILES, find_model
from vidmem.models.preset import Preset, load_preset, presets

if TYPE_CHECKING:
    from vidmem.models.encoder import FrameEncoder
    from vidmem.models.kv_language import KvLanguage
    from vidmem.models.language import VideoLanguageModel
    from vidmem.models.sam_config import SamConfig
    from vidmem.models.tracker import Tracker
    from vidmem.pipelines.noticing import Eye


def made_with(path: Path, *, create: bool) -> StoreIdentity | None:
    """What the store at `path` was made with; None if none is there but one can be made. Raises as `Store.open`."""
    return Store.peek(path).identity if Store.is_at(path, create=create) else None


def preset_for(path: str | os.PathLike[str], preset: str | os.PathLike[str] | None = None) -> Preset:
    """The preset that the store at `path`, be it there or new, is opened with when `preset` is asked for.

    Raises:
        BadInput: there is no such preset, or its file says what a preset can't; or what is at `path` is no store.
        StoreVersion, StoreCorrupt: see `Store.open`.
    """
    store = Path(path)
    return choose_preset(store, preset, made_with(store, create=True))


def choose_preset(store: Path, preset: str | os.PathLike[str] | None, made: StoreIdentity | None) -> Preset:
    """The preset asked for; where none is, the one that the store was made with, and `tiny` for a new store."""
    if preset is not None or made is None:
        return load_preset("tiny" if preset is None else os.fspath(preset))
    if made.preset not in presets() and not Path(made.preset).is_file():
        raise BadInput(
            f"{store} was made with the preset file {made.preset}, which is gone: put it back, or name a copy of it"
            " with --preset."
        )
    # A store keeps its mode, whatever its preset says of new ones by now.
    return replace(load_preset(made.preset), mode=made.mode)


class Models:
    """The models of a preset, each loaded when it is first used. Several threads may share them."""

    def __init__(self, preset: Preset, *, loaded: Callable[[], None] = lambda: None) -> None:
        """`loaded` is called whenever one was, by the thread that needed it."""
        self.preset, self._loaded = preset, loaded
        self._encoder: FrameEncoder | None = None
        self._language: VideoLanguageModel | None = None
        self._kv_language: KvLanguage | None = None
        self._sam: tuple[Any, SamConfig] | None = None
        self._eye: Eye | None = None
        self._loading = threading.RLock()

    @property
    def encoder(self) -> FrameEncoder:
        with self._loading:
            if self._encoder is None:
                self._encoder = _load_encoder(self.preset)
                self._loaded()
            return self._encoder

    @property
    def language(self) -> VideoLanguageModel:
        with self._loading:
            if self._language is None:
                self._language = _load_language(self.preset)
                self._loaded()
            return self._language

    @property
    def kv_language(self) -> KvLanguage:
        """The video-LLM as kv mode uses it. Raises BadInput if its model can't be used so."""
        from vidmem.models.kv_language import KvLanguage

        with self._loading:
            if self._kv_language is None:
                self._kv_language = KvLanguage(self.language)
            return self._kv_language

    @property
    def eye(self) -> Eye:
        """What tells how objects look, and what they are called. Raises as `Vocabulary.read`."""
        from vidmem.models.labels import Vocabulary
        from vidmem.pipelines.noticing import Eye

        with self._loading:
            if self._eye is None:
                config = self.preset.encoder
                words = Vocabulary.read(self.preset.vocabulary, self.encoder, floor=config.relevance_floor)
                self._eye = Eye(self.encoder, words, config)
            return self._eye

    def tracker_for(self, selection: str) -> Tracker:
        """A tracker in which nothing is followed yet. All share one network.

        Raises:
            BadInput: there is no such selection, or the preset names no tracker.
            MissingModel, ModelMismatch: see `load_sam`.
        """
        from vidmem.models.devices import pick_device, pick_dtype
        from vidmem.models.tracker import Tracker

        with self._loading:
            if self._sam is None:
                self._sam = _load_sam(self.preset)
                self._loaded()
            model, config = self._sam
        dtype = pick_dtype(self.preset.dtype, pick_device(self.preset.device))
        return Tracker(model, selection=selection, dtype=dtype, mean=config.pixel_mean, std=config.pixel_std)

    def load(self, *, language: bool = True) -> float:
        """Load what was not used yet: the encoder and, if `language`, the video-LLM. Returns the seconds that it took,
        0.0 if all was there."""
        if self._encoder is not None and (self._language is not None or not language):
            return 0.0
        begun = time.perf_counter()
        _ = self.encoder
        if language:
            _ = self.kv_language if self.preset.mode == "kv" else self.language
        return time.perf_counter() - begun

    def identity(self, made: StoreIdentity | None, policy: str) -> StoreIdentity:
        """What a store of these models is made with.

        Sizes are taken from `made`, if given, without loading a model, and so are names: a revision tells weights
        apart, so the same ones in another folder, or under another preset's name, are no mismatch.
        """
        preset = self.preset
        encoder = find_model(
            preset.encoder_repository, ENCODER_FILES, revision=preset.encoder.revision, base=preset.base
        )
        language = find_model(
            preset.language.model, LANGUAGE_FILES, revision=preset.language.revision, base=preset.base
        )
        same_encoder = made is not None and made.encoder_revision == encoder.revision
        side = preset.language.side
        # Pictures of another size are other tokens, as of another model: a store takes one of them.
        language_revision = f"{language.revision} at {side} x {side}" if side else language.revision
        same_language = made is not None and made.language_revision == language_revision
        return StoreIdentity(
            preset=made.preset if made and same_encoder and same_language else preset.origin,
            encoder=made.encoder if made and same_encoder else preset.encoder.model,
            encoder_revision=encoder.revision,
            language_model=made.language_model if made and same_language else preset.language.model,
            language_revision=language_revision,
            embedding_dim=made.embedding_dim if made else self.encoder.dim,
            tokens_per_frame=made.tokens_per_frame if made else self.language.tokens_per_frame,
            token_dim=made.token_dim if made else self.language.token_dim,
            policy=policy,
            mode=preset.mode,
        )


def _load_encoder(preset: Preset) -> FrameEncoder:
    from vidmem.models.devices import pick_device, pick_dtype
    from vidmem.models.encoder import FrameEncoder

    device = pick_device(preset.device)
    return FrameEncoder.load(preset.encoder, base=preset.base, device=device, dtype=pick_dtype(preset.dtype, device))


def _load_language(preset: Preset) -> VideoLanguageModel:
    from vidmem.models.devices import pick_device, pick_dtype
    from vidmem.models.language import VideoLanguageModel

    device = pick_device(preset.device)
    dtype = pick_dtype(preset.dtype, device)
    return VideoLanguageModel.load(preset.language, base=preset.base, device=device, dtype=dtype)


def _load_sam(preset: Preset) -> tuple[Any, SamConfig]:
    from vidmem.models.devices import pick_device
    from vidmem.models.sam import load_sam

    tracker = preset.tracker
    if not tracker.repository:
        raise BadInput(f"the preset {preset.name} names no model in [tracker]: add `model = ...` to follow objects.")
    device = pick_device(preset.device)
    return load_sam(tracker.repository, size=tracker.size, device=device, revision=tracker.revision, base=preset.base)
