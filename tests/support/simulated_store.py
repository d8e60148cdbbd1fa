"""Simulated viewers whose batches go through a worker into an embedded store, and the truth of each
of their views.

The worker runs under a simulated clock on a simulated disk. Nothing sleeps. The worker can crash at
any time: it is then restored from its snapshot and journal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import (
    Append,
    Effect,
    Forget,
    HttpResult,
    LoadPayload,
    LokiPush,
    Persist,
    RemoteWrite,
    StoreViews,
)
from openqoe.embedded.sample_schema import FILE, open_writer
from openqoe.embedded.sample_writer import SampleWriter
from openqoe.simulator import Batch, Expected, Fact, Incident, Period, Simulation
from tests.support.disk import Disk
from tests.support.handling import handle, separate
from tests.support.simulated_viewers import UNLIMITED_LABELS, make_request


class SimulatedStore:
    """A store that is filled by a worker under a simulated clock.

    Args:
        folder: The data directory.
        now: Time at the start, ms.
        settings: Environment variables.

    Attributes:
        config: The settings.
        now: The simulated time, ms.
        truth: The views of all accepted batches, by id and video.
    """

    def __init__(self, folder: Path, now: int, **settings: str) -> None:
        self.now = now
        self.truth: dict[str, ViewTruth] = {}
        self.config = Config.from_environment({**settings, "OPENQOE_DATA_DIR": str(folder)})
        self._disk = Disk()
        self._database = open_writer(folder / FILE, full=False)
        self._database.execute("PRAGMA synchronous = OFF")
        self._tables = SampleWriter(self._database, self.config)
        self._start()

    def send(self, batch: Batch) -> None:
        """Send a batch at its time; it must be accepted in full."""
        self.pass_time(math.ceil(batch.at))
        handled = handle(self._worker, make_request(batch), self.now)
        statuses = [one.status for one in handled.answers.values()] + self._run(handled.effects)
        assert statuses in ([202], [204]), statuses
        if not batch.is_copy:
            for expected in batch.expected:
                self.truth.setdefault(expected.view, ViewTruth()).add(expected)

    def pass_time(self, until: int) -> None:
        """Advance the clock, and poll the worker whenever it is due."""
        while (due := self._worker.next_poll()) is not None and due <= until:
            self.now = max(self.now, due)
            self._run(self._worker.poll(self.now))
        self.now = max(self.now, until)

    def crash(self) -> None:
        """Lose the memory of the worker, and start another one on its disk."""
        self._start()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _start(self) -> None:
        self._worker = self._disk.restore(
            self.config, "simulated-0", 1, self.now, shared=False, budget=1000
        )
        self._run(self._worker.poll(self.now))

    def _run(self, effects: Iterable[Effect]) -> list[int]:
        """Carry out effects; returns the statuses of the answers among those that follow."""
        statuses: list[int] = []
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            match effect:
                case RemoteWrite():
                    self._tables.write_metrics(effect.body)
                case LokiPush():
                    self._tables.write_logs(effect.body, dict(effect.headers)["Content-Type"])
                case StoreViews():
                    self._tables.write_views(effect.body)
                case Append() | Persist() | LoadPayload():
                    done = self._disk.execute(effect)
                    handled = separate(self._worker.complete(effect.id, done, self.now))
                    statuses += [one.status for one in handled.answers.values()]
                    waiting += handled.effects
                    continue
                case Forget():
                    self._disk.execute(effect)
                    continue
                case _:
                    continue
            waiting += self._worker.complete(effect.id, HttpResult(204), self.now)
        return statuses


@dataclass
class ViewTruth:
    """What the model knows of one view.

    Attributes:
        labels: Its labels.
        facts: Those of its events.
        closing: Those that follow if it sends no further event.
        periods: Its states.
    """

    labels: dict[str, str] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    closing: tuple[Fact, ...] = ()
    periods: list[Period] = field(default_factory=list)

    def add(self, expected: Expected) -> None:
        """Add what a batch says of the view."""
        self.labels = dict(expected.labels)
        self.facts += expected.facts
        self.closing = expected.closing
        self.periods += expected.periods

    @property
    def outcome(self) -> str | None:
        """How the view ends; None if play was never requested."""
        found = [fact.own[0][1] for fact in self._all("openqoe_view_outcomes_total")]
        return found[0] if found else None

    def numbers(self) -> dict[str, Any]:
        """The columns of its row, apart from times and ids. All are ms, bit/s or counts."""
        errors = self._all("openqoe_errors_total")
        last_error = dict(errors[-1].own) if errors else {}
        known_s = self._sum("openqoe_bitrate_known_seconds_total")
        starts = self._all("openqoe_video_startup_seconds")
        scores = self._all("openqoe_view_score", part="all")
        ms = {
            "waited_ms": "openqoe_startup_wait_seconds",
            "played_ms": "openqoe_playing_time_seconds",
            "watch_ms": "openqoe_watch_time_seconds",
        }
        stalled = [one for one in self.periods if one.state == "rebuffering"]
        return {
            "outcome": self.outcome,
            "startup_ms": round(starts[0].value * 1000) if starts else None,
            **{name: round(self._sum(metric) * 1000) for name, metric in ms.items()},
            "rebuffers": self._sum("openqoe_rebuffer_events_total", cause="rebuffer"),
            "rebuffer_ms": sum(one.until - one.since for one in stalled),
            "pauses": self._sum("openqoe_pause_events_total"),
            "seeks": self._sum("openqoe_seeks_total"),
            "errors": len(errors),
            "error_family": last_error.get("error_family"),
            "error_code": last_error.get("error_code"),
            "bitrate_avg": round(self._sum("openqoe_bitrate_bits_total") / known_s)
            if known_s
            else None,
            "upshifts": self._sum("openqoe_quality_changes_total", change_direction="upshift"),
            "downshifts": self._sum("openqoe_quality_changes_total", change_direction="downshift"),
            "frames_dropped": self._sum("openqoe_dropped_frames_total"),
            "score": scores[0].value if scores else None,
        }

    def lane(self) -> list[Period]:
        """Its successive states; those in which nothing is shown are "still"."""
        return _merged(self.periods)

    def _all(self, metric: str, **own: str) -> list[Fact]:
        return [
            fact
            for fact in (*self.facts, *self.closing)
            if fact.metric == metric and own.items() <= dict(fact.own).items()
        ]

    def _sum(self, metric: str, **own: str) -> float:
        return math.fsum(fact.value for fact in self._all(metric, **own))


SETTINGS: Final = {
    **UNLIMITED_LABELS,
    "OPENQOE_FLUSH_INTERVAL": "60",
    # Longer than any silence of a viewer, shorter than that at the end.
    "OPENQOE_VIEW_TIMEOUT": "120",
    "OPENQOE_EMBEDDED_MAX_AGE": "900000000",
    # A lane holds what is logged; a request may be the latest record of a view.
    "OPENQOE_CMCD_LOG": "all",
}
LENGTH: Final = 260_000
SILENCE: Final = 300_000
CRASH: Final = 130_000
"""Simulated viewers, the silence after them in which all views end, and the crash, in ms."""


def fill_with_viewers(
    folder: Path, begin: int, *, viewers: int, seed: int, cmcd_viewers: int = 0
) -> SimulatedStore:
    """A store with the views of simulated viewers, all of which have ended. A CDN goes bad on the
    way, and the worker crashes in the middle of most of the views."""
    store = SimulatedStore(folder, begin, **SETTINGS)
    incident = Incident("cdn", 60_000, 180_000, 480_000)
    simulation = Simulation(viewers, seed, begin, (incident,), cmcd_viewers=cmcd_viewers)
    batches = takewhile(lambda one: one.at <= begin + LENGTH, simulation.batches())
    for crashes, group in groupby(batches, lambda one: one.at > begin + CRASH):
        if crashes:
            store.crash()
        for batch in group:
            store.send(batch)
    store.pass_time(begin + LENGTH + SILENCE)
    return store


def interrupted(truth: Mapping[str, ViewTruth], begin: int) -> list[str]:
    """The views during which the worker crashed."""
    at = begin + CRASH
    return [key for key, one in truth.items() if any(p.since < at < p.until for p in one.lane())]


def as_seen(states: Iterable[Mapping[str, Any]]) -> list[Period]:
    """A lane of states with the names of the truth: a viewer sees only that a picture stands still,
    and dash.js does not tell that a video is loaded."""
    names = dict.fromkeys(("paused", "ended", "failed", "left"), "still") | {"unknown": "loaded"}
    return _merged(
        Period(names.get(one["state"], one["state"]), one["since"], one["until"]) for one in states
    )


def _merged(periods: Iterable[Period]) -> list[Period]:
    """Periods without those that are empty, equal neighbours as one."""
    out: list[Period] = []
    for state, since, until in periods:
        if until == since:
            continue
        if out and out[-1].state == state:
            since = out.pop().since
        out.append(Period(state, since, until))
    return out
