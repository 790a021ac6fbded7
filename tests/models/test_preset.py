from __future__ import annotations

from pathlib import Path

import pytest

from vidmem.errors import BadInput, MissingModel, ModelMismatch
from vidmem.models.folders import ENCODER_FILES, LANGUAGE_FILES, find_model, fingerprint
from vidmem.models.preset import GENERAL_VOCABULARY, load_preset, presets


@pytest.mark.parametrize("name", presets())
def test_every_preset_reads_and_names_its_models(name: str) -> None:
    preset = load_preset(name)
    assert preset.name == name
    assert preset.description
    assert preset.encoder.model and preset.language.model and preset.tracker.model
    assert preset.vocabulary.is_file()


def test_a_copied_preset_reads_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[encoder]\nmodel = "./clip"\n[language]\nmodel = "a/b"\n[memory]\nworking_max_frames = 8\n')
    preset = load_preset(path)
    assert (preset.name, preset.base, preset.memory) == ("mine", tmp_path, {"working_max_frames": 8})


def test_hub_presets_follow_objects_with_growing_sizes_of_sam() -> None:
    sizes = [load_preset(name).tracker.model.removeprefix("facebook/sam2.1-hiera-") for name in presets()[1:]]
    assert sizes == ["tiny", "base-plus", "large"]


@pytest.mark.parametrize(
    ("tracker", "repository"),
    [
        ("size = 'small'", "facebook/sam2.1-hiera-small"),
        ("size = 'base_plus'", "facebook/sam2.1-hiera-base-plus"),
        ("size = 'large'\nmodel = './sam'", "./sam"),
        ("size = 'edge'\nmodel = 'somebody/edge'", "somebody/edge"),
        ("model = './sam'", "./sam"),
        ("", ""),
    ],
)
def test_a_size_of_sam_has_its_published_weights_or_those_that_are_named(
    tmp_path: Path, tracker: str, repository: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"[encoder]\nmodel = './clip'\n[language]\nmodel = 'a/b'\n[tracker]\n{tracker}")
    assert load_preset(path).tracker.repository == repository


def test_a_vocabulary_is_found_from_the_presets_folder_and_the_general_one_without(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    models = '[encoder]\nmodel = "./clip"\n[language]\nmodel = "a/b"\n'
    path.write_text(models)
    assert load_preset(path).vocabulary == GENERAL_VOCABULARY
    path.write_text(f'{models}[tracker]\nvocabulary = "words/mine.txt"\n')
    assert load_preset(path).vocabulary == tmp_path / "words" / "mine.txt"
    path.write_text(f'{models}[tracker]\nvocabulary = "/words.txt"\n')
    assert load_preset(path).vocabulary == Path("/words.txt")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[encoder", "TOML"),
        ("[language]\nmodel = 'x'", "encoder"),
        ("[encoder]\nmodle = 'x'", "modle"),
        ("[encoder]\nmodel = 3", "str"),
        ("colour = 'red'", "colour"),
        ("dtype = 'int8'", "int8"),
        ("mode = 'both'", "tokens or kv"),
        ("[kv]\nformat = 'int3'", "int3"),
        ("[kv]\nretrieval = 'none'", "hybrid"),
        ("[kv]\nmax_clip_share = 0", "max_clip_share"),
        ("[kv]\nwindow_tokens = -1", "window_tokens"),
        ("[kv]\nkeep_ratio = 0", r"keep_ratio = 0 .* \(0, 1\]"),
        ("[kv]\nkeep_ratio = 1.5", r"keep_ratio = 1.5 "),
        ("[kv]\nkeep_ratio = nan", r"keep_ratio = nan "),
        ("[kv]\nkeep_ratio = '1/4'", "float"),
        ("[kv]\nabsorb = true", "absorb = true needs a keep_ratio below 1"),
        ("[kv]\nkeep_ratio = 0.25\nabsorb = 1", "bool"),
        ("[language]\nside = -1", "side = -1"),
        ("device = 0", "device"),
        ("[tracker]\nvocabulary = ['a dog']", r"\[tracker\] vocabulary = \['a dog'\] should be a str"),
        ("[tracker]\nsize = 'huge'", "'huge' is no size of SAM 2: choose among tiny, small, base_plus, large, edge"),
        ("[tracker]\nsize = 'edge'", "size = 'edge' has no published weights: add `model"),
        ("[encoder]\ncrop_margin = 0.5", "crop_margin = 0.5 cuts objects off"),
        ("[encoder]\ncrop_squashed = 1", "crop_squashed = 1 should be a bool"),
        ("memory = 8", "memory"),
        ("[encoder]\nmodel = 'x'\ntext_template = 'a photo of {words}'", "text_template"),
        ("[encoder]\nmodel = 'x'\ntext_template = 'a photo'", "text_template"),
        ("[budget]\ncontext_tokens = true", "int"),
    ],
)
def test_a_wrong_preset_is_one_sentence_that_names_the_fault(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(BadInput, match=named):
        load_preset(path)


def test_an_unknown_preset_lists_those_there_are() -> None:
    with pytest.raises(BadInput, match="tiny, small, base, large"):
        load_preset("huge")


def test_missing_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="there is no folder"):
        find_model("./nowhere", ENCODER_FILES, base=tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(MissingModel, match=r"\*.safetensors"):
        find_model(str(tmp_path), ENCODER_FILES)


def test_a_hub_model_that_is_not_cached_says_where_it_looked_and_how_to_fetch_it() -> None:
    with pytest.raises(MissingModel, match="hf download nobody/nothing-here --revision abc") as raised:
        find_model("nobody/nothing-here", LANGUAGE_FILES, revision="abc")
    assert "config.json" in str(raised.value) and "hub" in str(raised.value)
    assert raised.value.exit_code == 4


def test_missing_says_which_part_and_why() -> None:
    assert set(load_preset("base").missing()) == {"encoder", "language"}


def test_a_folders_revision_is_checked(clip_folder: Path) -> None:
    found = find_model(str(clip_folder), ENCODER_FILES)
    assert found.revision == fingerprint(clip_folder)
    assert find_model(str(clip_folder), ENCODER_FILES, revision=found.revision) == found
    with pytest.raises(ModelMismatch, match=found.revision):
        find_model(str(clip_folder), ENCODER_FILES, revision="0" * 16)


def test_the_revision_changes_with_the_weights(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    before = fingerprint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert fingerprint(tmp_path) != before


def test_the_hubs_own_note_of_a_commit_is_the_revision(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    notes = tmp_path / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    (notes / "open_clip_config.json.metadata").write_text("0123abcd\netag\n1.0\n")
    assert find_model(str(tmp_path), ENCODER_FILES, revision="0123abcd").revision == "0123abcd"
