"""The folder of a store: what is at a path, making one, and telling a store's files from leftovers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from vidmem.disk import sync
from vidmem.errors import BadInput, NotFound, StoreCorrupt
from vidmem.index.catalogue import CATALOGUE_NAME, Catalogue
from vidmem.index.files import NEW, remove_file
from vidmem.index.lock import LOCK_NAME
from vidmem.index.manifest import MANIFEST_NAME, StoreIdentity, new_manifest, write_manifest
from vidmem.index.vectors import INDEX_NAME, VectorIndex

KV, MEMORY, THUMBS = "kv", "memory", "thumbs"
CROPS = "crops"
"""Pictures of objects; made with the first one. Not in `thumbs`, where a program that knows no objects would take them
for leftovers and remove them."""
_MADE_AT_ONCE = (KV, MEMORY, THUMBS)
_FOLDERS = (*_MADE_AT_ONCE, CROPS)
_DATABASE = (CATALOGUE_NAME, *(CATALOGUE_NAME + end for end in ("-wal", "-shm", "-journal")))
_REPLACED = (INDEX_NAME, MANIFEST_NAME, INDEX_NAME + NEW, MANIFEST_NAME + NEW)
_UNFINISHED = {*_FOLDERS, *_DATABASE, *_REPLACED, LOCK_NAME}


def is_store(path: Path, *, create: bool) -> bool:
    """Whether a store is at `path`; False only with `create`, where one can be made there.

    Raises:
        NotFound: nothing is there, and `create` is False.
        BadInput: something else is there.
        StoreCorrupt: a store without its manifest is there.
    """
    if (path / MANIFEST_NAME).is_file():
        return True
    if not path.exists():
        if create:
            return False
        raise NotFound(f"There is no store at {path}: check the path, or ingest a video to make one.")
    if not path.is_dir():
        raise BadInput(f"{path} is a file, and a store is a folder: name another path.")
    names = set(os.listdir(path))
    if CATALOGUE_NAME in names and _holds_something(path / KV):
        raise StoreCorrupt(f"{path / MANIFEST_NAME} is gone: put it back from a copy of the store.")
    if create and (not names or _is_unfinished(path, names)):
        return False
    raise BadInput(f"{path} is a folder, but no vidmem store: name another path.")


def create_store(path: Path, identity: StoreIdentity) -> None:
    """Make an empty store in a folder whose lock the caller holds. The manifest, written last, makes it one."""
    discard_unfinished(path)
    for name in _MADE_AT_ONCE:
        (path / name).mkdir()
    manifest = new_manifest(identity)
    Catalogue.create(path, manifest.format)
    VectorIndex(identity.embedding_dim).save(path / INDEX_NAME)
    write_manifest(path, manifest)
    for folder in (path, path.absolute().parent):
        sync(folder)


def discard_unfinished(path: Path) -> None:
    """Remove what an unfinished `create_store` left, but for the lock."""
    for name in _FOLDERS:
        with suppress(FileNotFoundError):
            (path / name).rmdir()
    for name in _UNFINISHED.difference(_FOLDERS, {LOCK_NAME}):
        remove_file(path / name)


def discard_store(path: Path, *, with_folder: bool) -> None:
    """Remove a store without videos whose lock the caller holds. The manifest, removed first, ends its being one."""
    remove_file(path / MANIFEST_NAME)
    with suppress(OSError):  # what stays is the leftover of a creation, over which a store can be made
        discard_unfinished(path)
        remove_file(path / LOCK_NAME)
        if with_folder:
            path.rmdir()


def inside(store: Path, name: str) -> Path:
    """The path of a file that the catalogue names. A store may come from anywhere: names stay within its folders."""
    parts = PurePosixPath(name).parts
    if len(parts) < 2 or parts[0] not in _FOLDERS or ".." in parts:
        raise StoreCorrupt(f"The catalogue of {store} names {name!r}, which is outside of it: do not trust this store.")
    return store / name


def leftovers(store: Path, named: Collection[str]) -> Iterator[str]:
    """Names, within the store, of files in its folders that `named` does not hold. Symbolic links are not followed.

    A folder that is named is not looked into.
    """
    for folder in _FOLDERS:
        if (store / folder).is_dir():
            yield from _leftovers(store / folder, folder, named)


def count_missing(store: Path, names: Collection[str], folders: Collection[str]) -> int:
    """How many of the files that the catalogue names are gone. By listing folders, but for `folders`: asked for one by
    one, the 172,800 files of a day of clips took seconds.

    Raises StoreCorrupt if a name leads out of the store.
    """
    for name in names:
        if name.partition("/")[0] not in _FOLDERS or ".." in name:
            inside(store, name)
    return len(set(names).difference(leftovers(store, set(folders))))


def discard_leftovers(store: Path, named: Collection[str]) -> None:
    """Remove what no committed clip names: files of a clip that was cut short, or of a removed video."""
    for folder in _MADE_AT_ONCE:
        (store / folder).mkdir(exist_ok=True)
    for name in leftovers(store, named):
        remove_file(store / name)
    for name in (MANIFEST_NAME, INDEX_NAME):
        remove_file(store / (name + NEW))
    for folder in (THUMBS, KV, CROPS):
        for video in (store / folder).iterdir() if (store / folder).is_dir() else ():
            with suppress(OSError):  # only an empty folder can be removed
                video.rmdir()


def _leftovers(folder: Path, name: str, named: Collection[str]) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            within = f"{name}/{entry.name}"
            if within in named:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _leftovers(folder / entry.name, within, named)
            else:
                yield within


def _is_unfinished(path: Path, names: Collection[str]) -> bool:
    """Whether a folder is what a creation that was cut short leaves: a lock, and folders with nothing in them.

    Anyone's folder may hold a `memory` or a `thumbs`, and what is unfinished is removed.
    """
    is_full = any(_holds_something(path / name) for name in _FOLDERS)
    return LOCK_NAME in names and _UNFINISHED.issuperset(names) and not is_full


def _holds_something(folder: Path) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        return any(True for _ in entries)
    return False
