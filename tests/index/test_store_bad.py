"""What is wrong with a store, or where one should be: the right error, one sentence with the cure, nothing changed."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import pytest
import store_world as world

from vidmem.errors import (
    BadInput,
    ModelMismatch,
    NotFound,
    StorageFull,
    StoreCorrupt,
    StoreLocked,
    StoreVersion,
    VidmemError,
)
from vidmem.index import Store
from vidmem.index.manifest import FORMAT

A = world.video().video_id


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.vidmem"


@pytest.fixture
def filled(path):
    """A closed store of two clips."""
    with Store.open(path, world.IDENTITY) as store:
        store.begin_video(world.video())
        for clip in range(2):
            world.append(store, A, clip)
    return path


def reopened(path, **options):
    return Store.open(path, world.IDENTITY, **options)


def is_sound(path) -> bool:
    with reopened(path) as store:
        return world.content(store) == {A: world.expected(A, 2)} and store.verify() == []


# -- what is at the path --


def test_nothing_there_is_not_found_unless_it_may_be_made(path):
    for options in ({"create": False}, {"read_only": True}):
        with pytest.raises(NotFound, match="no store"):
            reopened(path, **options)
    with pytest.raises(NotFound):
        Store.peek(path)
    assert not path.exists()


def test_a_file_is_no_store(path):
    path.write_bytes(b"x")
    with pytest.raises(BadInput, match="is a file"):
        reopened(path)
    assert path.read_bytes() == b"x"
    with pytest.raises(BadInput, match="name another path"):
        reopened(path / "within")


def test_a_folder_of_something_else_is_no_store(path):
    path.mkdir()
    (path / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(BadInput, match="no vidmem store"):
        reopened(path)
    assert os.listdir(path) == ["holiday.jpg"]


@pytest.mark.parametrize("names", [["thumbs/me.jpg"], ["memory/diary.txt", "kv/x"], ["lock", "thumbs/me.jpg"], ["kv/"]])
def test_folders_named_like_a_stores_are_not_taken_for_one(path, names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).mkdir() if name.endswith("/") else (path / name).write_bytes(b"x")
    before = sorted(path.rglob("*"))
    with pytest.raises(BadInput, match="no vidmem store"):
        reopened(path)
    assert sorted(path.rglob("*")) == before


def test_an_empty_folder_becomes_a_store(path):
    path.mkdir()
    with reopened(path) as store:
        assert store.videos() == []


def test_a_name_too_long_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="name another path"):
        reopened(tmp_path / ("x" * 300))


# -- who made it --


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(world.IDENTITY)])
def test_another_model_is_a_mismatch(filled, field):
    value = getattr(world.IDENTITY, field)
    other = dataclasses.replace(world.IDENTITY, **{field: value + 1 if isinstance(value, int) else value + "x"})
    cures = {"preset": "without --preset, for its own, 'tiny'", "policy": r"says policy = 'moviechat' under \[memory\]"}
    cures["mode"] = "without --preset, which takes the store's own"
    cure = cures.get(field, "encoder in revision e1 and language in revision l1")
    with pytest.raises(ModelMismatch, match=rf"was made with .*: open it .*{cure}, or ingest its videos into a new"):
        Store.open(filled, other)
    assert is_sound(filled)


def test_a_newer_format_is_said(filled):
    manifest = filled / "manifest.toml"
    manifest.write_text(manifest.read_text().replace("format = 1", f"format = {FORMAT + 1}"))
    for attempt in (reopened, Store.peek):
        with pytest.raises(StoreVersion, match="update vidmem"):
            attempt(filled)


@pytest.mark.parametrize("text", ["", "format = 1", "format = 'x'", "\x00", 'format = 1\n[identity]\npreset = "tiny"'])
def test_a_damaged_manifest_is_corrupt(filled, text):
    (filled / "manifest.toml").write_text(text)
    with pytest.raises(StoreCorrupt, match=r"manifest\.toml"):
        reopened(filled)


def test_a_lost_manifest_is_corrupt_and_nothing_is_made_over_it(filled):
    (filled / "manifest.toml").unlink()
    before = world.files(filled)
    with pytest.raises(StoreCorrupt, match=r"manifest\.toml is gone"):
        reopened(filled)
    assert world.files(filled) == before


# -- the catalogue --


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zero_header(data: bytes) -> bytes:
    return bytes(100) + data[100:]


def empty(data: bytes) -> bytes:
    return b""


def garbage(data: bytes) -> bytes:
    return b"not a database, " * 1000


def rotten_page(data: bytes) -> bytes:
    return data[:16384] + b"\xff" * 16384 + data[32768:]


@pytest.mark.parametrize("damage", [cut, zero_header, empty, garbage, rotten_page])
def test_a_damaged_catalogue_is_corrupt(filled, damage):
    catalogue = filled / "catalogue.sqlite"
    catalogue.write_bytes(damage(catalogue.read_bytes()))
    before = world.files(filled)
    for options in ({}, {"read_only": True}):
        with pytest.raises(StoreCorrupt, match="ingest the videos anew"):
            reopened(filled, **options)
    assert world.files(filled) == before


def test_a_lost_catalogue_is_corrupt(filled):
    (filled / "catalogue.sqlite").unlink()
    with pytest.raises(StoreCorrupt, match=r"catalogue\.sqlite is gone"):
        reopened(filled)
    assert not (filled / "catalogue.sqlite").exists()


def test_a_catalogue_that_names_files_outside_is_not_followed(filled):
    database = sqlite3.connect(filled / "catalogue.sqlite")
    with database:
        database.execute("UPDATE frames SET thumbnail_file = 'thumbs/../../secret.jpg' WHERE frame_id = 1")
        database.execute("UPDATE clips SET segment_file = '../secret.safetensors'")
        database.execute("UPDATE videos SET memory_file = '/secret.safetensors'")
    database.close()
    with reopened(filled, read_only=True) as store:
        for read in (
            lambda: store.frames_between(A, 0, 99),
            lambda: store.load_tokens([1]),
            lambda: store.load_memory(A),
        ):
            with pytest.raises(StoreCorrupt, match="do not trust"):
                read()
    with pytest.raises(StoreCorrupt, match="do not trust"):
        reopened(filled)


# -- the index --


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda data: None, "gone"),
        (lambda data: data[:-70], "cut"),
        (lambda data: data[:20], "cut"),
        (lambda data: b"", "cut"),
        (lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:], "damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_index_is_rebuilt_and_said(filled, damage, word, read_only):
    index = filled / "index.faiss"
    whole = index.read_bytes()
    changed = damage(whole)
    index.unlink() if changed is None else index.write_bytes(changed)
    with reopened(filled, read_only=read_only) as store:
        assert len(store.notices) == 1 and f"was {word}: it was rebuilt" in store.notices[0]
        assert store.search(world.frames(A, 1).embeddings[2], 1)[0].score == pytest.approx(1.0, abs=1e-3)
        assert store.verify() == []
    if not read_only:
        assert index.read_bytes() == whole
        with reopened(filled) as store:
            assert store.notices == []


def test_an_index_of_another_time_is_brought_to_the_present(filled, tmp_path):
    shutil.copy(filled / "index.faiss", tmp_path / "old")
    with reopened(filled) as store:
        store.remove_video(A)
        store.begin_video(world.video())
        for clip in range(2):
            world.append(store, A, clip)
    shutil.copy(tmp_path / "old", filled / "index.faiss")
    with reopened(filled) as store:
        assert "6 frames were added" in store.notices[0]
        assert len(store.search(world.frames(A, 1).embeddings[0], 99)) == 6
    assert is_sound(filled)


def test_an_index_behind_the_catalogue_is_completed(filled, tmp_path):
    shutil.copy(filled / "index.faiss", tmp_path / "old")
    with reopened(filled) as store:
        world.append(store, A, 2)
    shutil.copy(tmp_path / "old", filled / "index.faiss")
    with reopened(filled, read_only=True) as store:
        assert store.notices == [] and len(store.search(world.frames(A, 2).embeddings[0], 99)) == 9
    with reopened(filled) as store:
        assert "3 frames were added" in store.notices[0]
        assert store.verify() == []


# -- files --


def test_files_that_are_gone_are_said_and_named(filled):
    segment, state, thumbnail = (sorted(world.files(filled))[place] for place in (0, 2, 3))
    for name in (segment, state, thumbnail):
        (filled / name).unlink()
    with reopened(filled) as store:
        assert store.notices == [f"3 files are gone from {filled}: `vidmem info --verify` names them."]
        assert sorted(store.verify()) == sorted(f"{name} is gone." for name in (segment, state, thumbnail))
        with pytest.raises(StoreCorrupt, match="gone"):
            store.load_memory(A)
        with pytest.raises(StoreCorrupt, match="gone"):
            store.load_tokens([row.frame_id for row in store.frames_between(A, 0, 8)])
        assert len(store.search(world.frames(A, 0).embeddings[0], 9)) == 6


@pytest.mark.parametrize("damage", [cut, empty, garbage, lambda data: data[:-1] + b"\x7f"])
def test_damaged_tensors_are_corrupt(filled, damage):
    for name in world.files(filled):
        if not name.endswith(".jpg"):
            (filled / name).write_bytes(damage((filled / name).read_bytes()))
    with reopened(filled) as store:
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.load_memory(A)
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.load_tokens([row.frame_id for row in store.frames_between(A, 0, 8)])


def test_leftovers_are_found_and_removed(filled):
    strays = ["kv/x.safetensors", "memory/y", "thumbs/gone/1.jpg", f"thumbs/{A}/999.jpg"]
    for name in strays:
        (filled / name).parent.mkdir(exist_ok=True)
        (filled / name).write_bytes(b"x")
    with reopened(filled, read_only=True) as store:
        assert sorted(problem.split()[0] for problem in store.verify()) == sorted(strays)
    assert is_sound(filled)
    assert not world.files(filled) & set(strays) and not (filled / "thumbs/gone").exists()


# -- one writer --


def test_a_second_writer_hears_who_holds_the_store(filled):
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); import store_world as world; from vidmem.index import Store\n"
        "store = Store.open(sys.argv[1], world.IDENTITY); print('open', flush=True); sys.stdin.read()"
    )
    here = os.path.dirname(__file__)
    command = [sys.executable, "-c", code, str(filled), here]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdin is not None
        assert writer.stdout.readline() == "open\n"
        with pytest.raises(StoreLocked, match=f"written by process {writer.pid}"):
            reopened(filled)
        with reopened(filled, read_only=True) as reader:
            assert world.content(reader) == {A: world.expected(A, 2)}
            assert reader.verify() == []
        writer.stdin.close()
    assert is_sound(filled)


def test_a_second_opening_in_this_process_is_refused(filled):
    with reopened(filled), pytest.raises(StoreLocked, match=str(os.getpid())):
        reopened(filled)
    assert is_sound(filled)


# -- no space, no permission --


@contextmanager
def small_disk(folder, kilobytes: int):
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", folder], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextmanager
def limited_file_size(num_bytes: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def append_until_full(store) -> int:
    """Append clips until the store refuses one; the number that it took."""
    for clip in range(store.video(A).num_clips, 10_000):
        try:
            world.append(store, A, clip)
        except StorageFull as error:
            assert "No space is left" in str(error)
            return clip
    raise AssertionError("the disk never filled")


def test_a_full_disk_stops_ingest_and_keeps_asks_working(tmp_path):
    with small_disk(tmp_path / "disk", 1500) as disk:
        path = disk / "a.vidmem"
        store = reopened(path)
        store.begin_video(world.video())
        num_clips = append_until_full(store)
        assert num_clips > 0
        assert world.content(store) == {A: world.expected(A, num_clips)}
        assert len(store.search(world.frames(A, 0).embeddings[0], 5)) == 5
        with pytest.raises(StorageFull):
            world.append(store, A, num_clips)
        store.close()
        with reopened(path, read_only=True) as reader:
            assert world.content(reader) == {A: world.expected(A, num_clips)}
        shutil.copytree(path, tmp_path / "more.vidmem")
    with reopened(tmp_path / "more.vidmem") as store:
        assert store.verify() == []
        world.append(store, A, num_clips)
        assert world.content(store) == {A: world.expected(A, num_clips + 1)}


def test_no_store_is_half_made_on_a_full_disk(tmp_path):
    for kilobytes in range(4, 200, 28):
        with small_disk(tmp_path / f"disk{kilobytes}", kilobytes) as disk:
            try:
                reopened(disk / "a.vidmem").close()
            except StorageFull:
                assert os.listdir(disk) == []


@pytest.mark.parametrize("limit", [0, 300, 20_000, 70_000])
def test_a_limit_on_file_sizes_leaves_the_store_as_it_was(filled, limit):
    with reopened(filled) as store:
        with limited_file_size(limit), pytest.raises(StorageFull):
            for clip in range(2, 100):
                world.append(store, A, clip)
        num_clips = store.video(A).num_clips
        assert world.content(store) == {A: world.expected(A, num_clips)}
    with reopened(filled) as store:
        assert world.content(store) == {A: world.expected(A, num_clips)}
        assert store.verify() == []


def test_a_folder_that_cannot_be_written_is_still_read(filled, tmp_path):
    target = tmp_path / "read-only"
    target.mkdir()
    bound = subprocess.run(["mount", "--bind", filled, target], capture_output=True)
    if bound.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", target], check=True)
        with pytest.raises(StorageFull, match="allow writing to it, or open it read-only"):
            reopened(target)
        with pytest.raises(StorageFull):
            reopened(target / "kv" / "new.vidmem")
        with reopened(target, read_only=True) as store:
            assert world.content(store) == {A: world.expected(A, 2)}
            assert store.verify() == []
    finally:
        subprocess.run(["umount", "-l", target], check=True)


def test_no_permission_is_said(filled, monkeypatch):
    real = os.open

    def refuse(name, flags, *rest, **options):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return real(name, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageFull, match="can't be written"):
        reopened(filled)
    monkeypatch.undo()
    assert is_sound(filled)


def test_every_refusal_has_its_exit_code():
    codes = {
        NotFound: 5,
        BadInput: 2,
        StoreLocked: 3,
        ModelMismatch: 4,
        StoreVersion: 4,
        StoreCorrupt: 1,
        StorageFull: 1,
    }
    assert all(issubclass(kind, VidmemError) and kind.exit_code == code for kind, code in codes.items())
