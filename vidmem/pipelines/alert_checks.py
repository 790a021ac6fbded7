"""What a clip says of a standing question: looked at by the encoder, confirmed by the video-LLM, put into words."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vidmem.index import FrameRow, NewTold, Store, StoredAlert
from vidmem.pipelines.confirming import Queries, Query, leaning
from vidmem.pipelines.sight import Clue, Look, Sight, Step, clue_of, confirmed, is_due, passed, refused
from vidmem.types import Hit, VideoId

if TYPE_CHECKING:
    from vidmem.pipelines.loading import Models

_FRAMES_AT_ONCE = 256

Said = dict[tuple[str, tuple[int, ...]], float]
"""What the video-LLM said of one clip, in nats: by the name of a thing, and the frames that it was shown."""


@dataclass(slots=True)
class Asked:
    """A standing question that is being checked."""

    alert: StoredAlert
    sight: Sight
    num_told: int = 0


class CommittedClip(NamedTuple):
    """The frames of a committed clip, with their embeddings (F, C)."""

    rows: Sequence[FrameRow]
    vectors: np.ndarray

    @property
    def end(self) -> float:
        return self.rows[-1].end_seconds


class Change(NamedTuple):
    """What a clip changed of a question, and what that is told, if anything."""

    asked: Asked
    step: Step
    new: NewTold | None


class Checks:
    """Checks clips of one stream. Reads the store and runs the models; changes nothing."""

    def __init__(self, store: Store, models: Models, video_id: VideoId, source: str) -> None:
        """`source` is the stream's shown address."""
        self._store, self._models, self._video_id, self._source = store, models, video_id, source
        self._make: Queries | None = None
        self._queries: dict[str, Query] = {}

    def clips(self, start: float) -> list[CommittedClip]:
        """The next clips that are committed, from a time on; none if there are none."""
        pts, vectors = self._store.embeddings(self._video_id, start=start, limit=_FRAMES_AT_ONCE)
        if not len(pts):
            return []
        end = float(np.nextafter(pts[-1], np.inf))
        rows = {row.pts_seconds: row for row in self._store.frames_between(self._video_id, float(pts[0]), end)}
        found = [(rows[seconds], index) for index, seconds in enumerate(pts.tolist()) if seconds in rows]
        groups = [list(group) for _, group in itertools.groupby(found, key=lambda entry: entry[0].clip_id)]
        if len(groups) > 1 and len(pts) == _FRAMES_AT_ONCE:
            groups.pop()  # the last one may go on
        return [CommittedClip([row for row, _ in group], vectors[[index for _, index in group]]) for group in groups]

    def change(self, asked: Asked, clip: CommittedClip, said: Said) -> Change:
        """What a clip says of a question. `said` holds what was said of the clip until now, and gets what is said."""
        alert, sight = asked.alert, asked.sight
        look = self._look(alert.phrase, clip)
        clue = clue_of(sight, look)
        if clue is None or not is_due(sight, clue):
            return Change(asked, Step(passed(sight, look, clue)), None)
        key = (alert.phrase, clue.frames)
        if key not in said:
            said[key] = self._says(alert.phrase, clip, clue)
        if not clue.is_so(said[key]):
            return Change(asked, Step(refused(sight, look, clue)), None)
        step = confirmed(sight, look, clue, alert.gone_seconds)
        is_told = step.is_told and clue.change == alert.change
        return Change(asked, step, self._new_told(alert, clip, look, clue) if is_told else None)

    def _look(self, phrase: str, clip: CommittedClip) -> Look:
        if self._make is None:
            self._make = Queries(self._models.encoder, self._models.preset)
        if phrase not in self._queries:
            self._queries[phrase] = self._make.of(phrase)
        starts = np.array([row.pts_seconds for row in clip.rows])
        return self._queries[phrase].look(starts, np.array([row.end_seconds for row in clip.rows]), clip.vectors)

    def _says(self, phrase: str, clip: CommittedClip, clue: Clue) -> float:
        rows = [clip.rows[index] for index in clue.frames]
        tokens = self._store.load_tokens([row.frame_id for row in rows])
        seconds = [row.pts_seconds - clip.rows[0].pts_seconds for row in rows]
        return leaning(self._models.language, phrase, seconds, tokens)

    def _new_told(self, alert: StoredAlert, clip: CommittedClip, look: Look, clue: Clue) -> NewTold:
        clock = self._store.stream_clock(self._video_id)
        wall: Callable[[float], float | None] = clock.wall_at if clock is not None else lambda _: None
        evidence = Hit(
            video_id=self._video_id,
            source=self._source,
            start=clue.at,
            end=clip.end,
            score=float(look.scores[clue.best]),
            rank=1,
            store="working",
            thumbnail=clip.rows[clue.best].thumbnail_path,
            verification="confirmed",
            why="came back" if alert.comes_back else _VERBS[alert.change],
            wall_start=wall(clue.at),
            wall_end=wall(clip.end),
        )
        return NewTold(alert.alert_id, _message(alert, evidence), evidence)


_VERBS = {"appears": "appeared", "disappears": "was gone"}


def _message(alert: StoredAlert, evidence: Hit) -> str:
    """`A dog appeared at 14:05:03.`, with the date if that is not today."""
    phrase = alert.phrase
    if alert.change == "disappears" or alert.comes_back:
        phrase = f"the {phrase.removeprefix('an ').removeprefix('a ')}"
    when = ""
    if evidence.wall_start is not None:
        moment = datetime.fromtimestamp(evidence.wall_start)
        when = f" at {moment:%H:%M:%S}" if moment.date() == datetime.now().date() else f" at {moment:%Y-%m-%d %H:%M:%S}"
    return f"{phrase[0].upper()}{phrase[1:]} {evidence.why}{when}."
