"""Crops of objects, and their labels: those of the embedded encoder are right for the world's things."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vidmem.errors import BadInput, MissingModel
from vidmem.models.encoder import FrameEncoder
from vidmem.models.labels import Label, Vocabulary, crop_of
from vidmem.models.preset import GENERAL_VOCABULARY, load_preset
from vidmem.models.tracking.results import pixel_boxes
from vidmem.types import View
from vidmem.world.render import Renderer
from vidmem.world.script import THINGS
from vidmem.world.tracking import TrackingScript, object_masks
from vidmem.world.words import a, noun

VIEW = View(40, 40)
TINY = load_preset("tiny")


@pytest.fixture(scope="module")
def encoder() -> FrameEncoder:
    return FrameEncoder.load(TINY.encoder, base=TINY.base)


def gradient(height: int, width: int) -> np.ndarray:
    """Red grows to the right by one a pixel, green downwards."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0], picture[..., 1] = np.arange(width), np.arange(height)[:, None]
    return picture


def corners(crop: np.ndarray) -> list[list[int]]:
    """Red and green of the first and the last pixel."""
    return [crop[0, 0, :2].tolist(), crop[-1, -1, :2].tolist()]


def test_a_crop_is_a_square_around_the_longer_side_of_the_box() -> None:
    crop = crop_of(gradient(100, 200), (80, 40, 100, 50), VIEW, margin=2.0)
    assert crop.shape == (40, 40, 3) and crop.dtype == np.uint8
    assert corners(crop) == [[70, 25], [109, 64]], "40 pixels about (90, 45), one of the crop for each"


def test_a_squashed_crop_has_the_frames_proportions() -> None:
    crop = crop_of(gradient(100, 200), (80, 40, 100, 60), VIEW, margin=2.0, squashed=True)
    first, last = corners(crop)
    assert first[1] == 30 and last[1] == 69, "rows 30 to 70"
    assert first[0] == pytest.approx(50, abs=1) and last[0] == pytest.approx(129, abs=1), "columns 50 to 130"


def test_beyond_the_frame_its_edges_go_on() -> None:
    crop = crop_of(gradient(100, 200), (0, 90, 20, 100), VIEW, margin=2.0)  # columns -10 to 30, rows 75 to 115
    assert (crop[:, :10, 0] == 0).all() and crop[0, -1].tolist() == [29, 75, 0]
    assert (crop[25:, :, 1] == 99).all() and crop[24, 0, 1] == 99 and crop[23, 0, 1] == 98


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (199, 99, 200, 100), (0, 0, 200, 1), (0, 0, 200, 100), (50, 0, 51, 100)])
@pytest.mark.parametrize("squashed", [False, True])
def test_any_box_in_the_frame_can_be_cropped(box: tuple[int, int, int, int], squashed: bool) -> None:
    mask = np.zeros((100, 200), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    crop = crop_of(gradient(100, 200), box, VIEW, mask=mask, margin=3.0, squashed=squashed)
    assert crop.shape == (40, 40, 3)


def test_what_is_not_the_object_is_blurred() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    mask = np.zeros((100, 200), bool)
    mask[40:60, 80:100] = True
    sharp, shown = (crop_of(picture, (80, 40, 100, 60), VIEW, margin=2.0, mask=given) for given in (None, mask))
    assert np.array_equal(shown[10:30, 10:30], sharp[10:30, 10:30])
    around = np.ones((40, 40), bool)
    around[10:30, 10:30] = False
    assert shown[around].std() < 0.25 * sharp[around].std()
    assert shown[around].mean() == pytest.approx(sharp[around].mean(), abs=8), "light and colour stay"


def test_a_picture_of_another_size_shows_the_same() -> None:
    large = np.asarray(Image.fromarray(gradient(50, 100)).resize((200, 100), Image.Resampling.BICUBIC))
    small = np.asarray(Image.fromarray(large).resize((64, 64), Image.Resampling.BICUBIC))
    mask = np.zeros((100, 200), bool)
    mask[30:70, 60:120] = True
    whole = crop_of(large, (60, 30, 120, 70), VIEW, mask=mask)
    squeezed = crop_of(small, (60, 30, 120, 70), VIEW, mask=mask, frame_size=(100, 200))
    assert np.abs(whole.astype(int) - squeezed.astype(int)).max() <= 4


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_label_is_the_nearest_phrase_without_its_article(tmp_path: Path, encoder: FrameEncoder) -> None:
    path = write(tmp_path / "words.txt", "# mine\n\na dog\n  an apple \na dog\ngrass\nthe moon\n")
    words = Vocabulary.read(path, encoder, floor=0.2)
    assert words.phrases == ("a dog", "an apple", "grass", "the moon")
    torch.testing.assert_close(words.embeddings, encoder.encode_text(["a dog", "an apple", "grass", "the moon"]))
    for phrase, word in zip(words.phrases, ("dog", "apple", "grass", "moon"), strict=True):
        (embedding,) = encoder.encode_text([phrase])
        label = words.label_of(3 * embedding)
        assert label is not None and label.word == word and label.cosine == pytest.approx(1, abs=1e-5)


def test_below_the_floor_nothing_is_called_anything() -> None:
    words = Vocabulary(("a dog", "a cat"), torch.eye(3)[:2], floor=0.6)
    assert words.label_of(torch.tensor([0.8, 0.0, 0.6])) == Label("dog", pytest.approx(0.8))
    assert words.label_of(torch.tensor([0.5, 0.1, 0.8])) is None


def test_many_words_are_read_a_few_at_a_time(tmp_path: Path, encoder: FrameEncoder) -> None:
    phrases = [f"thing {number}" for number in range(150)]
    words = Vocabulary.read(write(tmp_path / "many.txt", "\n".join(phrases)), encoder, floor=0.0)
    torch.testing.assert_close(words.embeddings, encoder.encode_text(phrases))


def test_a_vocabulary_that_can_not_be_read_is_one_sentence(tmp_path: Path, encoder: FrameEncoder) -> None:
    with pytest.raises(MissingModel, match="there is no vocabulary .*gone.txt: put a text file"):
        Vocabulary.read(tmp_path / "gone.txt", encoder, floor=0.0)
    with pytest.raises(MissingModel, match="there is no vocabulary"):
        Vocabulary.read(tmp_path, encoder, floor=0.0)
    with pytest.raises(BadInput, match="empty.txt has no words"):
        Vocabulary.read(write(tmp_path / "empty.txt", "# nothing\n\n"), encoder, floor=0.0)
    (tmp_path / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    with pytest.raises(BadInput, match="latin.txt is no text in UTF-8"):
        Vocabulary.read(tmp_path / "latin.txt", encoder, floor=0.0)


def test_the_worlds_vocabulary_is_its_things_as_the_encoder_learnt_them() -> None:
    assert TINY.vocabulary.read_text().split("\n") == [*map(a, THINGS), ""]


def test_the_general_vocabulary_has_hundreds_of_phrases_each_once() -> None:
    lines = GENERAL_VOCABULARY.read_text().splitlines()[1:]
    assert len(set(lines)) == len(lines) > 600
    assert all(line == line.strip() and "_" not in line for line in lines)
    wrong = [line for line in lines if line.startswith("a ") and line[2].lower() in "aeio"]
    assert wrong == [] and {"a dog", "an umbrella", "a pair of scissors", "bread"} <= set(lines)


@pytest.mark.slow
def test_things_of_unseen_clips_are_called_by_their_names(encoder: FrameEncoder) -> None:
    words = Vocabulary.read(TINY.vocabulary, encoder, floor=TINY.encoder.relevance_floor)
    rng, renderer = random.Random(5), Renderer(640, 360)
    crops, things = [], []
    for seed in range(30):
        script = TrackingScript(2**31 + 910_000 + seed, 20.0, "all")
        seconds = rng.uniform(0, 19.9)
        chapter, picture = script.chapter(0), renderer.frame(script, seconds)
        for stay, mask in zip(chapter.stays, object_masks(renderer, chapter, seconds), strict=True):
            if mask.mean() > 0.005:
                (box,) = pixel_boxes(torch.from_numpy(mask)[None])
                assert box is not None
                margin, squashed = TINY.encoder.crop_margin, TINY.encoder.crop_squashed
                crops.append(crop_of(picture, box, encoder.view, mask=mask, margin=margin, squashed=squashed))
                things.append(noun(stay.thing))
    labels = [words.label_of(embedding) for embedding in encoder.encode_frames(np.stack(crops))]
    right = [label is not None and label.word == thing for label, thing in zip(labels, things, strict=True)]
    assert len(things) > 80
    assert np.mean(right) > 0.88  # measured over other clips: 0.95


def test_rivals_are_what_a_thing_may_be_taken_for_and_never_itself() -> None:
    angles = np.radians([0, 20, 90, 180, 270, 45, 135, 225, 315, 160])
    phrases = ("a dog", "a wolf", "a cup", "a red cup", "a bus", "a key", "a hat", "a bee", "a car", "a tree")
    embeddings = torch.tensor(np.stack([np.cos(angles), np.sin(angles)], axis=1), dtype=torch.float32)
    vocabulary = Vocabulary(phrases, embeddings, 0.3)
    # Of the 45 pairs the closest are dog and wolf, and red cup and tree, with 20 degrees.
    assert vocabulary.rivals_of("a dog", embeddings[0]).tolist() == [embeddings[1].tolist()]
    assert vocabulary.rivals_of("the wolf", embeddings[1]).tolist() == [embeddings[0].tolist()]
    assert vocabulary.rivals_of("a bus", embeddings[4]).tolist() == []
    # What says more or less of the same thing is none, however alike it is.
    assert vocabulary.rivals_of("a dog on the left", embeddings[0]).tolist() == [embeddings[1].tolist()]
    assert vocabulary.rivals_of("a wolf dog", embeddings[0]).tolist() == []
    assert Vocabulary(phrases[:1], embeddings[:1], 0.3).rivals_of("a dog", embeddings[0]).tolist() == []
