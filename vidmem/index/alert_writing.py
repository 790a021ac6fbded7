"""How standing questions come into a store, are told, and leave it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from vidmem.index.alert_reading import alert_of
from vidmem.index.alert_rows import AlertRows
from vidmem.index.alerts import AlertId, AlertRow, NewTold, StoredAlert, Told, ToldId
from vidmem.index.object_writing import ObjectWriter
from vidmem.types import VideoId


class AlertWriter(ObjectWriter):
    """The standing questions' part of a `Store`. What it raises and leaves is what `Store` says of every method."""

    def add_alert(self, alert: AlertRow) -> StoredAlert:
        """Put a question; the one that is there, if it was put in the same words about the same stream and is open."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                rows = AlertRows.made(catalogue)
                there = rows.find_open(alert.text, alert.source)
                row = rows.find(rows.add(alert) if there is None else there)
        assert row is not None
        return alert_of(row)

    def remove_alert(self, alert_id: AlertId) -> StoredAlert:
        """Forget a question with all that it was told; returns it as it was. Raises NotFound."""
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                rows = self._alert_rows(catalogue, alert_id)
                row = rows.find(alert_id)
                rows.remove(alert_id)
        assert row is not None
        return alert_of(row)

    def note_checked(
        self, video_id: VideoId, until: float, sights: Mapping[AlertId, str], told: Sequence[NewTold] = ()
    ) -> list[Told]:
        """Commit how far a stream was checked, and what was told of it. All of it, or nothing.

        Args:
            sights: what is known by then of each question that is open.
            told: a question that is to be told once is done with it; one that was removed meanwhile is not told.

        Raises NotFound.
        """
        kept = []
        with self._write_lock:
            self._check_writable()
            with self._transaction(write=True) as catalogue:
                self._check_known(catalogue, video_id)
                rows = AlertRows.made(catalogue)
                rows.set_progress(video_id, until, sights)
                for one in told:
                    row = rows.find(one.alert_id)
                    if row is None:
                        continue
                    alert = alert_of(row)
                    evidence = json.dumps(asdict(one.evidence))
                    number, told_at = rows.add_told(one.alert_id, video_id, one.message, evidence)
                    kept.append(Told(ToldId(number), one.alert_id, alert.text, one.message, told_at, one.evidence))
                    if alert.once:
                        rows.end(one.alert_id)
        return kept
