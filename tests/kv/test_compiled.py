"""Quantising on a CPU by compiled kernels: held against torch's operators, which an accelerator runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.kv import compiled, operators
from vidmem.kv.groups import Groups
from vidmem.kv.quantise import dequantise, quantise

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
LARGEST = {torch.float16: 65504.0, torch.bfloat16: 3e38, torch.float32: 3e38, torch.float64: 3e38}
WAYS = {"int8": (8, True), "int4": (4, True), "int2": (2, True), "values of kivi2": (2, False)}

shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 140), st.sampled_from([4, 8, 36, 64, 80]))
ways = st.sampled_from(list(WAYS.values()))
layouts = st.sampled_from(["together", "part of a stream", "tokens first", "every second channel", "axes reversed"])


def groups_for(shape, way) -> Groups:
    return Groups(*shape[1:], bits=way[0], along_tokens=way[1])


def laid_out(numbers, layout: str):
    """The same numbers at other places in memory."""
    layers, heads, tokens, channels = numbers.shape
    place = {
        "together": lambda: numbers.new_empty(numbers.shape),
        "part of a stream": lambda: numbers.new_empty(layers, heads, tokens + 5, channels)[:, :, 3:-2],
        "tokens first": lambda: numbers.new_empty(tokens, layers, heads, channels).permute(1, 2, 0, 3),
        "every second channel": lambda: numbers.new_empty(layers, heads, tokens, 2 * channels)[..., ::2],
        "axes reversed": lambda: numbers.new_empty(channels, tokens, heads, layers).permute(3, 2, 1, 0),
    }[layout]()
    return place.copy_(numbers)


def bytes_by(module, numbers, groups: Groups):
    data = torch.full((len(numbers), groups.num_bytes + 8), 0xAA, dtype=torch.uint8)
    module.quantise_into(data, 2, numbers, groups)
    assert (data[:, :2] == 0xAA).all() and (data[:, -6:] == 0xAA).all()
    return data[:, 2:-6]


def numbers_by(module, stored, like, groups: Groups):
    numbers = torch.full_like(like, 7.0)
    module.dequantise_into(numbers, stored, 0, groups)
    return numbers


def assert_alike(stored, expected, groups: Groups) -> None:
    """Equal scales, up to the sign of 0; codes apart by 1 at most, and seldom: where multiply and add round once."""
    scales, other_scales = (groups.parts(data)[0] for data in (stored, expected))
    if not groups.short_scales:
        scales, other_scales = (data.contiguous().view(torch.float16) for data in (scales, other_scales))
    assert torch.equal(scales, other_scales)
    apart = (codes_of(stored, groups) - codes_of(expected, groups)).abs()
    assert apart.max() <= 1
    assert apart.sum() <= 1 + apart.numel() // 1000


def codes_of(stored, groups: Groups):
    data = groups.parts(stored)[1].to(torch.int16)
    return torch.stack([(data >> shift) & ((1 << groups.bits) - 1) for shift in range(0, 8, groups.bits)])


@given(shapes, ways, st.sampled_from(DTYPES), layouts, st.sampled_from([0.0, 3.0, 400.0]), st.integers(0, 9))
def test_bytes_are_those_of_the_operators(shape, way, dtype, layout, offset, seed):
    chance = torch.Generator().manual_seed(seed)
    mean = offset * torch.randn(*shape[:2], 1, shape[3], generator=chance)
    numbers = laid_out((mean + torch.randn(shape, generator=chance)).to(dtype), layout)
    before, groups = numbers.clone(), groups_for(shape, way)
    assert_alike(bytes_by(compiled, numbers, groups), bytes_by(operators, numbers, groups), groups)
    assert torch.equal(numbers, before)


@given(shapes, ways, st.sampled_from(DTYPES), layouts, st.integers(0, 9))
def test_numbers_are_those_of_the_operators(shape, way, dtype, layout, seed):
    numbers = 5 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    groups = groups_for(shape, way)
    stored = bytes_by(operators, numbers, groups)
    place = laid_out(numbers.to(dtype), layout)
    got, expected = (numbers_by(module, stored, place, groups) for module in (compiled, operators))
    # A sum that is rounded once or twice, and then again to the dtype.
    largest = 2 * numbers.abs().max()
    torch.testing.assert_close(got, expected, rtol=0, atol=float(largest * max(torch.finfo(dtype).eps, 2**-23)))


@given(st.data(), ways, st.sampled_from(DTYPES), st.integers(1, 70), st.sampled_from([4, 64]))
def test_extreme_and_constant_groups_are_those_of_the_operators(data, way, dtype, num_tokens, head_dim):
    """From numbers below the smallest of float16, over constants and zeros of both signs, to the largest there are."""
    large = st.sampled_from([1.0, -1.0, 65504.0, -65504.0, LARGEST[dtype], -LARGEST[dtype]])
    small = st.sampled_from([0.0, -0.0, 1e-40, 2**-24, -(2**-24), 3e-8, 1e-5, 20.0, -0.25])
    levels = data.draw(st.lists(large | small, min_size=1, max_size=3))
    chosen = torch.randint(0, len(levels), (2, 2, num_tokens, head_dim), generator=torch.Generator().manual_seed(0))
    numbers = torch.tensor(levels, dtype=torch.float64)[chosen].to(dtype)
    groups = groups_for(numbers.shape, way)
    stored = bytes_by(compiled, numbers, groups)
    assert_alike(stored, bytes_by(operators, numbers, groups), groups)
    like = torch.empty(numbers.shape)
    back, expected = (numbers_by(module, stored, like, groups) for module in (compiled, operators))
    assert back.isfinite().all()
    torch.testing.assert_close(back, expected, rtol=2**-20, atol=2**-30)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_ties_go_to_the_even_code(way):
    """Groups from 0 to the largest code, whose step is 1."""
    top = (1 << way[0]) - 1
    halves = (torch.arange(2 * 64 * 64) % (2 * top + 1)).view(1, 2, 64, 64)
    along = 2 if way[1] else 3
    halves.select(along, 0).fill_(0)
    halves.select(along, 1).fill_(2 * top)
    groups = groups_for(halves.shape, way)
    back = numbers_by(compiled, bytes_by(compiled, halves / 2, groups), torch.empty(halves.shape), groups)
    assert back.flatten().tolist() == [round(half / 2) for half in halves.flatten().tolist()]


@given(ways, st.sampled_from([float("nan"), float("inf"), float("-inf")]), st.sampled_from(DTYPES))
def test_what_is_not_finite_spoils_its_own_head_only(way, spoiler, dtype):
    clean = torch.randn(3, 3, 33, 36, generator=torch.Generator().manual_seed(1)).to(dtype)
    spoilt = clean.clone()
    spoilt[1, 1, 5, 7] = spoilt[1, 1, 32] = spoiler
    groups = groups_for(clean.shape, way)
    back, expected = (
        numbers_by(compiled, bytes_by(compiled, numbers, groups), clean, groups) for numbers in (spoilt, clean)
    )
    back[1, 1] = expected[1, 1]
    assert torch.equal(back, expected)


@pytest.mark.parametrize("format", ["int8", "int4", "int2", "kivi2"])
def test_any_number_of_threads_pack_and_unpack_at_once(format):
    blocks = [torch.randn(2, 6, 4, num_tokens, 64).bfloat16() for num_tokens in range(18, 34)]
    expected = [quantise(*block, format) for block in blocks]

    def there_and_back(at: int) -> bool:
        packed = quantise(*blocks[at % 16], format)
        context = torch.zeros(2, 6, 4, 50, 64)
        out = context[:, :, :, 9 : 9 + packed.num_tokens].unbind()
        dequantise(expected[at % 16], out=out)
        numbers = dequantise(expected[at % 16])
        return torch.equal(packed.data, expected[at % 16].data) and all(
            torch.equal(written.bfloat16(), back) for written, back in zip(out, numbers, strict=True)
        )

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(there_and_back, range(400)))


def test_it_runs_where_nothing_can_be_cached(tmp_path: Path):
    """A package in a folder that takes no file, and a user without a home."""
    assert compiled.kernels.__file__
    shutil.copy(compiled.kernels.__file__, tmp_path / "kernels.py")
    (tmp_path / "__pycache__").write_text("no folder")
    program = (
        "import kernels, numpy as np\n"
        "numbers, stored = np.arange(8, dtype=np.float32), np.zeros(20, np.uint8)\n"
        "kernels.quantise(numbers.ctypes.data, 0, (8, 8, 4), (1, 1, 2, 4), (2, 1), 4, stored.ctypes.data, 20)\n"
        "numbers[:] = 0\n"
        "kernels.dequantise(numbers.ctypes.data, 0, (8, 8, 4), (1, 1, 2, 4), (2, 1), 4, stored.ctypes.data, 20)\n"
        "print(numbers.round(2).tolist())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG", "PYTHON"))}
    environment |= {"HOME": os.devnull, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str([float(number) for number in range(8)]), done.stderr
    assert not list(tmp_path.rglob("*.nbi"))
