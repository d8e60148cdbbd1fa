"""An embedded store with contents that a test writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import inf
from pathlib import Path
from typing import Any, Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Page
from openqoe.dashboard.dashboard_api import Api
from openqoe.embedded.sample_schema import FILE, SERIES_LABELS, STREAM_LABELS, open_writer

NOW: Final = 1_760_000_000_000
MINUTE: Final = 60_000

Samples = Iterable[tuple[int, float | None]]
"""Seconds before (negative) or after `NOW`, and values; None is a stale marker."""


class Store:
    """The file, its tables and an API that reads it at `NOW`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.path = folder / FILE
        self.database = open_writer(self.path, full=False)
        self.database.execute("PRAGMA synchronous = OFF")
        self.config = Config.from_environment({"OPENQOE_DATA_DIR": str(folder), **settings})
        self.api = Api(self.config, self.path, clock=lambda: NOW)
        self._rows = 0

    def series(self, name: str, samples: Samples, **labels: str) -> int:
        """A series with its samples."""
        labels.setdefault("instance", "host-0")
        points = sorted((NOW + round(second * 1000), value) for second, value in samples)
        le = None if "le" not in labels else float(labels["le"].replace("+Inf", "inf"))
        self._rows += 1
        row = {
            "name": name,
            "labels": json.dumps(labels, sort_keys=True, separators=(",", ":")),
            **{column: labels.get(column) for column in SERIES_LABELS},
            "le": le,
            "first_seen": points[0][0],
            "last_seen": points[-1][0],
            "hash": self._rows,
        }
        cursor = self.database.execute(
            f"INSERT INTO series ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
            tuple(row.values()),
        )
        assert cursor.lastrowid is not None
        self.database.executemany(
            "INSERT INTO samples VALUES (?, ?, ?)",
            [(cursor.lastrowid, at, value) for at, value in points],
        )
        return cursor.lastrowid

    def histogram(
        self, name: str, observations: Iterable[float], bounds: Iterable[float], **labels: str
    ) -> None:
        """A histogram: empty ten minutes ago, with these observations a minute ago."""
        seen = list(observations)
        for bound in (*bounds, inf):
            count = sum(value <= bound for value in seen)
            le = "+Inf" if bound == inf else f"{bound:g}"
            # A value that does not change is not stored again.
            grown: Samples = [(-600, 0), (-60, count)] if count else [(-600, 0)]
            self.series(f"{name}_bucket", grown, le=le, **labels)
        self.series(f"{name}_sum", [(-600, 0), (-60, sum(seen))], **labels)
        self.series(f"{name}_count", [(-600, 0), (-60, len(seen))], **labels)

    def entry(self, event: Mapping[str, Any], second: float = 0, **labels: str) -> None:
        """An event as a log entry."""
        labels.setdefault("event_type", str(event["event_type"]))
        text = json.dumps(labels, sort_keys=True)
        known = ", ".join(STREAM_LABELS)
        marks = ", ".join("?" * len(STREAM_LABELS))
        self.database.execute(
            f"INSERT OR IGNORE INTO streams (labels, {known}, last_seen) VALUES (?, {marks}, ?)",
            (text, *(labels.get(name) for name in STREAM_LABELS), NOW),
        )
        self._rows += 1
        self.database.execute(
            "INSERT INTO entries (at, stream, event_type, view_id, session_id, viewer_id, "
            "video_id, line, hash) SELECT ?, id, ?, ?, ?, ?, ?, ?, ? FROM streams WHERE labels = ?",
            (
                NOW + round(second * 1000),
                event["event_type"],
                event.get("view_id"),
                event.get("session_id"),
                event.get("viewer_id"),
                (event.get("video") or {}).get("id"),
                json.dumps(event, separators=(",", ":")),
                self._rows,
                text,
            ),
        )

    def video(self, label: str, video_id: str, title: str | None = None, seen: int = NOW) -> None:
        """A video that a governed label stands for."""
        self.database.execute(
            "INSERT INTO videos VALUES (?, ?, ?, ?)", (label, video_id, title, seen)
        )

    def ask(self, question: str, **query: str | int) -> Any:
        """The answer to a question; its status must be 200."""
        page = self.page(question, **query)
        assert page.status == 200, page.body
        return json.loads(page.body)

    def page(self, question: str, **query: str | int) -> Page:
        """The page of a question; `from_` stands for `from`."""
        return self.api.answer(question, {k.rstrip("_"): str(v) for k, v in query.items()})
