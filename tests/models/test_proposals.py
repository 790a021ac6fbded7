"""Proposals on a frame are what single clicks on it find, sifted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from lively_sam import HEIGHT, WIDTH, lively_sam, moving_clip, small_config

from vidmem.errors import BadInput
from vidmem.models.tracker import Click, Prompt, Proposal, ProposalConfig, Tracker
from vidmem.models.tracking.results import pixel_boxes

LOOSE = ProposalConfig(grid=5, min_iou=0.0, min_stability=0.0, min_share=0.0, max_share=1.0, max_iou=1.0)


@pytest.fixture(scope="module")
def model() -> Any:
    """Its masks are steep enough to be stable, and differ from click to click, which random weights hardly do."""
    model = lively_sam(small_config())
    for layer in model.sam_mask_decoder.transformer.layers:
        for part in ("v_proj", "out_proj"):
            getattr(layer.self_attn, part).weight.mul_(6)
            getattr(layer.cross_attn_image_to_token, part).weight.mul_(4)
    for head in model.sam_mask_decoder.output_hypernetworks_mlps:
        for layer in head.layers:
            layer.weight.mul_(4)
    return model


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return moving_clip(6)


def at_first(model: Any, frames: list[np.ndarray], **more: Any) -> Tracker:
    tracker = Tracker(model, **more)
    tracker.step(frames[0], 0.0)
    return tracker


def equal(first: list[Proposal], second: list[Proposal]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5) and one.box == other.box
        torch.testing.assert_close(one.low_res_logits, other.low_res_logits, rtol=0, atol=1e-3)


def _share(logits: torch.Tensor, cut: float) -> float:
    return float((logits > cut).float().mean())


def _stability(logits: torch.Tensor) -> float:
    return _share(logits, 1) / _share(logits, -1)


def clicked_one_by_one(model: Any, frame: np.ndarray, grid: int) -> list[tuple[torch.Tensor, float]]:
    """Logits and predicted IoU of each click on a frame, as a new object's."""
    found = []
    for row in range(grid):
        for column in range(grid):
            click = Click((column + 0.5) * WIDTH / grid, (row + 0.5) * HEIGHT / grid)
            shown = at_first(model, [frame]).prompt(Prompt(1, [click]))[1]
            found.append((shown.low_res_logits, shown.iou))
    return found


def test_proposals_are_what_clicks_find_sifted(model: Any, frames: list[np.ndarray]) -> None:
    clicked = clicked_one_by_one(model, frames[0], 5)
    ious = [iou for _, iou in clicked]
    shares = [_share(logits, 0) for logits, _ in clicked]
    stabilities = [_stability(logits) for logits, _ in clicked]
    config = ProposalConfig(
        grid=5,
        min_iou=float(np.quantile(ious, 0.13)),
        min_stability=float(np.quantile(stabilities, 0.09)),
        min_share=float(np.quantile(shares, 0.05)),
        max_share=float(np.quantile(shares, 0.93)),
        max_iou=0.8,
    )
    wanted: list[torch.Tensor] = []
    for logits, iou in sorted(clicked, key=lambda found: -found[1]):
        overlaps = [float(((logits > 0) & (other > 0)).sum() / ((logits > 0) | (other > 0)).sum()) for other in wanted]
        if (
            iou >= config.min_iou
            and _stability(logits) >= config.min_stability
            and config.min_share <= _share(logits, 0) <= config.max_share
            and all(overlap <= config.max_iou for overlap in overlaps)
        ):
            wanted.append(logits)
    proposals = at_first(model, frames).propose(config)
    assert 1 < len(proposals) == len(wanted) < len(clicked)
    for proposal, logits in zip(proposals, wanted, strict=True):
        torch.testing.assert_close(proposal.low_res_logits, logits, rtol=0, atol=1e-3)


def test_each_proposal_is_a_mask_of_the_frame_with_its_box_and_the_best_come_first(
    model: Any, frames: list[np.ndarray]
) -> None:
    proposals = at_first(model, frames).propose(LOOSE)
    assert len(proposals) > 3
    for proposal in proposals:
        assert proposal.mask.shape == (HEIGHT, WIDTH) and proposal.mask.dtype == torch.bool
        assert [proposal.box] == pixel_boxes(proposal.mask[None])
    scores = [proposal.score for proposal in proposals]
    assert scores == sorted(scores, reverse=True)


def test_clicks_are_decoded_a_few_at_a_time_and_find_the_same(model: Any, frames: list[np.ndarray]) -> None:
    sizes: list[int] = []
    handle = model.sam_mask_decoder.register_forward_hook(lambda *call: sizes.append(len(call[2][0])))
    few = at_first(model, frames).propose(replace(LOOSE, clicks_at_once=4))
    handle.remove()
    assert max(sizes) == 4 and sum(sizes) == 25
    equal(few, at_first(model, frames).propose(LOOSE))


def test_looking_for_objects_changes_nothing_and_sees_the_frame_once(model: Any, frames: list[np.ndarray]) -> None:
    calls: list[int] = []
    handle = model.image_encoder.register_forward_hook(lambda *_: calls.append(1))
    looking, other = at_first(model, frames), at_first(model, frames)
    looking.propose(LOOSE)
    equal(looking.propose(LOOSE), looking.propose(LOOSE))
    assert len(calls) == 1 and looking.object_ids == () and looking.memory_bytes == other.memory_bytes == 0
    for tracker in (looking, other):
        tracker.prompt(Prompt(1, [Click(30, 20)]))
    for index, frame in enumerate(frames[1:], 1):
        results = [tracker.step(frame, float(index)) for tracker in (looking, other)]
        looking.propose(LOOSE)
        assert torch.equal(results[0][1].low_res_logits, results[1][1].low_res_logits)
    handle.remove()
    assert len(calls) == 2 * len(frames)


def test_what_is_followed_is_proposed_too_and_its_memory_is_not_looked_at(model: Any, frames: list[np.ndarray]) -> None:
    following, alone = at_first(model, frames), Tracker(model)
    following.prompt(Prompt(1, [Click(30, 20)]))
    following.step(frames[3], 3.0)
    alone.step(frames[3], 3.0)
    equal(following.propose(LOOSE), alone.propose(LOOSE))


def test_a_proposal_can_be_followed_by_its_mask(model: Any, frames: list[np.ndarray]) -> None:
    tracker = at_first(model, frames)
    first, *_ = tracker.propose(LOOSE)
    shown = tracker.prompt(Prompt(7, mask=first.mask))[7]
    assert shown.box is not None
    both = (shown.mask & first.mask).sum() / (shown.mask | first.mask).sum()
    assert both > 0.6, "the mask itself, but for its way through the network's square"
    assert tracker.step(frames[1], 1.0)[7].low_res_logits.isfinite().all()


def test_where_nothing_is_good_nothing_is_proposed(model: Any, frames: list[np.ndarray]) -> None:
    assert at_first(model, frames).propose(ProposalConfig(grid=3, min_iou=1.1)) == []


def test_before_the_first_frame_there_is_nothing_to_look_at(model: Any) -> None:
    with pytest.raises(BadInput, match="no frame to look for objects on yet"):
        Tracker(model).propose()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("grid", 0, "grid = 0"),
        ("clicks_at_once", 0, "clicks_at_once = 0"),
        ("min_share", 0.6, "min_share < max_share"),
        ("max_share", 1.5, "not 0.002 and 1.5"),
    ],
)
def test_a_configuration_that_finds_nothing_is_named(field: str, value: float, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ProposalConfig(**{field: value})
