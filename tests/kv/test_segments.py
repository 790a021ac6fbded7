"""The log of blocks on disk: what goes in comes out, to the bit, in whatever order and across segments."""

from __future__ import annotations

import os

import pytest
import segment_world as world
from hypothesis import given, settings
from hypothesis import strategies as st

from vidmem.errors import NotFound, StoreVersion
from vidmem.kv.records import FORMAT, NUM_RECORDS, BlockId, Position, make_header
from vidmem.kv.segments import LostBlocks, SegmentLog
from vidmem.types import Span


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kv"


def opened(folder, position=None, **options):
    return SegmentLog(folder, position, segment_bytes=world.SEGMENT_BYTES, **options)


def filled(folder, num_blocks=20):
    """A log that was closed after a flush, and where that was."""
    log = opened(folder)
    for number in range(num_blocks):
        assert world.append(log, number) == number
    position = log.flush()
    log.close()
    return position


def segment_files(folder):
    return sorted(folder.glob("*"))


def test_an_empty_log_leaves_no_trace(folder):
    log = opened(folder)
    assert (log.num_blocks, log.num_bytes, log.flush(), log.verify()) == (0, 0, Position(), [])
    assert not folder.exists()


def test_blocks_come_back_from_several_segments(folder):
    position = filled(folder)
    assert position.num_blocks == 20 and position.segment == len(segment_files(folder)) - 1 > 1
    for options in ({}, {"read_only": True}):
        log = opened(folder, position, **options)
        assert world.read(log) == world.expected(20)
        assert [log.span(BlockId(number)) for number in range(20)] == [world.span(number) for number in range(20)]
        assert log.num_bytes == sum(64 + len(head) + len(body) for head, body in world.expected(20).values())
        assert log.verify() == log.lost_blocks() == []
        log.close()


def test_a_segment_holds_no_more_than_its_table(folder):
    log = SegmentLog(folder)
    for number in range(NUM_RECORDS + 1):
        log.append(bytes(64), number.to_bytes(64, "little"), num_tokens=1, span=world.span(number))
    position = log.flush()
    assert position.segment == 1
    content = world.read(SegmentLog(folder, position))
    assert [int.from_bytes(content[number][1], "little") for number in content] == list(range(NUM_RECORDS + 1))


def test_a_block_larger_than_a_segment_gets_one_of_its_own(folder):
    log = opened(folder)
    body = os.urandom(64 * 2000)
    for _ in range(3):
        log.append(bytes(64), body, num_tokens=1, span=Span(0, 1))
    assert log.flush().segment == 2
    assert world.read(log) == dict.fromkeys(range(3), (bytes(64), body))


def test_writing_goes_on_where_it_ended(folder):
    position = filled(folder, 3)
    for number in range(3, 12):
        log = opened(folder, position)
        world.append(log, number)
        position = log.flush()
        log.close()
    assert world.read(opened(folder, position)) == world.expected(12)
    assert len(segment_files(folder)) == len(segment_files_of_one_go(folder, 12))


def segment_files_of_one_go(folder, num_blocks):
    filled(folder.parent / "other", num_blocks)
    return segment_files(folder.parent / "other")


@given(chosen=st.sets(st.integers(0, 19)), max_bytes=st.integers(0, 5000))
@settings(max_examples=30)
def test_runs_are_neighbours_of_bounded_bytes(tmp_path_factory, chosen, max_bytes):
    folder = tmp_path_factory.mktemp("log") / "kv"
    log = opened(folder, filled(folder))
    runs = log.runs(map(BlockId, sorted(chosen)), max_bytes=max_bytes)
    assert [block_id for run in runs for block_id in run] == sorted(chosen)
    for run in runs:
        assert run == list(range(run[0], run[-1] + 1))
        sizes = [64 + sum(map(len, world.payload(number))) for number in run]
        assert len(run) == 1 or sum(sizes) <= max_bytes
    for run, after in zip(runs, runs[1:], strict=False):  # no two that could have been one
        joined = [64 + sum(map(len, world.payload(number))) for number in [*run, after[0]]]
        record, last = log._record(after[0]), log._record(run[-1])
        assert after[0] != run[-1] + 1 or sum(joined) > max_bytes or record["segment"] != last["segment"]
    assert world.read(log, [BlockId(number) for number in sorted(chosen)]) == {
        number: world.payload(number) for number in chosen
    }


def test_an_unknown_block_is_not_found(folder):
    log = opened(folder, filled(folder))
    for block_id in (-1, 20):
        for ask in (log.span, log.body_bytes, lambda block_id: log.runs([block_id])):
            with pytest.raises(NotFound, match="holds 20"):
                ask(BlockId(block_id))


def test_a_newer_format_is_said(folder, monkeypatch):
    filled(folder)
    monkeypatch.setattr("vidmem.kv.records.FORMAT", FORMAT + 1)
    with open(segment_files(folder)[1], "r+b") as file:
        file.write(make_header(1))
    monkeypatch.undo()
    world_before = {path: path.read_bytes() for path in segment_files(folder)}
    with pytest.raises(StoreVersion, match=f"format {FORMAT + 1}, .* update vidmem"):
        opened(folder, Position(1, 65536, 11))  # with much to discard
    assert {path: path.read_bytes() for path in segment_files(folder)} == world_before


# -- what is not committed --


def test_cutting_goes_back_and_writing_goes_on(folder):
    log = opened(folder)
    positions = [log.flush()]
    for number in range(20):
        world.append(log, number)
        positions.append(log.flush())
    for num_blocks in (17, 16, 5, 0):
        log.cut(positions[num_blocks])
        assert world.read(log) == world.expected(num_blocks)
        # Other blocks under the same ids, which may fall into other segments.
        log.append(bytes(64), bytes(64 * 50), num_tokens=1, span=Span(0, 1))
        after = log.flush()
        assert world.read(opened(folder, after)) == {**world.expected(num_blocks), num_blocks: (bytes(64), bytes(3200))}
        log.cut(positions[num_blocks])


@given(data=st.data())
@settings(max_examples=60)
def test_whatever_lies_beyond_the_commit_is_discarded(tmp_path_factory, data):
    """After a loss of power any part of what was not synced may be there: bytes, records, whole segments."""
    folder = tmp_path_factory.mktemp("log") / "kv"
    num_committed = data.draw(st.integers(0, 12))
    log = opened(folder)
    for number in range(num_committed):
        world.append(log, number)
    position = log.flush()
    for number in range(1000, 1000 + data.draw(st.integers(0, 8))):
        world.append(log, number)
    log.close()
    for path in segment_files(folder):
        segment = int(path.stem)
        first = position.offset if segment == position.segment and num_committed else 0
        if (segment, 0) < (position.segment, 1) and num_committed and segment != position.segment:
            continue
        if path.stat().st_size > first and data.draw(st.booleans()):
            content = bytearray(path.read_bytes())
            place = data.draw(st.integers(first, len(content) - 1))
            content[place:] = data.draw(st.sampled_from([b"", bytes(len(content) - place), b"\xff" * 100]))
            path.write_bytes(content)
    for options in ({"read_only": True}, {}):
        again = opened(folder, position, **options)
        assert world.read(again) == world.expected(num_committed)
        assert again.verify() == []
    assert len(segment_files(folder)) == (position.segment + 1 if num_committed else 0)
    assert not num_committed or segment_files(folder)[-1].stat().st_size == position.offset
    for number in range(num_committed, num_committed + 5):
        world.append(again, number)
    assert world.read(opened(folder, again.flush())) == world.expected(num_committed + 5)


# -- damage --


def damage(path, place, flipped=0x10):
    content = bytearray(path.read_bytes())
    content[place] ^= flipped
    path.write_bytes(content)


@given(data=st.data())
@settings(max_examples=60)
def test_one_flipped_bit_costs_at_most_one_block(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("log") / "kv"
    position = filled(folder)
    path = data.draw(st.sampled_from(segment_files(folder)))
    size = path.stat().st_size
    place = data.draw(st.one_of(st.integers(0, 64 * 30), st.integers(65536, size - 1)))
    damage(path, place, 1 << data.draw(st.integers(0, 7)))
    log = opened(folder, position)
    found = world.read(log)
    lost = [number for number, content in found.items() if content is None]
    assert len(lost) <= (place >= 65536)
    assert {**found, **{number: world.payload(number) for number in lost}} == world.expected(20)
    assert log.verify() == [LostBlocks(BlockId(number), 1, world.span(number)) for number in lost]
    log = opened(folder, position)
    world.append(log, 20)
    assert world.read(opened(folder, log.flush()))[20] == world.payload(20)


@given(data=st.data())
@settings(max_examples=40)
def test_a_segment_cut_short_tells_whose_blocks_it_lost(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("log") / "kv"
    position = filled(folder)
    path = data.draw(st.sampled_from(segment_files(folder)))
    size = path.stat().st_size
    length = data.draw(st.one_of(st.integers(0, 64 * 20), st.integers(65536, size - 1)))
    os.truncate(path, length)
    log = opened(folder, position)
    reported = {
        number for lost in log.lost_blocks() for number in range(lost.first_block, lost.first_block + lost.num_blocks)
    }
    found = world.read(log)
    assert reported == {number for number, content in found.items() if content is None} != set()
    assert {number: content for number, content in found.items() if content} == {
        number: world.payload(number) for number in range(20) if number not in reported
    }
    if length >= 65536:
        assert all(log.span(BlockId(number)) == world.span(number) for number in reported)
    before = {path: path.read_bytes() for path in segment_files(folder)}
    world.append(log, 20)
    assert world.read(opened(folder, log.flush()))[20] == world.payload(20)
    assert {path: path.read_bytes() for path in before} == before  # what is damaged is not written to


def test_a_record_that_was_cut_away_does_not_come_back(folder):
    log = opened(folder)
    position = [log.flush(), [world.append(log, number) for number in range(2)], log.flush()][2]
    log.append(bytes(64), bytes(64), num_tokens=1, span=Span(50, 51))
    log.flush()
    log.cut(position)
    log.append(bytes(64), bytes(9600), num_tokens=1, span=Span(1, 2))  # does not fit into the first segment
    position = log.flush()
    assert position.segment == 1
    damage(segment_files(folder)[1], 64)
    log = opened(folder, position)
    assert log.span(BlockId(2)) == Span(1, 2)
    assert world.read(log) == {**world.expected(2), 2: (bytes(64), bytes(9600))}


def test_a_segment_that_is_gone_is_told_by_the_time_around_it(folder):
    position = filled(folder)
    ids = {
        path: [int(r["block_id"]) for r in opened(folder, position)._records if r["segment"] == i]
        for i, path in enumerate(segment_files(folder))
    }
    first, *_, last = ids
    for path, end in ((first, world.span(ids[first][-1]).end), (last, float("inf"))):
        content = path.read_bytes()
        path.unlink()
        log = opened(folder, position, read_only=True)
        (lost,) = log.lost_blocks()
        assert lost == LostBlocks(ids[path][0], len(ids[path]), Span(world.span(ids[path][0]).start, end))
        error = log.lost(ids[path])
        assert error.block_ids == tuple(ids[path])
        assert "its end" in str(error) or f"00:00-00:{int(end):02d}" in str(error)
        path.write_bytes(content)


def test_the_error_names_the_times(folder):
    log = opened(folder, filled(folder))
    error = log.lost([BlockId(9), BlockId(3), BlockId(4)])
    assert error.spans == ((1.5, 2.0), (2.0, 2.5), (4.5, 5.0))
    assert str(error).startswith(f"{folder} is damaged at 00:01-00:02, 00:04-00:05: put back")


def test_a_reader_follows_its_writer_and_reads_no_old_table_again(folder, monkeypatch):
    from vidmem.kv import recovery

    position = filled(folder)
    reader = opened(folder, position, read_only=True)
    writer = opened(folder, position)
    for number in range(20, 31):
        world.append(writer, number)
    tables = []
    read_table = recovery._table
    monkeypatch.setattr(recovery, "_table", lambda path: (tables.append(path.name), read_table(path))[1])
    grown = writer.flush()
    assert reader.num_blocks == 20
    reader.follow(grown)
    assert tables == [f"{segment:06d}.kv" for segment in range(position.segment, grown.segment + 1)]
    assert world.read(reader) == world.expected(31)
    assert reader.num_tokens() == [number % 7 for number in range(31)]


def test_a_reader_that_follows_keeps_in_mind_what_is_lost(folder):
    position = filled(folder)
    reader = opened(folder, position, read_only=True)
    path = folder / "000000.kv"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    (lost,) = reader.verify()
    writer = opened(folder, position)
    world.append(writer, 20)
    reader.follow(writer.flush())
    assert reader.lost_blocks() == [lost] and reader.num_blocks == 21
