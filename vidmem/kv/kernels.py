"""Numbers to groups of codes and back, compiled for this machine's CPU: the bytes of `operators` in one pass.

Both kernels go from *strip* to strip, the tokens that share their groups: 64 of them or fewer, so that what is read a
second time, for its codes, lies in the core's own cache. Loops run along channels, which lie side by side, so that LLVM
makes vector instructions of them. No thread is started and nothing is shared: calls may run beside each other.

They work on addresses, as handing numba an array takes as long as unpacking two hundred numbers. Whoever calls checks
shapes and keeps the tensors alive.

All that is compiled stands in this one file, as numba compiles anew when a kernel's file changes and looks at no other.
That takes 4 s of one core, once for an installation; later processes load it in 0.3 s.

int4 of float32, one thread, two cores that others used too, with AVX-512 and 2 MB of L2 cache each. 7.3 MB, which the
L3 cache holds, can be read in 0.25 ms, written in 0.27 and copied in 0.5. `quantise` takes 0.45 where plain torch
(`vidmem.bench.kv_packing`) takes 3.9, `dequantise` 0.39 where it takes 1.9: ten times faster would be less than the
writing takes. Of 6 layers, 4 heads of 64 and 22 tokens it is 23 and 16 us beside 145 and 62.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from vidmem.kv.jit import compiled

FLOAT32, FLOAT16, BFLOAT16 = 0, 1, 2
"""The kinds of numbers that are read and written. Sums are in float32."""

_MAGIC = np.float32(1.5 * 2**23)
"""A float32 of this size has whole steps: adding it rounds to the nearest code, ties to even, into the lowest bits."""
_MAGIC_BITS = np.int32(0x4B400000)
_LARGEST = np.float32(65504)
"""Of float16."""
_SMALLEST = np.float32(2**-24)

# As in `scales`, from where they can't come: numba would not notice a change there.
_STEPS_BELOW_0 = np.float32(6.8)
_STEPS_ABOVE_0 = np.float32(9)


_PART: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Called by kernels only."""
_part = njit(**_PART)


@intrinsic
def _pointer(_: Any, address: Any) -> Any:
    """An address as a pointer; whoever uses one is compiled to vectors of 512 bits, where the CPU has them.

    LLVM takes 256 by itself, with which packing takes a fifth longer. llvmlite has no name for this attribute and
    refuses it, so it is put past its check; if that fails one day, only the fifth is lost.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with suppress(TypeError, AttributeError):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return builder.inttoptr(arguments[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), generate


@intrinsic
def _fetch_early(_: Any, address: Any) -> Any:
    """Ask for the 64 bytes at an address, which need not be anybody's, to be brought into the cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, pointer = ir.IntType(32), context.get_value_type(types.voidptr)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        to_read, into_all_caches, data = number(0), number(3), number(1)
        builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), to_read, into_all_caches, data])
        return context.get_dummy_value()

    return types.none(types.int64), generate


# -- bits of numbers. numba makes 64 bits of every sum of whole numbers: each is cut back --


@_part
def _bits(number):
    return np.float32(number).view(np.uint32)


@_part
def _number(bits):
    return np.uint32(bits).view(np.float32)


@_part
def _from_half(half):
    rest = np.uint32(half & np.uint16(0x7FFF))
    normal = _number((rest << np.uint32(13)) + np.uint32(112 << 23))
    size = normal if rest >= np.uint32(0x400) else np.float32(rest) * _SMALLEST
    return -size if half & np.uint16(0x8000) else size


@_part
def _to_half(number):
    """To the nearest, ties to even; what is too large becomes infinite."""
    signed = _bits(number)
    size = np.uint32(signed & np.uint32(0x7FFFFFFF))
    bits = size if size < np.uint32(0x47800000) else np.uint32(0x47800000)
    odd = (bits >> np.uint32(13)) & np.uint32(1)
    normal = np.uint32(bits - np.uint32(112 << 23) + np.uint32(0xFFF) + odd) >> np.uint32(13)
    # Between a half and one, float32 has the steps that float16 has below 2^-14.
    small = _bits(_number(bits) + np.float32(0.5)) - np.uint32(126 << 23)
    half = normal if bits >= np.uint32(113 << 23) else small
    return np.uint16(half | ((signed >> np.uint32(16)) & np.uint32(0x8000)))


# -- numbers and bytes at an address --


@njit(**_PART, inline="always")
def _floats(address, num_numbers):
    return carray(_pointer(address), (num_numbers,), np.float32)


@njit(**_PART, inline="always")
def _words(address, num_words):
    return carray(_pointer(address), (num_words,), np.uint16)


@njit(**_PART, inline="always")
def _bytes(address, num_bytes):
    return carray(_pointer(address), (num_bytes,), np.uint8)


@_part
def _widen(source, stride, num_tokens, channels, kind, into):
    into_at = into.ctypes.data
    for token in range(num_tokens):
        words = _words(source + 2 * token * stride, channels)
        row = _floats(into_at + 4 * token * channels, channels)
        if kind == BFLOAT16:
            for c in range(channels):
                row[c] = _number(np.uint32(words[c]) << np.uint32(16))
        else:
            for c in range(channels):
                row[c] = _from_half(words[c])


@_part
def _narrow(wide, num_tokens, channels, kind, target, stride):
    wide_at = wide.ctypes.data
    for token in range(num_tokens):
        row = _floats(wide_at + 4 * token * channels, channels)
        words = _words(target + 2 * token * stride, channels)
        if kind == BFLOAT16:
            for c in range(channels):
                bits = _bits(row[c])
                odd = (bits >> np.uint32(16)) & np.uint32(1)
                words[c] = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))
        else:
            for c in range(channels):
                words[c] = _to_half(row[c])


# -- scales: `scales.fit` and `scales.read`, group by group --


@_part
def _extremes_along_tokens(address, stride, num_tokens, low, high):
    channels = low.size
    first = _floats(address, channels)
    for c in range(channels):
        low[c] = high[c] = first[c]
    in_fours = num_tokens - num_tokens % 4
    for token in range(0, in_fours, 4):  # Four at a time: half as many loads and stores of the extremes themselves.
        row = address + 4 * token * stride
        numbers_0, numbers_1 = _floats(row, channels), _floats(row + 4 * stride, channels)
        numbers_2, numbers_3 = _floats(row + 8 * stride, channels), _floats(row + 12 * stride, channels)
        for c in range(channels):
            a, b = numbers_0[c], numbers_1[c]
            d, e = numbers_2[c], numbers_3[c]
            low_ab, high_ab = (a if a < b else b), (a if a > b else b)
            low_de, high_de = (d if d < e else e), (d if d > e else e)
            lower, higher = (low_ab if low_ab < low_de else low_de), (high_ab if high_ab > high_de else high_de)
            low[c] = lower if lower < low[c] else low[c]
            high[c] = higher if higher > high[c] else high[c]
    for token in range(in_fours, num_tokens):
        numbers = _floats(address + 4 * token * stride, channels)
        for c in range(channels):
            a = numbers[c]
            low[c] = a if a < low[c] else low[c]
            high[c] = a if a > high[c] else high[c]


@njit(**_PART, fastmath={"nnan", "nsz"})
def _extremes_along_channels(address, size, low, high):
    numbers = _floats(address, low.size * size)
    for group in range(low.size):
        lower = higher = numbers[group * size]
        for c in range(group * size, group * size + size):
            a = numbers[c]
            lower = a if a < lower else lower
            higher = a if a > higher else higher
        low[group], high[group] = lower, higher


@_part
def _fit(low, high, top, step_halves, start_halves):
    """Store steps and starts; `high` becomes the step and `low` the start."""
    part = np.float32(1 / top)
    for i in range(low.size):
        lower = low[i] if low[i] > -_LARGEST else -_LARGEST
        start_half = _to_half(lower if lower < _LARGEST else _LARGEST)
        start = _from_half(start_half)
        step = (high[i] - start) * part
        step = step if step > _SMALLEST else _SMALLEST
        step_half = _to_half(step if step < _LARGEST else _LARGEST)
        step_halves[i], start_halves[i] = step_half, start_half
        low[i], high[i] = start, _from_half(step_half)


@_part
def _fit_short(low, high, top, both):
    for i in range(low.size):
        lower, higher = low[i], high[i]
        step = (higher - lower) / np.float32(top)
        below, above = -lower / _STEPS_BELOW_0, higher / _STEPS_ABOVE_0
        step = step if step > below else below
        step = step if step > above else above
        step = step if step > _SMALLEST else _SMALLEST  # no -0.0, whose bits are no small number
        step_code = (_to_half(step if step < np.float32(49152) else np.float32(49152)) + 256) >> 9
        step_code = step_code if step_code > 1 else 1
        step = _from_half(np.uint16(step_code << 9))
        num_steps = np.rint((higher - lower) / step)
        num_steps = num_steps if num_steps < np.float32(top) else np.float32(top)
        start = (lower + higher - num_steps * step) / np.float32(2)
        quarters = np.rint(start / step * np.float32(4))
        quarters = quarters if quarters > np.float32(-32) else np.float32(-32)
        quarters = quarters if quarters < np.float32(31) else np.float32(31)
        both[i] = np.uint16((step_code << 6) | (np.int32(quarters) + 32))
        low[i], high[i] = quarters * np.float32(0.25) * step, step


@_part
def _write_short(both, into):
    for i in range(both.size):
        into[i] = np.uint8(both[i])
    for i in range(both.size // 2):
        into[both.size + i] = np.uint8((both[2 * i] >> 8) | ((both[2 * i + 1] >> 8) << 4))
    if both.size % 2:
        into[both.size + both.size // 2] = np.uint8(both[both.size - 1] >> 8)


@_part
def _read_short(stored, step, start):
    num_groups = step.size
    for i in range(num_groups):
        high_bits = (np.uint16(stored[num_groups + i // 2]) >> (4 * (i % 2))) & 15
        both = np.uint16(stored[i]) | (high_bits << 8)
        step[i] = _from_half(np.uint16((both >> 6) << 9))
        start[i] = np.float32(np.int32(both & 63) - 32) * np.float32(0.25) * step[i]


@_part
def _read(halves, step, start):
    for i in range(step.size):
        step[i] = _from_half(halves[i])
        start[i] = _from_half(halves[step.size + i])


@_part
def _spread(of_groups, of_channels):
    size = of_channels.size // of_groups.size
    if size == 1:
        for c in range(of_groups.size):
            of_channels[c] = of_groups[c]
    else:
        for group in range(of_groups.size):
            for c in range(group * size, group * size + size):
                of_channels[c] = of_groups[group]


# -- codes --


@njit(**_PART, fastmath={"contract"})
def _round(source, stride, num_tokens, per_step, minus_start, top, codes):
    lowest, highest = _MAGIC_BITS, np.int32(_MAGIC_BITS + top)
    channels, codes_at = per_step.size, codes.ctypes.data
    for token in range(num_tokens):
        numbers = _floats(source + 4 * token * stride, channels)
        row = _bytes(codes_at + token * channels, channels)
        # What the next strip needs arrives meanwhile: blocks of megabytes take a sixth less time.
        for line in range(0, 4 * channels, 64):
            _fetch_early(source + 4 * (token + num_tokens) * stride + line)
        for c in range(channels):
            code = np.int32(_bits(numbers[c] * per_step[c] + minus_start[c] + _MAGIC))
            code = code if code > lowest else lowest
            code = code if code < highest else highest
            row[c] = np.uint8(code)


@_part
def _pack(codes, bits, into):
    if bits == 8:
        for i in range(into.size):
            into[i] = codes[i]
    elif bits == 4:
        pairs = codes.view(np.uint16)
        for i in range(into.size):
            into[i] = np.uint8(pairs[i] | (pairs[i] >> np.uint16(4)))
    else:
        fours = codes.view(np.uint32)
        for i in range(into.size):
            four = np.uint32(fours[i] | (fours[i] >> np.uint32(6)))
            into[i] = np.uint8(four | (four >> np.uint32(12)))


@_part
def _unpack(stored, bits, codes):
    if bits == 8:
        for i in range(stored.size):
            codes[i] = stored[i]
    elif bits == 4:
        pairs = codes.view(np.uint16)
        for i in range(stored.size):
            both = np.uint16(stored[i])
            pairs[i] = np.uint16(both | (both << np.uint16(4))) & np.uint16(0x0F0F)
    else:
        fours = codes.view(np.uint32)
        for i in range(stored.size):
            four = np.uint32(stored[i])
            two = np.uint32(four | (four << np.uint32(12))) & np.uint32(0x000F000F)
            fours[i] = np.uint32(two | (two << np.uint32(6))) & np.uint32(0x03030303)


@njit(**_PART, fastmath={"contract"})
def _scale(codes, step, start, target, stride, num_tokens):
    channels, codes_at = step.size, codes.ctypes.data
    for token in range(num_tokens):
        row = _bytes(codes_at + token * channels, channels)
        numbers = _floats(target + 4 * token * stride, channels)
        for c in range(channels):
            numbers[c] = np.float32(row[c]) * step[c] + start[c]


# -- whole blocks --

_SIGNATURE = "void(int64, int64, UniTuple(int64, 3), UniTuple(int64, 4), UniTuple(int64, 2), int64, int64, int64)"


@compiled(_SIGNATURE, error_model="numpy")
def quantise(numbers, kind, strides, shape, group, bits, into, bytes_of_layer):
    """Write scales and codes of some layers.

    Args:
        numbers: address of the first; `kind` says of which sort. Channels lie side by side.
        strides: numbers from a layer, a head and a token to the next.
        shape: (layers, heads, tokens, channels).
        group: tokens and channels of a group, one of them 1.
        into: address of the first layer's scales, behind which its codes lie.
        bytes_of_layer: from a layer's scales to the next one's.
    """
    num_layers, num_heads, num_tokens, channels = shape
    num_strips = -(-num_tokens // group[0])
    groups_of_strip = channels // group[1]
    num_groups = num_heads * num_strips * groups_of_strip
    top = (1 << bits) - 1
    bytes_of_scales = num_groups + (num_groups + 1) // 2 if bits == 2 else 4 * num_groups
    low, high = np.empty(groups_of_strip, np.float32), np.empty(groups_of_strip, np.float32)
    per_step, minus_start = np.empty(channels, np.float32), np.empty(channels, np.float32)
    widened = np.empty(group[0] * channels, np.float32)
    codes = np.empty(group[0] * channels, np.uint8)
    both = np.empty(num_groups, np.uint16)
    for layer in range(num_layers):
        layer_at = into + layer * bytes_of_layer
        halves = _words(layer_at, 2 * num_groups)
        code_at = layer_at + bytes_of_scales
        for head in range(num_heads):
            for strip in range(num_strips):
                first = strip * group[0]
                count = min(group[0], num_tokens - first)
                offset = layer * strides[0] + head * strides[1] + first * strides[2]
                if kind == FLOAT32:
                    source, stride = numbers + 4 * offset, strides[2]
                else:
                    source, stride = np.int64(widened.ctypes.data), channels
                    _widen(numbers + 2 * offset, strides[2], count, channels, kind, widened)
                if group[1] == 1:
                    _extremes_along_tokens(source, stride, count, low, high)
                else:
                    _extremes_along_channels(source, group[1], low, high)
                at = (head * num_strips + strip) * groups_of_strip
                if bits == 2:
                    _fit_short(low, high, top, both[at : at + groups_of_strip])
                else:
                    starts = num_groups + at
                    _fit(low, high, top, halves[at : at + low.size], halves[starts : starts + low.size])
                for i in range(low.size):
                    high[i] = np.float32(1) / high[i]
                    low[i] = -(low[i] * high[i])
                _spread(high, per_step)
                _spread(low, minus_start)
                _round(source, stride, count, per_step, minus_start, top, codes)
                num_bytes = count * channels * bits // 8
                _pack(codes[: count * channels], bits, _bytes(code_at, num_bytes))
                code_at += num_bytes
        if bits == 2:
            _write_short(both, _bytes(layer_at, bytes_of_scales))


@compiled(_SIGNATURE, error_model="numpy")
def dequantise(numbers, kind, strides, shape, group, bits, stored, bytes_of_layer):
    """Write the numbers of some layers; the arguments are as in `quantise`."""
    num_layers, num_heads, num_tokens, channels = shape
    num_strips = -(-num_tokens // group[0])
    groups_of_strip = channels // group[1]
    num_groups = num_heads * num_strips * groups_of_strip
    bytes_of_scales = num_groups + (num_groups + 1) // 2 if bits == 2 else 4 * num_groups
    step, start = np.empty(num_groups, np.float32), np.empty(num_groups, np.float32)
    channel_step, channel_start = np.empty(channels, np.float32), np.empty(channels, np.float32)
    wide = np.empty(group[0] * channels, np.float32)
    codes = np.empty(group[0] * channels, np.uint8)
    for layer in range(num_layers):
        layer_at = stored + layer * bytes_of_layer
        code_at = layer_at + bytes_of_scales
        if bits == 2:
            _read_short(_bytes(layer_at, bytes_of_scales), step, start)
        else:
            _read(_words(layer_at, 2 * num_groups), step, start)
        for head in range(num_heads):
            for strip in range(num_strips):
                first = strip * group[0]
                count = min(group[0], num_tokens - first)
                offset = layer * strides[0] + head * strides[1] + first * strides[2]
                num_bytes = count * channels * bits // 8
                _unpack(_bytes(code_at, num_bytes), bits, codes)
                code_at += num_bytes
                at = (head * num_strips + strip) * groups_of_strip
                _spread(step[at : at + groups_of_strip], channel_step)
                _spread(start[at : at + groups_of_strip], channel_start)
                if kind == FLOAT32:
                    _scale(codes, channel_step, channel_start, numbers + 4 * offset, strides[2], count)
                else:
                    _scale(codes, channel_step, channel_start, np.int64(wide.ctypes.data), channels, count)
                    _narrow(wide, count, channels, kind, numbers + 2 * offset, strides[2])
