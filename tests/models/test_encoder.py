from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from vidmem.errors import BadInput, MissingModel
from vidmem.models.encoder import FrameEncoder
from vidmem.models.folders import repository_of
from vidmem.models.preset import EncoderConfig
from vidmem.types import View


@pytest.fixture(scope="module")
def encoder(clip_folder: Path) -> FrameEncoder:
    return FrameEncoder.load(EncoderConfig(model=str(clip_folder)))


def test_frames_are_embedded_as_open_clips_own_preprocessing_would(encoder: FrameEncoder, clip_folder: Path) -> None:
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{clip_folder}")
    images = np.random.default_rng(1).integers(0, 256, (3, 56, 56, 3), dtype=np.uint8)
    pixels = torch.stack([preprocess(Image.fromarray(image)) for image in images])
    with torch.no_grad():
        wanted = model.eval().encode_image(pixels, normalize=True)
    torch.testing.assert_close(encoder.encode_frames(images), wanted, rtol=1e-5, atol=1e-6)


def test_words_are_embedded_in_the_template(clip_folder: Path) -> None:
    plain = FrameEncoder.load(EncoderConfig(model=str(clip_folder)))
    photo = FrameEncoder.load(EncoderConfig(model=str(clip_folder), text_template="a photo of {}"))
    torch.testing.assert_close(photo.encode_text(["a dog"]), plain.encode_text(["a photo of a dog"]))
    assert photo.encode_text(["a dog", "a cat"]).shape == (2, photo.dim)


def test_embeddings_are_float32_of_unit_length(encoder: FrameEncoder) -> None:
    frames = encoder.encode_frames(np.zeros((2, 56, 56, 3), dtype=np.uint8))
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames.norm(dim=1), torch.ones(2))
    assert encoder.encode_frames(np.zeros((0, 56, 56, 3), dtype=np.uint8)).shape == (0, encoder.dim)
    assert encoder.view == View(56, 56)


def test_a_long_clip_is_encoded_a_few_frames_at_a_time(encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, encode = [], encoder._model.encode_image
    monkeypatch.setattr(encoder._model, "encode_image", lambda pixels: (sizes.append(len(pixels)), encode(pixels))[1])
    images = np.random.default_rng(2).integers(0, 256, (40, 56, 56, 3), dtype=np.uint8)
    embedded = encoder.encode_frames(images)
    assert max(sizes) <= 16 and sum(sizes) == 40
    torch.testing.assert_close(embedded[38:], encoder.encode_frames(images[38:]))


def test_frames_of_another_size_are_refused(encoder: FrameEncoder) -> None:
    with pytest.raises(ValueError, match="56"):
        encoder.encode_frames(np.zeros((2, 60, 56, 3), dtype=np.uint8))


def test_tags_of_open_clip_lead_to_their_repository() -> None:
    assert repository_of("ViT-B-16-SigLIP", "webli") == "timm/ViT-B-16-SigLIP"
    with pytest.raises(BadInput, match="webli"):
        repository_of("ViT-B-16-SigLIP", "nonesuch")


def test_a_broken_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(MissingModel, match="can't be loaded"):
        FrameEncoder.load(EncoderConfig(model=str(tmp_path)))
