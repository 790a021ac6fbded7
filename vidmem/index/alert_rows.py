"""The catalogue's rows of standing questions. A catalogue to which none was put does not have their tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, fields

from vidmem.index.alerts import AlertId, AlertRow
from vidmem.index.catalogue import Catalogue, now
from vidmem.index.schema import ALERTS

_ASKED = ", ".join(field.name for field in fields(AlertRow))
_ALERT = (
    f"SELECT {_ASKED}, alert_id, asked_at, is_done,"
    " (SELECT count(*) FROM alerts_told AS t WHERE t.alert_id = alerts.alert_id) FROM alerts"
)


class AlertRows:
    """Queries on the standing questions of one open catalogue. Each runs inside the `transaction` of its caller."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._run = catalogue.connection.execute

    @classmethod
    def of(cls, catalogue: Catalogue) -> AlertRows | None:
        """None if the catalogue has no such tables. Asked anew each time: another process may make them."""
        query = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'alerts'"
        return cls(catalogue) if catalogue.connection.execute(query).fetchone()[0] else None

    @classmethod
    def made(cls, catalogue: Catalogue) -> AlertRows:
        """With the tables, which are made if they are not there, in the caller's writing transaction."""
        rows = cls.of(catalogue)
        if rows is None:
            rows = cls(catalogue)
            for statement in ALERTS:
                rows._run(statement)
        return rows

    def add(self, alert: AlertRow) -> int:
        """Returns its id."""
        marks = ", ".join("?" * len(fields(AlertRow)))
        cursor = self._run(f"INSERT INTO alerts ({_ASKED}, asked_at) VALUES ({marks}, ?)", (*astuple(alert), now()))
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def alerts(self) -> list[tuple]:
        """Columns of `AlertRow`, then (alert_id, asked_at, is_done, number told), in the order they were asked."""
        return self._run(f"{_ALERT} ORDER BY alert_id").fetchall()

    def find(self, alert_id: int) -> tuple | None:
        """Columns as `alerts` has them."""
        return self._run(f"{_ALERT} WHERE alert_id = ?", (alert_id,)).fetchone()

    def find_open(self, text: str, source: str | None) -> int | None:
        """Id of the question in these words about this stream that is not done."""
        row = self._run(
            "SELECT alert_id FROM alerts WHERE text = ? AND source IS ? AND NOT is_done", (text, source)
        ).fetchone()
        return row[0] if row else None

    def remove(self, alert_id: int) -> None:
        """Remove a question with all that it was told."""
        self._run("DELETE FROM alerts WHERE alert_id = ?", (alert_id,))

    def end(self, alert_id: int) -> None:
        self._run("UPDATE alerts SET is_done = 1 WHERE alert_id = ?", (alert_id,))

    def add_told(self, alert_id: int, video_id: str, message: str, evidence: str) -> tuple[int, str]:
        """Returns its id, and when it was told."""
        told_at = now()
        cursor = self._run(
            "INSERT INTO alerts_told VALUES (NULL, ?, ?, ?, ?, ?)", (alert_id, video_id, told_at, message, evidence)
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid, told_at

    def told(self, alert_id: int | None, limit: int) -> list[tuple]:
        """Columns (told_id, alert_id, text, message, told_at, evidence) of the newest, oldest first."""
        chosen, values = ("WHERE alert_id = ?", [alert_id]) if alert_id is not None else ("", [])
        rows = self._run(
            "SELECT told_id, alert_id, text, message, told_at, evidence FROM alerts_told JOIN alerts USING (alert_id)"
            f" {chosen} ORDER BY told_id DESC LIMIT ?",
            (*values, limit),
        ).fetchall()
        return rows[::-1]

    def progress(self, video_id: str) -> float | None:
        row = self._run("SELECT checked_until FROM alert_progress WHERE video_id = ?", (video_id,)).fetchone()
        return row[0] if row else None

    def sights(self, video_id: str) -> dict[int, str]:
        return dict(self._run("SELECT alert_id, sight FROM alert_sights WHERE video_id = ?", (video_id,)).fetchall())

    def set_progress(self, video_id: str, until: float, sights: Mapping[AlertId, str]) -> None:
        """`sights` of questions that were removed meanwhile are left out."""
        self._run("INSERT OR REPLACE INTO alert_progress VALUES (?, ?)", (video_id, until))
        for alert_id, sight in sights.items():
            self._run(
                "INSERT OR REPLACE INTO alert_sights SELECT alert_id, ?, ? FROM alerts WHERE alert_id = ?",
                (video_id, sight, alert_id),
            )
