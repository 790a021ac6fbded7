"""Processes that learn together: one mean gradient, one beginning, and each what it drew itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_sam import SMALL
from torch import nn
from torch.multiprocessing import ProcessRaisedException

from vidmem.recipes.crew import average, each_of_crew, place, same_in_all
from vidmem.recipes.tracker import Course, Phase, Trainer, lessons, train


def _learn(folder: Path) -> None:
    rank, size = place()
    torch.manual_seed(rank)
    layers = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2).requires_grad_(False)])
    same_in_all(layers.parameters())
    began = {name: value.clone() for name, value in layers.state_dict().items()}
    inputs = torch.randn(4, 3)
    loss = layers[0](inputs).square().sum()
    if rank == 1:  # the other one has no gradient for this layer
        loss = loss + layers[1](inputs).sum()
    loss.backward()
    mean = average(loss, layers.parameters())
    grads = [parameter.grad for parameter in layers.parameters()]
    saved = {"began": began, "inputs": inputs, "loss": loss.item(), "mean": mean, "grads": grads, "size": size}
    torch.save(saved, folder / f"{rank}.pt")


def test_a_crew_has_the_mean_of_its_gradients(tmp_path: Path) -> None:
    each_of_crew(2, tmp_path / "meeting", _learn, tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["size"] == 2
    assert not torch.equal(first["inputs"], second["inputs"]), "each draws its own"
    for name, value in first["began"].items():
        assert torch.equal(value, second["began"][name])
    assert first["mean"] == second["mean"] == pytest.approx((first["loss"] + second["loss"]) / 2)
    weight, bias = (first["began"][f"0.{name}"] for name in ("weight", "bias"))
    both = torch.stack([first["inputs"], second["inputs"]])
    by_hand = torch.einsum("rni,rno->oi", both, 2 * (both @ weight.T + bias)) / 2
    torch.testing.assert_close(first["grads"][0], by_hand)
    torch.testing.assert_close(first["grads"][2], second["inputs"].sum(0).expand(2, 3) / 2)
    assert first["grads"][4] is None and second["grads"][4] is None, "what stands still has none"
    for one, other in zip(first["grads"][:4], second["grads"][:4], strict=True):
        assert torch.equal(one, other)


def test_a_process_alone_is_a_crew_of_one(tmp_path: Path) -> None:
    each_of_crew(1, tmp_path / "meeting", _learn, tmp_path)
    alone = torch.load(tmp_path / "0.pt", weights_only=True)
    assert alone["size"] == 1 and alone["mean"] == alone["loss"] and alone["grads"][2] is None


def _fail_second() -> None:
    if place()[0] == 1:
        raise ValueError("this one")
    average(torch.zeros(()), [])  # would wait for it


def test_a_crew_ends_with_one_of_its_members(tmp_path: Path) -> None:
    with pytest.raises(ProcessRaisedException):
        each_of_crew(2, tmp_path / "meeting", _fail_second)


def test_a_tracker_that_a_crew_teaches_learns_from_all_its_batches(tmp_path: Path) -> None:
    phase = Phase("clips", 3, 1e-3, clips=1, objects=2, frames=2)
    course = Course((phase,), processes=2, log_every=1, judge_every=1000)
    train(tmp_path, course, SMALL)
    crew, alone = Trainer(course, SMALL), Trainer(course, SMALL)
    crew.resume(tmp_path / "tracker-state.pt")
    for batch in lessons(course, 0, SMALL.image_size):
        alone.learn(batch)
    assert crew.step == alone.step == 3
    same = [torch.equal(a, b) for a, b in zip(crew.model.parameters(), alone.model.parameters(), strict=True)]
    assert not all(same), "one process alone saw one batch"
    assert len((tmp_path / "tracker.jsonl").read_text().splitlines()) == 3
