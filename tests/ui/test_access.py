"""Who may come in, and which paths may be named."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidmem.errors import BadInput, NotFound
from vidmem.ui.access import Access, read_passwords
from vidmem.ui.limits import Limits


def test_this_machine_needs_no_password_and_any_other_way_in_does() -> None:
    assert Access().passwords is None and Access(host="::1").host and Access(host="localhost").host
    for open_to_all in ({"host": "0.0.0.0"}, {"host": "192.168.1.5"}, {"host": "box.local"}, {"share": True}):
        with pytest.raises(BadInput, match="--auth"):
            Access(**open_to_all)  # type: ignore[arg-type]
        Access(passwords={"ann": "x"}, **open_to_all)  # type: ignore[arg-type]


def test_only_a_name_with_its_own_password_comes_in() -> None:
    access = Access(passwords={"ann": "pâss:word", "bob": "other"})
    assert access.lets_in("ann", "pâss:word")
    for name, password in (("ann", "other"), ("ann", ""), ("eve", ""), ("", ""), ("eve", "other")):
        assert not access.lets_in(name, password)


def test_passwords_are_read_from_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "people"
    path.write_text("# who\n\nann:pâss:word\nbob:other\n", encoding="utf-8")
    path.chmod(0o600)
    assert read_passwords(path) == {"ann": "pâss:word", "bob": "other"}
    path.chmod(0o644)
    with pytest.raises(BadInput, match="chmod 600"):
        read_passwords(path)


@pytest.mark.parametrize("text", ["", "# nobody\n", "ann\n", "ann:\n", ":x\n"])
def test_a_file_that_names_nobody_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "people"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadInput, match="NAME:PASSWORD"):
        read_passwords(path)
    with pytest.raises(NotFound):
        read_passwords(tmp_path / "gone")


def test_paths_stay_within_the_roots_wherever_their_links_lead(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "a.mp4").touch()
    (inside / "link").symlink_to(outside)
    limits = Limits((inside.resolve(),))
    assert limits.path("a.mp4") == inside / "a.mp4" and limits.path(f" {inside}/b/../c.mp4 ") == inside / "c.mp4"
    for text in ("link/a.mp4", "../out/a.mp4", "/etc/passwd", str(outside), f"{inside}x/a.mp4"):
        with pytest.raises(BadInput, match="outside"):
            limits.path(text)
    for text in ("", "  ", "a\0b"):
        with pytest.raises(BadInput, match="no path"):
            limits.path(text)
