"""What can be asked of the standing questions of an open store."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from vidmem.errors import NotFound
from vidmem.index.alert_rows import AlertRows
from vidmem.index.alerts import AlertId, AlertProgress, StoredAlert, Told, ToldId
from vidmem.index.catalogue import Catalogue
from vidmem.index.object_reading import ObjectReader
from vidmem.types import Hit, VideoId


class AlertReader(ObjectReader):
    """The standing questions' part of `StoreReader`. A store to which none was put has none."""

    def alerts(self) -> list[StoredAlert]:
        """The standing questions, in the order they were asked."""
        with self._transaction() as catalogue:
            rows = AlertRows.of(catalogue)
            return [alert_of(row) for row in rows.alerts()] if rows is not None else []

    def told(self, alert_id: AlertId | None = None, *, limit: int = 100) -> list[Told]:
        """The newest of what all of them were told, or one was, oldest first."""
        with self._transaction() as catalogue:
            rows = AlertRows.of(catalogue)
            found = rows.told(alert_id, limit) if rows is not None else []
        return [
            Told(ToldId(told_id), AlertId(number), text, message, told_at, _evidence(evidence))
            for told_id, number, text, message, told_at, evidence in found
        ]

    def alert_progress(self, video_id: VideoId) -> AlertProgress | None:
        """How far a stream was checked; None if it never was."""
        with self._transaction() as catalogue:
            rows = AlertRows.of(catalogue)
            until = rows.progress(video_id) if rows is not None else None
            if rows is None or until is None:
                return None
            return AlertProgress(until, {AlertId(number): sight for number, sight in rows.sights(video_id).items()})

    def _alert_rows(self, catalogue: Catalogue, alert_id: AlertId) -> AlertRows:
        """Raises NotFound if there is no such question."""
        rows = AlertRows.of(catalogue)
        if rows is None or rows.find(alert_id) is None:
            raise NotFound(
                f"No standing question {alert_id} in {self.path}: `vidmem alerts {self.path}` lists those there are."
            )
        return rows


def alert_of(row: tuple) -> StoredAlert:
    """Out of the columns of `AlertRows.alerts`."""
    text, phrase, change, comes_back, once, gone_seconds, source, asked_by, alert_id, asked_at, is_done, told = row
    return StoredAlert(
        text, phrase, change, bool(comes_back), bool(once), gone_seconds, source, asked_by,
        AlertId(alert_id), asked_at, bool(is_done), told,
    )  # fmt: skip


def _evidence(text: str) -> Hit:
    hit = Hit(**json.loads(text))
    return hit if hit.thumbnail is None or Path(hit.thumbnail).exists() else replace(hit, thumbnail=None)
