"""Masks and tracks as bytes: what comes back is what went in, by plain loops; what is damaged is said."""

from __future__ import annotations

import re
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from object_world import SIDE_ERROR

from vidmem.index import Track, decode_mask, encode_mask
from vidmem.index.masks import run_lengths
from vidmem.index.tracks import joined, pack_track, unpack_track

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=24))
sides = st.floats(0, 1, width=32)


def plain_counts(mask: np.ndarray) -> list[int]:
    """COCO's counts, said slowly."""
    counts, value = [0], False
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            if mask[row, column] != value:
                value = not value
                counts.append(0)
            counts[-1] += 1
    return counts


def plain_bytes(counts: list[int]) -> bytes:
    found = []
    for count in counts:
        while count >= 128:
            found.append(count % 128 + 128)
            count //= 128
        found.append(count)
    return bytes(found)


@settings(max_examples=200, deadline=None)
@given(masks)
@example(np.zeros((0, 5), dtype=bool))
@example(np.ones((300, 300), dtype=bool))
@example(np.zeros((2048, 1100), dtype=bool))
def test_masks_come_back_and_their_counts_are_those_of_coco(mask):
    data = encode_mask(mask)
    if mask.size < 100_000:
        assert run_lengths(data).tolist() == plain_counts(mask) and data == plain_bytes(plain_counts(mask))
    found = decode_mask(data, mask.shape)
    assert found.dtype == bool and np.array_equal(found, mask)


def test_the_examples_in_cocos_own_description():
    for column, counts in (([0, 0, 1, 1, 1, 0, 1], [2, 3, 1, 1]), ([1, 1, 1, 1, 1, 1, 0], [0, 6, 1])):
        assert run_lengths(encode_mask(np.array(column)[:, None])).tolist() == counts


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**35 - 1), min_size=1, max_size=8))
def test_every_count_below_35_bits_is_read_as_it_was_written(counts):
    assert run_lengths(plain_bytes(counts)).tolist() == counts


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=12))
def test_bytes_that_are_no_mask_are_refused_and_others_are_read(data):
    try:
        runs = run_lengths(data)
    except ValueError:
        assert not data or data[-1] >= 128 or re.search(rb"[\x80-\xff]{5}", data)
    else:
        assert runs.min() >= 0 and len(runs) == sum(octet < 128 for octet in data)


def test_a_mask_of_another_size_is_refused():
    data = encode_mask(np.ones((3, 4)))
    with pytest.raises(ValueError, match="12 pixels is not 4 x 4"):
        decode_mask(data, (4, 4))
    with pytest.raises(ValueError, match="cut"):
        decode_mask(plain_bytes([400])[:-1], (20, 20))
    with pytest.raises(ValueError, match="longer than any picture"):
        decode_mask(b"\xff" * 5 + b"\x01", (4, 4))
    with pytest.raises(ValueError, match=r"is \(H, W\), got \(12,\)"):
        encode_mask(np.ones(12))


@st.composite
def tracks(draw) -> Track:  # type: ignore[no-untyped-def]
    seconds = sorted(draw(st.sets(st.floats(0, 1e9) | st.integers(0, 300).map(lambda n: n / 30), max_size=12)))
    boxes = []
    for _ in seconds:
        across, down = (sorted(draw(st.tuples(sides, sides))) for _ in "xy")
        seen = draw(st.booleans())
        boxes.append([across[0], down[0], across[1], down[1]] if seen else [np.nan] * 4)
    scores = draw(st.lists(st.floats(-100, 100, width=32), min_size=len(seconds), max_size=len(seconds)))
    return Track(np.array(seconds), np.array(boxes, dtype=np.float32).reshape(-1, 4), np.array(scores))


@settings(max_examples=200, deadline=None)
@given(tracks())
@example(Track.empty())
@example(Track(np.array([-0.0, 5e-324, 1e308]), np.full((3, 4), np.nan), np.zeros(3)))
@example(Track(np.array([1.0]), np.ones((1, 4)), np.zeros(1)))
def test_tracks_come_back_with_exact_times_and_near_boxes(track):
    found = unpack_track(pack_track(track))
    assert (found.seconds + 0.0).tobytes() == (track.seconds + 0.0).tobytes()
    assert found.scores.tobytes() == track.scores.tobytes()
    assert np.array_equal(found.is_seen, track.is_seen)
    assert (np.abs(found.boxes - track.boxes)[track.is_seen] < SIDE_ERROR).all()
    assert pack_track(found) == pack_track(track)  # rounding once is rounding for good


@settings(max_examples=100, deadline=None)
@given(tracks(), st.data())
def test_a_changed_byte_of_a_track_is_found(track, data):
    packed = bytearray(pack_track(track))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = unpack_track(bytes(packed))
    except ValueError:
        return
    assert pack_track(found) == pack_track(track)  # a bit that says nothing: deflate fills up its last byte


@settings(max_examples=50, deadline=None)
@given(tracks(), st.integers(0, 12))
def test_pieces_join_to_the_whole(track, place):
    parts = [
        Track(track.seconds[part], track.boxes[part], track.scores[part]) for part in (slice(place), slice(place, None))
    ]
    found = joined([unpack_track(pack_track(part)) for part in parts])
    assert pack_track(found) == pack_track(track)
    assert len(joined([])) == 0


def test_a_cut_track_is_refused():
    for data in (b"", b"no zlib", zlib.compress(b"x" * 21), pack_track(Track.empty())[:-1]):
        with pytest.raises(ValueError, match="damaged|cut"):
            unpack_track(data)


def test_a_smooth_track_takes_a_fraction_of_its_numbers():
    """An hour at 30 fps of an object that drifts, its score steady to 3 digits: 28 bytes a sample as it comes."""
    seconds = np.arange(108_000) / 30
    middle = 0.5 + 0.3 * np.sin(seconds / 20)
    boxes = np.stack([middle - 0.05, middle / 2, middle + 0.05, middle / 2 + 0.1], axis=1)
    track = Track(seconds, boxes, np.round(0.9 + 0.05 * np.sin(seconds), 3))
    assert len(pack_track(track)) < len(track) * 28 / 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seconds": [0.0, 0.0]}, "strictly rising"),
        ({"seconds": [-1.0, 0.0]}, "not negative"),
        ({"seconds": [0.0, np.nan]}, "finite"),
        ({"scores": [0.0, np.inf]}, "scores must be finite"),
        ({"scores": [0.0]}, "needs"),
        ({"boxes": [[0, 0, 1, 1]]}, "needs"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, np.nan, 1]]}, "all NaN"),
        ({"boxes": [[0, 0, 1, 1], [0, 0, 1.01, 1]]}, "fractions"),
        ({"boxes": [[0, 0, 1, 1], [0.5, 0, 0.4, 1]]}, "left, top"),
    ],
)
def test_what_is_no_track_is_refused(changes, said):
    values = {"seconds": [0.0, 1.0], "boxes": [[0, 0, 1, 1], [np.nan] * 4], "scores": [0.5, 0.0]}
    assert Track(**{name: np.array(value) for name, value in values.items()}).is_seen.tolist() == [True, False]
    with pytest.raises(ValueError, match=said):
        Track(**{name: np.array(value) for name, value in (values | changes).items()})
