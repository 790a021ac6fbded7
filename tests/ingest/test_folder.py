"""Which files of a folder are videos."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidmem.errors import BadInput, NotFound
from vidmem.ingest.folder import videos_in


def test_videos_are_found_within_and_nothing_else(tmp_path: Path) -> None:
    names = ["b.mp4", "a/c.MKV", "a/d.ts", "e.txt", ".hidden.mp4", "s.vidmem/media/f.mp4", "g.jpg", "sound.mp3"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.mp4").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in videos_in(tmp_path)] == ["a/c.MKV", "a/d.ts", "b.mp4"]


def test_a_folder_without_videos_and_one_that_is_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no file"):
        videos_in(tmp_path)
    with pytest.raises(NotFound, match="is no folder"):
        videos_in(tmp_path / "gone")
