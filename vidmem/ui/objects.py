"""Objects: point at something on a paused frame, have it followed, and see where it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from vidmem.errors import BadInput, StoreCorrupt, VidmemError
from vidmem.index import Track
from vidmem.pipelines import RememberedObject, StoredMemory, VideoMemory
from vidmem.types import format_time
from vidmem.ui import object_view
from vidmem.ui.drawn import drawn
from vidmem.ui.jobs import Tell, sentence
from vidmem.ui.object_view import Seen
from vidmem.ui.player import player
from vidmem.ui.session import Opened, Session
from vidmem.ui.shell import QUIET, Shell, failed, note

_SECONDS = 0.7


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody points at, in fractions of the frame."""

    at: float
    box: tuple[float, float, float, float] | None
    point: tuple[float, float] | None
    label: str

    @classmethod
    def of(cls, told: dict[str, Any]) -> Asked:
        """Out of what the page tells. Raises BadInput if that is not what it should be."""
        try:
            box, point = told.get("box"), told.get("point")
            sides = None if box is None else tuple(float(side) for side in box)
            place = None if point is None else tuple(float(one) for one in point)
            if (sides is None) == (place is None) or len(sides or place or ()) != (2 if sides is None else 4):
                raise ValueError(told)
            return cls(float(told["at"]), sides, place, str(told.get("label") or ""))  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput("nothing is marked on the frame: draw a box over the object, or click on it") from error


@dataclass(frozen=True)
class _Drawn:
    """What a page shows already, so that only what is new is looked up and sent to it."""

    opened: Opened | None = None
    seen: Sequence[Seen] = ()
    view: dict[str, Any] | None = None
    player: dict[str, Any] | None = None


def lay_out(shell: Shell) -> None:
    session, previews, known = shell.session, shell.previews, gr.State(_Drawn())
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            said = gr.HTML(elem_id="objects-said")
            shown = player("objects-player", "No video is open. Pick one in the Library.")
        with gr.Column(scale=4, min_width=320):
            view = drawn("object_view", "objects")
    timer = shell.timer("objects", _SECONDS)

    def draw(opened: Opened | None, before: _Drawn) -> dict[Any, Any]:
        """What is other than it was."""
        try:
            now = _now(session, opened, before, previews.of(opened))
        except VidmemError as error:
            return {said: failed(sentence(error))}
        changes: dict[Any, Any] = {said: _noted(now), known: now}
        if now.view != before.view:
            changes[view] = gr.HTML(value=now.view)
        if now.player != before.player:
            changes[shown] = now.player
        return changes

    def do(opened: Opened | None, before: _Drawn, event: gr.EventData) -> dict[Any, Any]:
        told = dict(event._data)
        if before.opened != opened:  # what was pointed at is of the video before
            return draw(opened, before)
        try:
            _DOING[str(told.get("do"))](session, opened, told)
        except Exception as error:
            return {said: failed(sentence(error))}
        return draw(opened, before)

    reads, writes = [shell.opened, known], [said, view, shown, known]
    for looking in (timer.tick, shell.panes["objects"].select):
        looking(draw, reads, writes, **QUIET)
    view.select(do, reads, writes, **QUIET)


def _noted(now: _Drawn) -> str:
    if now.opened is not None and now.view is None:
        return note("Objects can be followed once vidmem has begun to watch this video.")
    return ""


def _now(session: Session, opened: Opened | None, before: _Drawn, player: dict[str, Any]) -> _Drawn:
    video = session.video(opened)
    if opened is None or video is None:
        return _Drawn(opened, player=player)
    known = {one.remembered: one for one in before.seen}
    with session.store(opened.store).look() as memory:
        objects = memory.objects(video=video.video_id)
        # A track is long, and others than those that are being followed stay as they are.
        seen = [known.get(one) or Seen(one, _track(memory, one)) for one in objects]
    jobs = [job for job in session.jobs.states(store=opened.store) if job.kind in object_view.NAMES]
    own = [job for job in jobs if (job.phase != "done" or job.is_news) and job.subject == opened.source]
    view = object_view.object_view(seen, own, video=video.video_id, hours=video.has_hours)
    return _Drawn(opened, seen, view, player)


def _track(memory: StoredMemory, one: RememberedObject) -> Track | None:
    """None if it is damaged: the object can still be forgotten, which mends that."""
    try:
        return memory.track_of(one.object_id)
    except StoreCorrupt:
        return None


# -- what a person does --


def _follow(session: Session, opened: Opened | None, told: dict[str, Any]) -> None:
    asked = Asked.of(told)

    def work(memory: VideoMemory, video_id: str, tell: Tell) -> None:
        done = memory.track(
            video_id,
            asked.at,
            box=asked.box,
            point=asked.point,
            in_fractions=True,
            label=asked.label,
            progress=_progress(tell, "Followed"),
        )
        _tell_news(tell, [*object_view.lost(done), *done.notes])

    _submit(session, opened, "follow", work)


def _find(session: Session, opened: Opened | None, told: dict[str, Any]) -> None:
    def work(memory: VideoMemory, video_id: str, tell: Tell) -> None:
        (done,) = memory.find_objects(video_id, progress=_progress(tell, "Looked through"))
        _tell_news(tell, done.notes)

    _submit(session, opened, "find", work)


def _forget(session: Session, opened: Opened | None, told: dict[str, Any]) -> None:
    def work(memory: VideoMemory, video_id: str, tell: Tell) -> None:
        memory.remove_object(int(told["id"]))

    _submit(session, opened, "forget", work)


def _submit(session: Session, opened: Opened | None, kind: str, work: Callable[[VideoMemory, str, Tell], None]) -> None:
    """Do something that writes to the open video. Raises BadInput if none is open."""
    video = session.video(opened)
    if opened is None or video is None:
        raise BadInput("no video is open: pick one in the Library")
    store = session.store(opened.store)
    store.submit(kind, opened.source, lambda memory, tell: work(memory, video.video_id, tell))


def _cancel(session: Session, opened: Opened | None, told: dict[str, Any]) -> None:
    session.jobs.cancel(int(told["id"]))


def _dismiss(session: Session, opened: Opened | None, told: dict[str, Any]) -> None:
    session.jobs.dismiss(int(told["id"]))


_DOING: dict[str, Callable[[Session, Opened | None, dict[str, Any]], None]] = {
    "follow": _follow,
    "find": _find,
    "forget": _forget,
    "cancel": _cancel,
    "dismiss": _dismiss,
}


def _tell_news(tell: Tell, sentences: Sequence[str]) -> None:
    if sentences:
        tell(" ".join(sentences), 1.0, is_news=True)


def _progress(tell: Tell, what: str) -> Callable[[float, float | None], None]:
    def progress(done: float, duration: float | None) -> None:
        of = f" of {format_time(duration)}" if duration else ""
        tell(f"{what} {format_time(done)}{of}", min(done / duration, 1.0) if duration else None)

    return progress
