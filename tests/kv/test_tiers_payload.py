"""A block as one piece of bytes: what goes in comes out, to the bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidmem.kv.payload import body_bytes, fields_of, fill, make_head, read_head, views

DTYPES = [torch.uint8, torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.int64]
SHAPES = st.lists(st.integers(0, 5), max_size=4)


@given(
    parts=st.lists(st.tuples(st.sampled_from(DTYPES), SHAPES), min_size=1, max_size=5),
    positions=st.tuples(st.integers(1, 3), st.integers(1, 9), st.sampled_from([torch.int32, torch.int64])),
)
def test_any_tensors_come_back(parts, positions):
    tensors = {
        f"t{i}": (torch.arange(torch.Size(shape).numel()) % 2).to(dtype).view(shape)
        for i, (dtype, shape) in enumerate(parts)
    }
    axes, num_tokens, dtype = positions
    place = torch.arange(axes * num_tokens, dtype=dtype).view(axes, num_tokens)
    fields = fields_of(tensors)
    body = torch.full((body_bytes(fields),), 0xAB, dtype=torch.uint8)
    fill(body, fields, tensors)
    head = make_head(fields, place)
    assert len(head) % 64 == len(body) % 64 == 0
    assert sum(field.num_bytes for field in fields) <= len(body) <= sum(field.num_bytes + 63 for field in fields)

    read_fields, read_place = read_head(head)
    assert torch.equal(read_place, place) and read_place.dtype == place.dtype
    found = views(read_fields, body)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape and found[name].is_contiguous()
        assert found[name].data_ptr() % 64 == body.data_ptr() % 64
    num_set = sum(int(tensor.flatten().view(torch.uint8).ne(0).sum()) for tensor in tensors.values() if tensor.numel())
    assert int(body.ne(0).sum()) == num_set  # nothing of what was there before goes to disk


def test_a_dtype_that_is_not_stored_is_refused():
    with pytest.raises(ValueError, match="x is torch.complex64"):
        fields_of({"x": torch.zeros(2, dtype=torch.complex64)})
