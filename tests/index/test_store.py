"""What a store gives back: frames, tokens, memory, search inside filters; and what it refuses to take."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import store_world as world
import torch

from vidmem.errors import BadInput, NotFound
from vidmem.index import FrameRows, NewClip, Store
from vidmem.index.vectors import as_held
from vidmem.types import Answer, Hit, Span, VideoId

A, B = (world.video(number).video_id for number in range(2))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.vidmem"


@pytest.fixture
def store(path):
    with Store.open(path, world.IDENTITY) as opened:
        yield opened


def fill(store, *clips: int) -> None:
    """Video n gets the n-th number of clips."""
    for number, num_clips in enumerate(clips):
        row = store.begin_video(world.video(number))
        for clip in range(row.num_clips, num_clips):
            world.append(store, row.video_id, clip)


def test_gives_back_what_was_appended(store):
    fill(store, 3, 1)
    assert world.content(store) == {A: world.expected(A, 3), B: world.expected(B, 1)}
    assert store.verify() == []


def test_reopening_gives_the_same_without_a_notice(path):
    with Store.open(path, world.IDENTITY) as store:
        fill(store, 2)
        store.finish_video(A, 16.0)
    with Store.open(path, world.IDENTITY) as store:
        assert world.content(store) == {A: world.expected(A, 2, finished=True)}
        assert store.video(A).duration_seconds == 16.0
        assert store.notices == []


def test_frames_reach_to_the_next_frame_or_the_end_of_the_clip(store):
    fill(store, 2)
    rows = store.frames_between(A, 0.0, 16.0)
    assert [row.end_seconds for row in rows] == [*(row.pts_seconds for row in rows[1:3]), 8.0] + [
        *(row.pts_seconds for row in rows[4:]),
        16.0,
    ]


def test_frames_between_is_half_open_and_takes_the_frame_on_display(store):
    fill(store, 2)
    pts = world.frames(A, 0).pts_seconds.tolist() + world.frames(A, 1).pts_seconds.tolist()
    assert [row.pts_seconds for row in store.frames_between(A, 3.0, 8.0)] == pts[1:3]
    assert [row.pts_seconds for row in store.frames_between(A, 8.0, 8.1)] == [8.0]
    assert store.frames_between(A, 16.0, 99.0) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_tokens_come_bit_for_bit_in_the_order_asked_for(store, dtype):
    for number in (0, 1):
        store.begin_video(world.video(number))
        for clip in range(3):
            rows = world.frames(world.video(number).video_id, clip, dtype=dtype)
            store.append_clip(world.video(number).video_id, world.span(clip), rows)
    wanted = [(B, 2, 1), (A, 0, 2), (B, 0, 0), (A, 0, 0), (A, 0, 2)]
    ids = []
    for video_id, clip, row in wanted:
        pts = world.frames(video_id, clip).pts_seconds[row]
        ids.append(next(f.frame_id for f in store.frames_between(video_id, 0, 99) if f.pts_seconds == pts))
    tokens = store.load_tokens(ids)
    assert tokens.dtype == dtype
    assert torch.equal(tokens, torch.stack([world.frames(v, c, dtype=dtype).tokens[r] for v, c, r in wanted]))


def test_a_rotten_token_is_an_error_and_its_neighbours_are_not(store, path):
    fill(store, 1)
    segment = next((path / "kv").iterdir())
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1  # the last byte belongs to the last frame
    segment.write_bytes(data)
    ids = [row.frame_id for row in store.frames_between(A, 0, 8)]
    assert torch.equal(store.load_tokens(ids[:2]), world.frames(A, 0).tokens[:2])
    with pytest.raises(Exception, match="damaged"):
        store.load_tokens(ids)
    assert store.verify() == [f"kv/{segment.name} is damaged."]


def test_a_clip_without_frames_moves_time_on(store):
    store.begin_video(world.video())
    empty = FrameRows(np.empty(0), np.empty((0, world.DIM)), torch.empty(0, world.TOKENS, world.WIDTH))
    store.append_clip(A, world.span(0), empty, world.memory(A, 0))
    assert store.video(A).committed_until == 8.0
    assert store.search(world.frames(A, 0).embeddings[0], 5) == []
    assert store.verify() == []


def test_frames_within_one_millisecond_keep_their_own_thumbnails(store):
    store.begin_video(world.video())
    one = world.frames(A, 0)
    for clip, pts in enumerate(([7.9991, 7.9992, 7.9993], [7.9994, 7.9995, 8.5])):
        pictures = [f"{clip}/{row}".encode() for row in range(3)]
        rows = FrameRows(np.array(pts), one.embeddings, one.tokens, pictures)
        store.append_clip(A, Span(clip * 7.9994, 8.6 if clip else 7.9994), rows)
    found = [Path(row.thumbnail_path).read_bytes() for row in store.frames_between(A, 0, 9)]
    assert found == [b"0/0", b"0/1", b"0/2", b"1/0", b"1/1", b"1/2"]


def test_memory_of_the_last_clip_is_the_only_one_kept(store, path):
    fill(store, 3)
    assert len(list((path / "memory").iterdir())) == 1
    store.append_clip(A, world.span(3), world.frames(A, 3), None)
    state = store.load_memory(A)
    assert state is not None and torch.equal(state["key"], world.memory(A, 2)["key"])


def test_search_equals_brute_force_in_every_filter(store):
    fill(store, 40, 25, 10)
    ids = [video.video_id for video in store.videos()]
    rows = {video_id: store.frames_between(video_id, 0, 1e9) for video_id in ids}
    vectors = {row.frame_id: v for i in ids for row, v in zip(rows[i], as_held(store.embeddings(i)[1]), strict=True)}
    rng = np.random.default_rng(0)
    for trial in range(60):
        query = rng.standard_normal(world.DIM).astype(np.float32)
        query /= np.linalg.norm(query)
        chosen = [None, ids[:1], ids[1:], []][trial % 4]
        start = [None, float(rng.uniform(0, 300))][trial % 2]
        end = [None, float(rng.uniform(100, 330))][trial // 2 % 2]
        k = int(rng.integers(1, 40))
        inside = [
            row
            for video_id in (ids if chosen is None else chosen)
            for row in rows[video_id]
            if (end is None or row.pts_seconds < end) and (start is None or row.end_seconds > start)
        ]
        best = sorted(inside, key=lambda row: -float(vectors[row.frame_id] @ query))[:k]
        hits = store.search(query, k, video_ids=chosen, start=start, end=end)
        assert [hit.frame_id for hit in hits] == [row.frame_id for row in best]
        np.testing.assert_allclose([hit.score for hit in hits], [vectors[r.frame_id] @ query for r in best], atol=1e-5)


def test_search_ranks_equal_scores_by_their_commit(store):
    store.begin_video(world.video())
    same = np.tile(world.frames(A, 0).embeddings[:1], (3, 1))
    for clip in range(4):
        rows = world.frames(A, clip)
        store.append_clip(A, world.span(clip), FrameRows(rows.pts_seconds, same, rows.tokens))
    found = [hit.frame_id for hit in store.search(same[0], 12)]
    assert found == sorted(found) and len(found) == 12


def test_search_refuses_what_it_cannot_answer(store):
    fill(store, 1)
    query = world.frames(A, 0).embeddings[0]
    with pytest.raises(NotFound, match="no-such"):
        store.search(query, 1, video_ids=[VideoId("no-such")])
    for bad in (query[:-1], query * np.nan, query[None]):
        with pytest.raises(ValueError, match="query"):
            store.search(bad, 1)
    with pytest.raises(ValueError, match="k=0"):
        store.search(query, 0)


def test_unknown_ids_are_errors(store):
    for ask in (store.video, store.load_memory, store.embeddings, store.remove_video):
        with pytest.raises(NotFound):
            ask(VideoId("nothing"))
    with pytest.raises(NotFound):
        store.frames_between(VideoId("nothing"), 0, 1)
    with pytest.raises(NotFound):
        store.load_tokens([1])
    with pytest.raises(NotFound):
        world.append(store, "nothing", 0)


def test_the_same_content_and_settings_are_recognised(store):
    first = store.begin_video(world.video())
    world.append(store, A, 0)
    assert store.begin_video(world.video()).committed_until == 8.0
    store.finish_video(A, 8.0)
    found = store.find_video(first.content_id, first.settings_hash)
    assert found == store.video(A) and found.is_finished
    assert store.find_video(first.content_id, "fps=2") is None
    with pytest.raises(BadInput, match="other settings"):
        store.begin_video(world.video(settings_hash="fps=2"))
    with pytest.raises(BadInput, match="another name"):
        store.begin_video(world.video(video_id="other"))


def test_append_refuses_time_running_backwards_and_wrong_shapes(store):
    fill(store, 1)
    rows = world.frames(A, 1)
    before = world.content(store)
    with pytest.raises(ValueError, match="runs back"):
        store.append_clip(A, world.span(0), world.frames(A, 0))
    with pytest.raises(ValueError, match="does not come after"):
        store.append_clip(A, world.span(1), world.frames(A, 0))
    with pytest.raises(ValueError, match="beyond its clip"):
        store.append_clip(A, world.span(1), world.frames(A, 2))
    with pytest.raises(ValueError, match="tokens"):
        store.append_clip(A, world.span(1), FrameRows(rows.pts_seconds, rows.embeddings, rows.tokens[:, :1]))
    with pytest.raises(ValueError, match="embeddings"):
        short = rows.embeddings[:, :4] / np.linalg.norm(rows.embeddings[:, :4], axis=1, keepdims=True)
        store.append_clip(A, world.span(1), FrameRows(rows.pts_seconds, short, rows.tokens))
    store.finish_video(A, 8.0)
    with pytest.raises(ValueError, match="finished"):
        world.append(store, A, 1)
    assert world.content(store) == {A: before[A] | {"finished": True}}


def test_frame_rows_refuse_what_is_no_clip():
    rows = world.frames(A, 0)
    with pytest.raises(ValueError, match="unit length"):
        FrameRows(rows.pts_seconds, rows.embeddings * 2, rows.tokens)
    with pytest.raises(ValueError, match="unit length"):
        FrameRows(rows.pts_seconds, rows.embeddings * np.nan, rows.tokens)
    with pytest.raises(ValueError, match="strictly rising"):
        FrameRows(rows.pts_seconds[::-1], rows.embeddings, rows.tokens)
    with pytest.raises(ValueError, match="differ"):
        FrameRows(rows.pts_seconds[:2], rows.embeddings, rows.tokens)
    with pytest.raises(ValueError, match="thumbnails"):
        FrameRows(rows.pts_seconds, rows.embeddings, rows.tokens, [b""])
    with pytest.raises(ValueError, match="name files"):
        world.video(video_id="../../etc")


def test_removing_a_video_frees_all_of_it(store, path):
    fill(store, 30, 2)
    store.log_question(answer(A))
    store.log_question(answer(B))
    before = store.state()
    store.remove_video(A)
    assert world.content(store) == {B: world.expected(B, 2)}
    assert all(B in name for name in world.files(path))
    assert {hit.video_id for hit in store.search(world.frames(A, 0).embeddings[0], 100)} == {B}
    assert [row.answer.evidence[0].video_id for row in store.questions()] == [B]
    after = store.state()
    assert after.num_frames == 6 and after.num_questions == 1
    assert after.catalogue_bytes < before.catalogue_bytes
    assert after.index_bytes < 800
    assert world.frames(A, 7).embeddings[0].tobytes() not in (path / "catalogue.sqlite").read_bytes()
    assert store.verify() == []
    fill(store, 1)  # and it may come again
    assert world.content(store)[A] == world.expected(A, 1)


def test_only_a_new_store_without_videos_is_discarded(path):
    path.mkdir()
    for is_new_folder in (False, True):
        Store.open(path, world.IDENTITY).discard()
        assert list(path.iterdir()) == [] if not is_new_folder else not path.exists()
        path.rmdir() if path.exists() else None
    with Store.open(path, world.IDENTITY) as store:
        fill(store, 1)
        with pytest.raises(ValueError, match="not new and empty"):
            store.discard()
        store.remove_video(A)
    with Store.open(path, world.IDENTITY) as store:
        with pytest.raises(ValueError, match="not new and empty"):
            store.discard()
        assert store.verify() == []


def answer(video_id: str) -> Answer:
    hit = Hit(VideoId(video_id), "a.mp4", 1.0, 2.0, 0.5, 1)
    return Answer("When?", "At one second.", [hit], {"recall": 0.01})


def test_questions_are_kept_as_they_were_answered(store, path):
    number = store.log_question(answer(A))
    (row,) = store.questions()
    assert row.question_id == number and row.answer == answer(A) and "T" in row.asked_at
    with Store.open(path, world.IDENTITY, read_only=True) as reader:
        assert reader.log_question(answer(A)) is None
        assert len(reader.questions()) == 1


def test_state_counts_the_bytes_of_the_files(store, path):
    fill(store, 2, 1)
    state = store.state()
    assert (state.num_videos, state.num_clips, state.num_frames) == (2, 3, 9)
    for folder, num_bytes in (("kv", state.kv_bytes), ("memory", state.memory_bytes), ("thumbs", state.thumbs_bytes)):
        assert num_bytes == sum(file.stat().st_size for file in (path / folder).rglob("*") if file.is_file())


def test_a_reader_follows_the_writer_clip_by_clip(store, path):
    with Store.open(path, world.IDENTITY, read_only=True) as reader:
        query = world.frames(A, 0).embeddings[0]
        for clips in (1, 2, 3):
            fill(store, clips)
            assert world.content(reader) == {A: world.expected(A, clips)}
            assert len(reader.search(query, 99)) == 3 * clips
        store.remove_video(A)
        assert reader.search(query, 99) == [] and reader.videos() == []
        fill(store, 1)
        assert reader.search(query, 1)[0].score == pytest.approx(1.0, abs=1e-3)
        with pytest.raises(ValueError, match="read-only"):
            world.append(reader, A, 1)
        assert reader.notices == [] and reader.verify() == []


def test_threads_read_whole_clips_while_one_writes(store):
    fill(store, 1)
    seen: list[int] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                found = len(store.search(world.frames(A, 0).embeddings[0], 1000))
                assert found % world.FRAMES == 0
                assert store.load_memory(A) is not None
                seen.append(found)
        except BaseException as error:  # handed to the test below
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for clip in range(1, 15):
        world.append(store, A, clip)
    done.set()
    for thread in threads:
        thread.join()
    assert not errors and seen
    assert world.content(store) == {A: world.expected(A, 15)}


def test_a_closed_store_says_so(path):
    store = Store.open(path, world.IDENTITY)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="closed"):
        store.videos()


def test_peek_reads_what_made_the_store(store, path):
    manifest = Store.peek(path)
    assert manifest.identity == world.IDENTITY and manifest.format == 1


def test_identity_keeps_every_letter(tmp_path):
    odd = world.IDENTITY.__class__("a\"b\\c\n\t\x7f\u00e9\U0001f600'", "e", "", "l", "", 16, 4, 8, "p")
    with Store.open(tmp_path / "s p?#%a.vidmem", odd):
        pass
    assert Store.peek(tmp_path / "s p?#%a.vidmem").identity == odd
    with Store.open(tmp_path / "s p?#%a.vidmem", odd, read_only=True) as store:
        assert store.videos() == []


def test_clips_that_are_committed_together_are_all_there_or_none(tmp_path):
    with Store.open(tmp_path / "a.vidmem", world.IDENTITY) as store:
        store.begin_video(world.video())
        world.append_together(store, A, range(3))
        assert world.content(store) == {A: world.expected(A, 3)} and store.verify() == []
        before = world.files(tmp_path / "a.vidmem")
        for clips in (range(3, 6), range(4, 5)):
            wrong = [NewClip(world.span(clip), world.frames(A, clip)) for clip in clips]
            wrong.append(NewClip(world.span(3), world.frames(A, 3)))
            with pytest.raises(ValueError, match="runs back"):
                store.append_clips(A, wrong)
        with pytest.raises(ValueError, match="no clips"):
            store.append_clips(A, [])
        assert world.content(store) == {A: world.expected(A, 3)} and world.files(tmp_path / "a.vidmem") == before
        world.append_together(store, A, range(3, 5))
        assert world.content(store) == {A: world.expected(A, 5)}
