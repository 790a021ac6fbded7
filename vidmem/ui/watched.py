"""What is known of the open video: its timeline as far as it was watched, and questions that fit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidmem.index import StoredVideo
from vidmem.pipelines import RememberedObject, Scene
from vidmem.types import Span, format_time
from vidmem.ui.session import Opened, Session
from vidmem.ui.timeline import Followed, lanes_of, timeline

NUM_QUESTIONS = 4


@dataclass(frozen=True, slots=True)
class Watched:
    """What a page shows of a video that something was watched of."""

    stamp: str
    """Another one as soon as there is more to show."""
    timeline: dict[str, Any]
    questions: tuple[str, ...]


def stamp_of(session: Session, opened: Opened, video: StoredVideo) -> str:
    """What changes with what there is to show; costs nothing."""
    over = sum(state.is_over for state in session.jobs.states(store=opened.store))
    return f"{video.key} {video.num_frames} {video.is_finished} {over}"


def watched(session: Session, opened: Opened, video: StoredVideo) -> Watched:
    """Raises NotFound if the video was removed."""
    stamp = stamp_of(session, opened, video)
    with session.store(opened.store).look() as memory:
        scenes = memory.scenes(video.video_id)
        objects = memory.objects(video=video.video_id)
        gaps = [Span(gap.start, gap.end) for gap in memory.gaps(video.video_id)]
    seconds = video.duration_seconds or video.committed_until
    followed = [Followed(one.label or f"Object {one.object_id}", one.spans, one.thumbnail) for one in objects]
    lanes = lanes_of(seconds, scenes=scenes, objects=followed, gaps=gaps)
    shown = timeline(seconds, lanes, hours=video.has_hours) | {"key": f"{opened.store} {video.video_id}"}
    return Watched(stamp, shown, questions_for(session, opened, scenes, objects, hours=video.has_hours))


def questions_for(
    session: Session,
    opened: Opened,
    scenes: Sequence[Scene],
    objects: Sequence[RememberedObject],
    *,
    hours: bool,
) -> tuple[str, ...]:
    """Questions that this video can answer: those written for a sample, then by its objects, then by its times."""
    for sample in session.samples:
        if sample.path == Path(opened.source):
            return sample.questions[:NUM_QUESTIONS]
    labels = list(dict.fromkeys(one.label for one in objects if one.label))
    forms = ("When did the {} appear?", "Where is the {}?", "How long was the {} there?")
    asked = [form.format(label) for form, label in zip(forms, labels * len(forms), strict=False)] if labels else []
    middles = [scene.shown_at for scene in sorted(scenes, key=lambda scene: scene.start - scene.end)[:2]]
    asked += [f"What was there at {format_time(seconds, hours=hours)}?" for seconds in sorted(middles)]
    return (*asked, "What appears at the end?")[:NUM_QUESTIONS]
