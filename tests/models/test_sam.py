from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sam2.build_sam import build_sam2_video_predictor
from small_sam import SMALL

from vidmem.errors import BadInput, MissingModel
from vidmem.models.sam import build_sam, load_sam
from vidmem.models.sam_config import (
    EDGE_SIZED,
    EMBEDDED,
    SAM2_1,
    BaseConfig,
    SamConfig,
    read_config,
    write_config,
)


def write_model(folder: Path, config: SamConfig = SMALL) -> Any:
    torch.manual_seed(0)
    model = build_sam(config).eval()
    folder.mkdir()
    write_config(config, folder / "config.json")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    return model


@torch.no_grad()
def follow(model: Any, side: int) -> list[torch.Tensor]:
    """Masks of a click's object on three frames, with memory and pointers."""
    frames = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    click = {"point_coords": torch.tensor([[[20.0, 30.0]]]), "point_labels": torch.ones(1, 1, dtype=torch.int32)}
    for index, frame in enumerate(frames):
        _, levels, positions, sizes = model._prepare_backbone_features(model.forward_image(frame[None]))
        points = click if index == 0 else None
        out = model.track_step(index, index == 0, levels, positions, sizes, points, None, memory, 3)
        memory["non_cond_frame_outputs" if index else "cond_frame_outputs"][index] = out
    return [out["pred_masks"] for part in memory.values() for out in part.values()]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "letter"), [("tiny", "t"), ("small", "s"), ("base_plus", "b+"), ("large", "l")])
def test_published_sizes_are_built_as_the_package_builds_its_predictors(name: str, letter: str) -> None:
    theirs = build_sam2_video_predictor(f"configs/sam2.1/sam2.1_hiera_{letter}.yaml", device="cpu")
    ours = build_sam(SAM2_1[name]).eval()
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }
    for here, there in ((ours, theirs), (ours.sam_mask_decoder, theirs.sam_mask_decoder)):
        assert {key: switches(there)[key] for key in switches(here)} == switches(here)
    own = {"StillHiera": "Hiera", "StillPositions": "PositionEmbeddingSine", "SAM2Base": "SAM2VideoPredictor"}
    assert re.sub("|".join(own), lambda name: own[name[0]], str(ours)) == str(theirs)


def switches(module: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(module).items() if isinstance(value, (int, float, bool, str, tuple))}


@pytest.mark.parametrize("config", [*SAM2_1.values(), EDGE_SIZED, EMBEDDED, SMALL])
def test_a_configuration_is_read_as_it_was_written(tmp_path: Path, config: SamConfig) -> None:
    write_config(config, tmp_path / "config.json")
    assert read_config(tmp_path / "config.json") == config


def test_what_a_configuration_leaves_out_is_as_in_the_file_of_the_smallest_published_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architecture": "sam2.SAM2Base", "base": {"num_maskmem": 5}}')
    assert read_config(tmp_path / "config.json") == SamConfig(base=BaseConfig(num_maskmem=5))


def test_a_loaded_model_tracks_as_the_saved_one(tmp_path: Path) -> None:
    model = write_model(tmp_path / "sam")
    loaded, config = load_sam(tmp_path / "sam")
    assert config == SMALL and not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    masks = follow(loaded, SMALL.image_size)
    assert len(masks) == 3 and masks[0].shape == (1, 1, SMALL.image_size // 4, SMALL.image_size // 4)
    for mask, wanted in zip(masks, follow(model, SMALL.image_size), strict=True):
        torch.testing.assert_close(mask, wanted)


def test_a_model_in_bfloat16_runs_under_autocast(tmp_path: Path) -> None:
    model = write_model(tmp_path / "sam")
    loaded, _ = load_sam(tmp_path / "sam", dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        masks = follow(loaded, SMALL.image_size)
    assert next(loaded.parameters()).dtype == torch.bfloat16
    for mask, exact in zip(masks, follow(model, SMALL.image_size), strict=True):
        torch.testing.assert_close(mask.float(), exact, rtol=0, atol=exact.std().item() / 4)
        assert not torch.equal(mask.float(), exact), "all was rounded"


def test_the_embedded_size_stays_small() -> None:
    count = sum(value.numel() for value in build_sam(EMBEDDED).state_dict().values())
    assert count < 3e6, "more than 6 MB of float16"


def test_the_edge_size_has_as_many_parameters_as_edgetam_and_a_third_of_the_smallest_published_one() -> None:
    edge, tiny = (
        sum(value.numel() for value in build_sam(config).parameters()) for config in (EDGE_SIZED, SAM2_1["tiny"])
    )
    assert 4 * edge == pytest.approx(56e6, rel=0.05), "bytes of EdgeTAM's published weights"
    assert 2.5 < tiny / edge < 3.5
    assert EDGE_SIZED.image_size == 1024


@pytest.mark.parametrize(
    ("entry", "value", "said"),
    [
        ("architecture", "sam2_video", "describes no SAM 2"),
        ("image_side", 64, "no entry 'image_side': choose among image_size"),
        ("image_size", "64", "image_size = '64' should be a whole number"),
        ("image_size", 100, "image_size = 100 is no multiple of 32"),
        ("d_model", 40, "d_model = 40 must be a multiple of 16"),
        ("trunk", {"stages": [1, 2]}, "2 stages, 4 windows and scalp = 1 don't give that"),
        ("trunk", {"stages": [1, "2"]}, r"trunk stages = '2' should be a whole number"),
        ("trunk", 5, "trunk should hold names and values"),
        ("pixel_mean", [0.5, 0.5], "pixel_mean = .* should be a list of 3 numbers"),
        ("base", {"pred_obj_scores": 1}, "base pred_obj_scores = 1 should be true or false"),
    ],
)
def test_a_bad_configuration_is_named_in_one_sentence(tmp_path: Path, entry: str, value: Any, said: str) -> None:
    document = {"architecture": "sam2.SAM2Base", entry: value}
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match=said) as error:
        read_config(tmp_path / "config.json")
    assert "\n" not in str(error.value)


def test_a_configuration_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadInput, match="config.json is not valid JSON"):
        read_config(tmp_path / "config.json")


def test_missing_weights_are_named_with_their_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="there is no folder .*gone"):
        load_sam(tmp_path / "gone")
    write_model(tmp_path / "sam")
    (tmp_path / "sam" / "model.safetensors").unlink()
    with pytest.raises(MissingModel, match="sam lacks model.safetensors or .*: put the missing files there"):
        load_sam(tmp_path / "sam")


def test_weights_that_are_cut_short_are_named(tmp_path: Path) -> None:
    write_model(tmp_path / "sam")
    path = tmp_path / "sam" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MissingModel, match="model.safetensors can't be read .*put the complete file there"):
        load_sam(tmp_path / "sam")


def test_weights_of_another_configuration_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "sam")
    smaller = dataclasses.replace(SMALL, memory_encoder=dataclasses.replace(SMALL.memory_encoder, out_dim=32))
    write_config(smaller, tmp_path / "sam" / "config.json")
    with pytest.raises(MissingModel, match=r"\d+ tensors, .* the first, are missing or not as its configuration"):
        load_sam(tmp_path / "sam")


@pytest.mark.slow
def test_a_published_checkpoint_is_loaded_by_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_sam(SAM2_1["tiny"])
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    torch.save({"model": model.state_dict()}, tmp_path / "sam2.1_hiera_tiny.pt")
    loaded, config = load_sam(tmp_path)
    assert config == SAM2_1["tiny"]
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_a_checkpoint_that_is_cut_short_is_named(tmp_path: Path) -> None:
    (tmp_path / "sam2.1_hiera_tiny.pt").write_bytes(b"PK")
    with pytest.raises(MissingModel, match="sam2.1_hiera_tiny.pt can't be read") as error:
        load_sam(tmp_path)
    assert "\n" not in str(error.value)
