"""`vidmem bench policies`, small, from end to end; its table and plot; the loops that policies are timed against."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from vidmem.bench import policies, policy_table
from vidmem.bench.coded_policies import CODED
from vidmem.bench.naive.moviechat import NaiveMovieChat
from vidmem.bench.naive.xmem import NaiveXMem
from vidmem.cli import app
from vidmem.memory import Elements, Memory, MemoryConfig, policy_names
from vidmem.memory.token_memory import TokenMemory, TokenMemoryConfig
from vidmem.models.preset import load_preset

FIGURES = ("accuracy", "bytes", "write", "read")


@pytest.fixture(scope="module")
def result() -> dict:
    if load_preset("tiny").missing():
        pytest.skip("the embedded models are not here")
    return json.loads(json.dumps(policies.run(seed=3, quick=True)))


def test_every_policy_is_asked_and_timed(result: dict) -> None:
    figures = result["figures"]
    for policy in policy_names():
        assert all(f"policy_{policy}_1min_{what}" in figures for what in FIGURES)
        assert figures[f"policy_{policy}_1min_bytes"]["value"] > 0
    for policy in CODED:
        assert all(f"policy_{policy}:coded_1min_{what}" in figures for what in FIGURES)
    for policy in ("xmem", "moviechat", "flash-vstream", "hermes"):
        assert figures[f"policy_{policy}_speed_to_reference"]["target"] == 3.0
        assert figures[f"policy_{policy}_late_to_early"]["value"] > 0


def test_all_hold_a_short_video_whole_but_the_newest_frames_alone(result: dict) -> None:
    in_bytes = {policy: result["figures"][f"policy_{policy}_1min_bytes"]["value"] for policy in policy_names()}
    assert min(in_bytes, key=in_bytes.__getitem__) == "latest"


def test_the_table_has_a_row_for_each_policy_and_coded_form_the_best_first(result: dict) -> None:
    heading, *body = policy_table.rows([result, result])
    coded = {f"{name} (as coded)" for name in CODED}
    assert sorted(row[1] for row in body) == sorted({*policy_names(), *coded})
    assert {len(row) for row in body} == {len(heading)}
    right = [float(row[2]) for row in body]
    assert right == sorted(right, reverse=True)
    assert not any("_1min_" in name for name in policy_table.others(result))


def test_a_mean_of_results_is_drawn(result: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result))
    policy_table.main(str(tmp_path / "plot.svg"), str(tmp_path / "a.json"), str(tmp_path / "a.json"))
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    table = capsys.readouterr().out
    assert table.count("| hippomm |") == table.count("| hippomm (as coded) |") == 1


def test_the_plot_leaves_the_coded_forms_out(result: dict, tmp_path: Path) -> None:
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        policy_table.draw([result], tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert "hippomm" in drawn and "coded" not in drawn


def test_the_command_prints_the_table(result: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "run", lambda *args, **options: result)
    done = CliRunner().invoke(app, ["bench", "policies", "--quick"])
    assert done.exit_code == 0
    assert "ms a frame" in done.output and "policy_hermes_speed_to_reference" in done.output


# -- the loops are what the policies compute --


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 3), st.integers(0, 1000))
def test_moviechat_is_the_loop(num_stretches: int, room: int, merge_to: int, seed: int) -> None:
    frames = torch.randn(4 * num_stretches + 1, 3, 5, generator=torch.Generator().manual_seed(seed))
    config = MemoryConfig(
        working_max_frames=4,
        working_min_frames=1,
        max_elements=room,
        policy="moviechat",
        policy_options={"merge_to": merge_to},
    )
    memory, naive = Memory(config), NaiveMovieChat(merge_to, room)
    starts = torch.arange(len(frames), dtype=torch.float64)
    memory.write(Elements.fresh(frames.mean(1), frames, torch.stack([starts, starts + 1], dim=1)))
    for stretch in frames[:-1].split(4):
        naive.write(stretch)
    (held,) = memory.long_term.held
    torch.testing.assert_close(held.value, torch.stack(naive.long_term), rtol=0, atol=1e-5)


@given(st.integers(4, 7), st.integers(2, 3), st.integers(2, 4), st.integers(0, 1000))
def test_xmems_memory_of_tokens_is_the_loop(top: int, low: int, prototypes: int, seed: int) -> None:
    tokens, channels, room = 4, 5, 11
    sizes = {"top_k": 8, "max_frames": top, "min_frames": low, "num_prototypes": prototypes, "max_elements": room}
    memory, naive = TokenMemory(TokenMemoryConfig(**sizes)), NaiveXMem(**sizes)
    random = torch.Generator().manual_seed(seed)
    for number in range(30):
        key, selection = torch.randn(tokens, channels, generator=random), torch.rand(tokens, channels, generator=random)
        shrinkage, value = torch.rand(tokens, generator=random) + 1, torch.randn(tokens, 1, 3, generator=random)
        if number:
            got, want = memory.read(key, selection), naive.read(key.T, selection.T)
            torch.testing.assert_close(got[0], want, rtol=1e-3, atol=1e-4)
        memory.write(key, shrinkage, selection, value)
        naive.write(key.T, shrinkage[None], selection.T, value[:, 0].T)
