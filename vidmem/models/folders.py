"""Where a model's files are: a folder, or a snapshot in the local cache of the model hub. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidmem.errors import BadInput, MissingModel, ModelMismatch

Alternatives = tuple[str, ...]
"""Glob patterns; a folder needs a file that one of them matches."""

ENCODER_FILES: tuple[Alternatives, ...] = (("open_clip_config.json",), ("*.safetensors", "*.bin", "*.pth"))
LANGUAGE_FILES: tuple[Alternatives, ...] = (
    ("config.json",),
    ("model.safetensors", "model.safetensors.index.json"),
    ("tokenizer.json", "vocab.json"),
    ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json"),
)

_WHOLE_BYTES = 128 << 20
_EDGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that has all the files of one model, and the revision that these files are."""

    name: str
    path: Path
    revision: str


def is_folder_name(name: str) -> bool:
    """A name that begins with `.`, `/` or `~` is a folder; every other is a repository on the hub."""
    return name.startswith((".", "/", "~"))


def find_model(
    name: str, needed: Sequence[Alternatives], *, revision: str = "", base: Path | None = None
) -> ModelFolder:
    """Find a model's files on this machine.

    Args:
        name: a folder (see `is_folder_name`; relative to `base`), or the name of a repository on the hub, whose
            snapshot must be in the local cache.
        needed: what the folder must hold.
        revision: what the files must be: a commit, branch or tag of the hub, or a folder's fingerprint. "" for any.

    Raises:
        MissingModel: there is no such folder or snapshot, or it is not complete.
        ModelMismatch: the folder holds another revision.
    """
    if not is_folder_name(name):
        return _cached(name, needed, revision)
    path = _local(name, base)
    _check_complete(name, path, needed)
    found = _downloaded_revision(path) or fingerprint(path)
    if revision and found != revision:
        raise ModelMismatch(
            f"{path} holds revision {found}, not {revision}: put that revision there or correct the preset."
        )
    return ModelFolder(name, path, found)


def missing_files(name: str, needed: Sequence[Alternatives], *, revision: str = "", base: Path | None = None) -> str:
    """Why a model can't be loaded here, in one sentence; "" if it can."""
    try:
        find_model(name, needed, revision=revision, base=base)
    except (MissingModel, ModelMismatch) as error:
        return str(error)
    return ""


def fingerprint(folder: Path) -> str:
    """16 hex digits that change with a model's configuration or weights.

    Files over 128 MiB count with their size and their first and last MiB: the first holds the names and shapes of the
    tensors, and hashing 15 GB would take longer than loading them.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".json", ".safetensors", ".bin", ".pth", ".jinja"):
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}\n".encode())
        with path.open("rb") as file:
            if size <= _WHOLE_BYTES:
                digest.update(file.read())
            else:
                digest.update(file.read(_EDGE_BYTES))
                file.seek(-_EDGE_BYTES, 2)
                digest.update(file.read())
    return digest.hexdigest()[:16]


def _local(name: str, base: Path | None) -> Path:
    path = Path(name).expanduser()
    path = path if path.is_absolute() else (base or Path.cwd()) / path
    return path.resolve()


def _check_complete(name: str, path: Path, needed: Sequence[Alternatives]) -> None:
    if not path.is_dir():
        raise MissingModel(
            f"there is no folder {path} for the model {name!r}: put the model there or correct the preset."
        )
    lacking = [group for group in needed if not any(next(path.glob(pattern), None) for pattern in group)]
    if lacking:
        files = ", ".join(" or ".join(group) for group in lacking)
        raise MissingModel(f"the model folder {path} lacks {files}: put the missing files there.")


def _cached(name: str, needed: Sequence[Alternatives], revision: str) -> ModelFolder:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    wanted = f" --revision {revision}" if revision else ""
    cure = (
        f"fetch it once with `hf download {name}{wanted}` where there is a network, or name a folder that holds it in a"
        " copy of the preset (vidmem never downloads by itself)."
    )
    files = ", ".join(" or ".join(group) for group in needed)
    try:
        path = Path(snapshot_download(name, revision=revision or None, local_files_only=True))
        _check_complete(name, path, needed)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, MissingModel) as error:
        raise MissingModel(
            f"the model {name} is not in {constants.HF_HUB_CACHE} (looked for {files}): {cure}"
        ) from error
    return ModelFolder(name, path, path.name)


def _downloaded_revision(path: Path) -> str:
    """The hub commit that `hf download --local-dir` noted beside the files; "" if it did not make this folder."""
    for note in sorted((path / ".cache" / "huggingface" / "download").glob("*config.json.metadata")):
        lines = note.read_text(encoding="utf-8").splitlines()
        if lines:
            return lines[0].strip()
    return ""


def repository_of(architecture: str, tag: str) -> str:
    """The hub repository that open_clip names for an architecture and a tag. Raises BadInput if it names none."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    entry = get_pretrained_cfg(architecture, tag)
    repository = str(entry.get("hf_hub", "")).strip("/")
    if not repository:
        tags = ", ".join(list_pretrained_tags_by_model(architecture)) or "none, for it knows no such architecture"
        raise BadInput(f"open_clip has no weights {tag!r} of {architecture!r} on the hub: its tags are {tags}.")
    return repository
