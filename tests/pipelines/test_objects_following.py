"""The follower, with a tracker and an encoder of random weights: what is handed out, when, and what is forgotten."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from follow_world import MASK, Notebook, frames
from lively_sam import HEIGHT, WIDTH, lively_sam, small_config
from PIL import Image

from vidmem.errors import BadInput
from vidmem.index import ObjectUpdate, decode_mask
from vidmem.models.encoder import FrameEncoder
from vidmem.models.labels import Vocabulary
from vidmem.models.preset import load_preset
from vidmem.models.tracker import FrameResult, Prompt, ProposalConfig, Tracker
from vidmem.pipelines import following
from vidmem.pipelines.following import Follower
from vidmem.pipelines.noticing import Eye, NoticeConfig, Noticed, Noticer

ANYTHING = ProposalConfig(grid=4, min_iou=0.0, min_stability=0.0, min_share=0.001, max_share=1.0, max_iou=0.99)
"""Random weights are sure of nothing, and find nearly the same everywhere."""


@pytest.fixture(scope="module")
def model() -> Any:
    return lively_sam(small_config())


@pytest.fixture(scope="module")
def losing_model() -> Any:
    """With the selection `sam2` it loses what it follows now and then."""
    return lively_sam(small_config(), absent_below=0.15)


@pytest.fixture(scope="module")
def blind_model() -> Any:
    """It finds things, and loses them on the next frame."""
    return lively_sam(small_config(), absent_below=0.18)


@pytest.fixture(scope="module")
def eye(preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Eye:
    config = load_preset(preset)
    encoder = FrameEncoder.load(config.encoder, base=config.base)
    words = tmp_path_factory.mktemp("words") / "words.txt"
    words.write_text("a dog\na red box\n")
    return Eye(encoder, Vocabulary.read(words, encoder, floor=-1.0), config.encoder)


def run(follower: Follower, num_frames: int, *, prompt: Prompt | None = None, first: int = 0) -> list[FrameResult]:
    results = []
    for index, frame in enumerate(frames(num_frames)[first:]):
        results.append(follower.step(frame, [prompt] if prompt and index == 0 else []))
    return results


def joined(updates: Sequence[ObjectUpdate], name: str) -> np.ndarray:
    return np.concatenate([getattr(update.track, name) for update in updates])


def test_all_that_was_seen_is_handed_out_once_and_in_pieces(losing_model: Any, eye: Eye) -> None:
    notebook = Notebook()
    follower = Follower(Tracker(losing_model, selection="sam2"), keeper=notebook, eye=eye)
    number = follower.begin(label="box")
    results = run(follower, 90, prompt=Prompt(number, mask=MASK))
    assert len(notebook.commits) == 2, "every eight seconds"
    follower.finish()
    assert notebook.begun == [("box", 1.0, "asked")]
    updates = notebook.of(10)
    assert len(updates) == 3 and follower.id_of(number) == 10
    assert joined(updates, "seconds").tolist() == [result.seconds for result in results]
    seen = np.array([result[number].visible for result in results])
    assert 60 < seen.sum() < 90 and joined(updates, "is_seen").tolist() == seen.tolist()
    box = results[0][number].box
    assert box is not None and updates[0].track is not None
    assert updates[0].track.boxes[0] == pytest.approx(np.array(box) / (90, 60, 90, 60))
    times = np.array([result.seconds for result in results])
    for span in (span for update in updates for span in update.spans):
        inside = seen[(times >= span.start) & (times < span.end)]
        assert inside[0] and (inside[1:] | inside[:-1]).all(), "it is seen there, but for single frames"


def test_an_interrupted_pass_leaves_what_a_whole_one_would_have_committed_by_then(losing_model: Any, eye: Eye) -> None:
    whole, part = Notebook(), Notebook()
    for notebook, num_frames in ((whole, 90), (part, 60)):
        follower = Follower(Tracker(losing_model, selection="sam2"), keeper=notebook, eye=eye)
        run(follower, num_frames, prompt=Prompt(follower.begin(), mask=MASK))
    (first,), (other,) = part.of(10), whole.of(10)[:1]
    assert first.track is not None and other.track is not None
    for name in ("seconds", "boxes", "scores"):
        assert np.array_equal(getattr(first.track, name), getattr(other.track, name), equal_nan=True)
    assert first.spans == other.spans
    for one, same in zip(first.looks, other.looks, strict=True):
        assert (one.seconds, one.mask, one.crop) == (same.seconds, same.mask, same.crop)


def test_a_look_shows_the_object_where_its_mask_is(model: Any, eye: Eye) -> None:
    notebook = Notebook()
    follower = Follower(Tracker(model), keeper=notebook, eye=eye)
    follower.step(frames(1)[0], [Prompt(follower.begin(), mask=MASK)])
    follower.finish()
    ((update,),) = notebook.commits
    (look,) = update.looks
    mask = decode_mask(look.mask, look.mask_size)
    assert (mask & MASK).sum() / (mask | MASK).sum() > 0.85, "but for the tracker's small square"
    crop = np.asarray(Image.open(io.BytesIO(look.crop)))
    middle = crop[crop.shape[0] // 2, crop.shape[1] // 2]
    assert middle[0] > 150 and middle[1] < 90, "the box is red"
    assert look.embedding.shape == (eye.dim,)


def test_what_is_wrong_with_one_prompt_stops_no_other_object(model: Any, eye: Eye) -> None:
    notebook = Notebook()
    follower = Follower(Tracker(model), keeper=notebook, eye=eye)
    first, second = follower.begin(), follower.begin()
    shown = frames(3)
    follower.step(shown[0], [Prompt(first, mask=MASK)])
    with pytest.raises(BadInput, match="outside|not inside"):
        follower.step(shown[1], [Prompt(second, box=(0, 0, 500, 10))])
    assert follower.step(shown[1])[first].visible
    follower.finish()
    assert len(notebook.begun) == 1 and joined(notebook.of(10), "seconds").tolist() == [0.0, 0.2]


def test_the_last_frame_stands_as_long_as_the_one_before_but_not_beyond_the_end(model: Any, eye: Eye) -> None:
    for end, until in ((None, 0.6), (0.5, 0.5), (9.0, 0.6)):
        notebook = Notebook()
        follower = Follower(Tracker(model), keeper=notebook, eye=eye)
        run(follower, 3, prompt=Prompt(follower.begin(), mask=MASK))
        follower.finish(end)
        assert notebook.of(10)[-1].spans[-1].end == pytest.approx(until)


def noticing(model: Any, eye: Eye, *, selection: str = "samurai", **budget: int) -> tuple[Follower, Notebook, Tracker]:
    notebook, tracker = Notebook(), Tracker(model, selection=selection)
    noticer = Noticer(eye, NoticeConfig(proposals=ANYTHING, **budget))
    return Follower(tracker, keeper=notebook, eye=eye, noticer=noticer), notebook, tracker


def test_what_is_found_stays_within_its_budget_and_gets_a_name(model: Any, eye: Eye) -> None:
    follower, notebook, tracker = noticing(model, eye, max_followed=3, max_new=2)
    for index, frame in enumerate(frames(60)):
        follower.step(frame, notice=index % 10 == 0)
        assert len(tracker.object_ids) <= 3
        assert index or len(tracker.object_ids) == 2
    follower.finish()
    assert notebook.begun
    assert {origin for _, _, origin in notebook.begun} == {"found"}
    assert {label for label, _, _ in notebook.begun} <= {"dog", "red box"}


def test_what_is_followed_is_not_found_again(model: Any, eye: Eye) -> None:
    tracker, noticer = Tracker(model), Noticer(eye, NoticeConfig(proposals=ANYTHING, max_followed=99, max_new=99))
    (frame,) = frames(1)
    result = tracker.step(frame.views[0], 0.0, frame_size=(60, 90), prompts=[Prompt(1, mask=MASK)])
    found = noticer.look(tracker, result.objects, (), frame.views[1], 0.0)
    assert found
    for number, one in enumerate(found, start=2):
        result = tracker.prompt(Prompt(number, mask=one.mask))
    assert noticer.look(tracker, result.objects, (), frame.views[1], 0.0) == []


def test_what_others_follow_is_passed_over(model: Any, eye: Eye) -> None:
    (frame,) = frames(1)
    free = Tracker(model)
    free.step(frame.views[0], 0.0, frame_size=(60, 90))
    boxes = [
        (box[0] / 90, box[1] / 60, box[2] / 90, box[3] / 60) for box in (one.box for one in free.propose(ANYTHING))
    ]
    assert boxes
    config = NoticeConfig(proposals=ANYTHING, max_new=8)
    for claims, found in ((lambda seconds: boxes, 0), (lambda seconds: boxes if seconds else [], None)):
        tracker = Tracker(model)
        follower = Follower(tracker, keeper=Notebook(), eye=eye, noticer=Noticer(eye, config, claims=claims))
        follower.step(frame, notice=True)
        assert len(tracker.object_ids) == found if found is not None else tracker.object_ids


def test_what_is_found_and_hardly_seen_is_forgotten(blind_model: Any, eye: Eye) -> None:
    follower, notebook, tracker = noticing(blind_model, eye, max_followed=8, max_new=8)
    for index, frame in enumerate(frames(50)):
        follower.step(frame, notice=index % 5 == 0)
        assert bool(tracker.object_ids) == (index % 5 == 0)
        assert len(follower._objects) <= 8
    follower.finish()
    assert notebook.begun == [] and notebook.commits == []


def test_what_is_found_and_never_seen_is_forgotten_at_once(model: Any, eye: Eye) -> None:
    """A pole one pixel wide is there at the tracker's square, and gone at the quarter of it that masks have."""
    pole = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    pole[:, 40] = True

    class Poles(Noticer):
        def look(self, *given: Any) -> list[Noticed]:
            return [Noticed(pole, np.eye(1, eye.dim, dtype=np.float32)[0], None)]

    tracker = Tracker(model)
    follower = Follower(tracker, keeper=Notebook(), eye=eye, noticer=Poles(eye))
    for frame in frames(3):
        (found,) = follower.step(frame, notice=True).objects
        assert not found.visible
        assert tracker.object_ids == () and not follower._objects


def test_what_is_long_lost_is_followed_no_more(losing_model: Any, eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.3)
    follower, _, tracker = noticing(losing_model, eye, selection="sam2", max_followed=8, max_new=8)
    last_seen: dict[int, float] = {}
    num_let_go = 0
    for index, frame in enumerate(frames(90)):
        before = set(tracker.object_ids)
        result = follower.step(frame, notice=index in (0, 45))
        last_seen |= {found.object_id: result.seconds for found in result.objects if found.visible}
        assert all(result.seconds - last_seen[number] <= 0.3 for number in tracker.object_ids)
        num_let_go += len(before - set(tracker.object_ids))
    assert num_let_go


def test_no_more_is_known_than_there_is_room_for(losing_model: Any, eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(following, "MAX_KNOWN", 2)
    follower, notebook, tracker = noticing(losing_model, eye, selection="sam2", max_followed=4, max_new=4)
    for index, frame in enumerate(frames(125)):
        follower.step(frame, notice=index % 20 == 0)
    follower.finish()
    assert len(notebook.begun) > 2 + len(tracker.object_ids), "some were let go"
    assert len(follower._objects) <= 2 + len(tracker.object_ids)


def test_a_lost_object_that_is_recognised_goes_on_as_itself(model: Any, eye: Eye) -> None:
    follower, notebook, tracker = noticing(model, eye, max_followed=1)
    shown = frames(30)
    for index, frame in enumerate(shown[:5]):
        follower.step(frame, notice=index == 0)
    (number,) = tracker.object_ids
    tracker.remove(number)  # as when it was lost for long
    # Nothing has changed on the picture, so what is found is what was found before.
    again = replace(shown[0], pts_seconds=60.0)
    result = follower.step(again, notice=True)
    assert tracker.object_ids == (number,)
    assert [(change.object_id, change.kind) for change in result.changes] == [(number, "back")]
    follower.finish()
    assert len(notebook.begun) == 1 and joined(notebook.of(10), "seconds")[-1] == 60.0


def test_budgets_that_allow_nothing_are_refused() -> None:
    with pytest.raises(BadInput, match="max_followed = 0"):
        NoticeConfig(max_followed=0)
