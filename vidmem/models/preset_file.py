"""Writes a preset as a TOML file that can be copied, changed and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from vidmem.errors import BadInput, StorageFull
from vidmem.models.preset import Preset, load_preset

_NOT_WRITTEN = ("name", "base", "origin")


def write_preset(preset: Preset, path: Path) -> Preset:
    """Write a preset to a new file; the preset as it is read from there.

    Models that it names by folders are named by their whole paths, as the file lies elsewhere.

    Raises:
        BadInput: something is at `path`, or the preset says what none can.
        StorageFull: the file can't be written.
    """
    if path.exists():
        raise BadInput(f"{path} is there already: choose another name.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(as_toml(preset), encoding="utf-8")
    except OSError as error:
        raise StorageFull(f"{path} can't be written ({error.strerror}): choose another folder.") from error
    try:
        return load_preset(path)
    except BadInput:
        path.unlink()
        raise


def as_toml(preset: Preset) -> str:
    """All that a preset says, but for its name, which is that of its file."""
    whole = replace(
        preset,
        encoder=replace(preset.encoder, model=_found(preset.base, preset.encoder.model)),
        language=replace(preset.language, model=_found(preset.base, preset.language.model)),
        tracker=replace(
            preset.tracker,
            model=_found(preset.base, preset.tracker.model),
            vocabulary=_found(preset.base, preset.tracker.vocabulary),
        ),
    )
    plain: list[str] = []
    tables: list[str] = []
    for field in fields(Preset):
        value = getattr(whole, field.name)
        if field.name in _NOT_WRITTEN:
            continue
        table = (
            value if isinstance(value, Mapping) else asdict(value) if hasattr(value, "__dataclass_fields__") else None
        )
        if table is None:
            plain.append(f"{field.name} = {_value(value)}")
        else:
            tables.append("\n".join([f"\n[{field.name}]", *(f"{key} = {_value(one)}" for key, one in table.items())]))
    return "\n".join([*plain, *tables]) + "\n"


def _found(base: Path, name: str) -> str:
    """A name as a whole path, if it is that of a file or folder."""
    there = base / Path(name).expanduser()
    return str(there.resolve()) if name and there.exists() else name


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(one)}' for key, one in value.items())} }}"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
