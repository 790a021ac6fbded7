"""A preset that is written and read again says the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vidmem.errors import BadInput
from vidmem.models.preset import Preset, load_preset, presets
from vidmem.models.preset_file import write_preset


def settings(preset: Preset) -> Preset:
    """Less what differs between two files: where they are, and how the same folders are named from there."""
    return replace(
        preset,
        name="",
        base=Path(),
        origin="",
        encoder=replace(preset.encoder, model=""),
        language=replace(preset.language, model=""),
        tracker=replace(preset.tracker, model="", vocabulary=""),
    )


@pytest.mark.parametrize("name", presets())
def test_every_preset_comes_back_as_it_was(tmp_path: Path, name: str) -> None:
    preset = load_preset(name)
    written = write_preset(preset, tmp_path / "deep" / "mine.toml")
    assert settings(written) == settings(preset)
    assert written.missing().keys() == preset.missing().keys()


def test_what_was_changed_comes_back_changed(tmp_path: Path) -> None:
    tiny = load_preset("tiny")
    memory = {"policy": "xmem", "max_elements": 64, "policy_options": {"top_k": 3, "logit_scale": 1.5}}
    changed = replace(tiny, memory=memory, mode="tokens", description='with "quotes" and a \\')
    assert settings(write_preset(changed, tmp_path / "mine.toml")) == settings(changed)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("mode = 'kv'")
    with pytest.raises(BadInput, match="is there already"):
        write_preset(load_preset("tiny"), tmp_path / "mine.toml")
    assert (tmp_path / "mine.toml").read_text() == "mode = 'kv'"


def test_a_preset_that_none_can_be_is_not_left(tmp_path: Path) -> None:
    tiny = load_preset("tiny")
    with pytest.raises(BadInput):
        write_preset(replace(tiny, encoder=replace(tiny.encoder, text_template="nothing")), tmp_path / "mine.toml")
    assert list(tmp_path.iterdir()) == []
