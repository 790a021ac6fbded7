"""`manifest.toml`: the format of a store and the models that made it. Written once, when the store is made."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from vidmem.errors import ModelMismatch, StoreCorrupt, StoreVersion
from vidmem.index.files import replace_file
from vidmem.types import Mode

FORMAT = 3
"""The newest store format that this program reads.

A store in tokens mode is still written as format 1. Format 3 has KV blocks, which a program that knows only format 1
would take for leftovers and remove. Format 2, with one block a frame, was never released.
"""

MANIFEST_NAME = "manifest.toml"


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """The models and sizes that a store's vectors and tokens come from. Stores of two identities never mix."""

    preset: str
    encoder: str
    encoder_revision: str
    language_model: str
    language_revision: str
    embedding_dim: int
    tokens_per_frame: int
    token_dim: int
    policy: str
    mode: Mode = "tokens"
    """`kv` if the frames' keys and values are kept beside their tokens; what has none can't be asked as if it had."""


@dataclass(frozen=True, slots=True)
class Manifest:
    format: int
    created_at: str
    """RFC 3339 with zone."""
    identity: StoreIdentity


def new_manifest(identity: StoreIdentity) -> Manifest:
    number = FORMAT if identity.mode == "kv" else 1
    return Manifest(number, datetime.now().astimezone().isoformat(timespec="seconds"), identity)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    lines = [f"format = {manifest.format}", f"created_at = {_toml(manifest.created_at)}", "", "[identity]"]
    lines += [f"{name} = {_toml(value)}" for name, value in asdict(manifest.identity).items()]
    replace_file(folder / MANIFEST_NAME, ("\n".join(lines) + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of the store in `folder`.

    Raises:
        StoreVersion: a newer program wrote it.
        StoreCorrupt: it is damaged.
        PermissionError: this user may not read it.
    """
    path = folder / MANIFEST_NAME
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} can't be read ({error}): put it back from a copy of the store.") from error
    number = table.get("format")
    if not isinstance(number, int) or number < 1:
        raise StoreCorrupt(f"{path} names no store format: put it back from a copy of the store.")
    if number > FORMAT:
        raise StoreVersion(
            f"{folder} has store format {number} and this vidmem reads up to {FORMAT}: update vidmem to open it."
        )
    if number == 2:
        raise StoreVersion(f"{folder} has store format 2, which was never released: ingest its videos anew.")
    return Manifest(number, str(table.get("created_at", "")), _identity(table.get("identity"), path))


def check_identity(folder: Path, made: StoreIdentity, asked: StoreIdentity) -> None:
    """Raise ModelMismatch unless the store was made with exactly what is asked for."""
    differing = [name for name in asdict(made) if getattr(made, name) != getattr(asked, name)]
    if not differing:
        return
    name = differing[0]
    difference = f"{name.replace('_', ' ')} {getattr(made, name)!r}, not {getattr(asked, name)!r}"
    raise ModelMismatch(
        f"{folder} was made with {difference}: {_cure(name, made, asked)}, or ingest its videos into a new store."
    )


def _cure(name: str, made: StoreIdentity, asked: StoreIdentity) -> str:
    """How a store can be opened, as far as one can tell from the part that differs."""
    if name == "mode":
        return "open it without --preset, which takes the store's own"
    if asked.preset != made.preset:
        return f"open it without --preset, for its own, {made.preset!r}"
    if name == "policy":
        return f"open it with a preset file (--preset FILE) that says policy = {made.policy!r} under [memory]"
    return (
        f"open it with a preset file (--preset FILE) that names the models of that time, {made.encoder} in revision"
        f" {made.encoder_revision} and {made.language_model} in revision {made.language_revision}"
    )


def _identity(table: Any, path: Path) -> StoreIdentity:
    known = {field.name: int if field.type == "int" else str for field in fields(StoreIdentity)}
    if isinstance(table, dict):
        table = {"mode": "tokens"} | table  # format 1 knew no other
    if not isinstance(table, dict) or any(not isinstance(table.get(name), kind) for name, kind in known.items()):
        raise StoreCorrupt(f"{path} lacks a part of [identity]: put it back from a copy of the store.")
    if table["mode"] not in get_args(Mode):
        raise StoreCorrupt(f"{path} names no mode that there is: put it back from a copy of the store.")
    return StoreIdentity(**{name: table[name] for name in known})


def _toml(value: str | int) -> str:
    # A JSON string is a TOML string but for the surrogate escapes, hence not ASCII, and DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
