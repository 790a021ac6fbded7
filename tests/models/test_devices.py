from __future__ import annotations

import pytest
import torch

from vidmem.errors import BadInput
from vidmem.models.devices import pick_device


def test_the_processor_is_always_here() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda")


@pytest.mark.parametrize("name", ["banana", "meta", "mps", "cuda:", "cpu:1"])
def test_what_vidmem_does_not_run_on_is_no_device(name: str) -> None:
    with pytest.raises(BadInput, match="is no device"):
        pick_device(name)


def test_a_gpu_that_is_not_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(BadInput, match="cuda:1, which is not here"):
        pick_device("cuda:1")
