"""What was amiss with a video is told where objects are followed, without a browser and over small random models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from follow_world import add_tracker, write_changing, write_tracker
from random_models import write_preset

from vidmem.ui.limits import Limits
from vidmem.ui.objects import _DOING, _Drawn, _now
from vidmem.ui.session import Opened, Session


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    preset = add_tracker(write_preset(tmp_path / "models"), write_tracker(tmp_path / "sam"), "tracking")
    made = Session([tmp_path / "a.vidmem"], preset=str(preset), limits=Limits((tmp_path,)))
    yield made
    made.close()


def done_jobs(session: Session, opened: Opened, told: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the view, once what a person does is over."""
    _DOING[told["do"]](session, opened, told)
    deadline = time.monotonic() + 120
    while not all(job.is_over for job in session.jobs.states()):
        assert time.monotonic() < deadline, "it never ends"
        time.sleep(0.05)
    view = _now(session, opened, _Drawn(), {}).view
    assert view is not None
    return view["jobs"]


def test_frames_of_another_size_are_told_until_somebody_dismisses_it(session: Session, tmp_path: Path) -> None:
    (store,) = session.stores()
    video = write_changing(tmp_path / "changing.ts")
    session.ingest(store, video).result(120)
    opened = Opened(store.key, str(video))
    (told,) = done_jobs(session, opened, {"do": "follow", "at": 0.0, "box": [0.2, 0.2, 0.3, 0.3], "label": "key"})
    assert (told["phase"], told["over"]) == ("done", True)
    assert "Frames have another size or shape from 00:01.000 on" in told["message"]
    assert done_jobs(session, opened, {"do": "dismiss", "id": told["id"]}) == []
