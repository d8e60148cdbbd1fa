"""Traffic for several workers: views in rounds, clients that send them, and the expected counts.

A view is a sequence of batches. A round holds at most one batch of a view, so that the order of a
view's batches does not depend on the worker that receives them; a copy follows one round later.
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any, Final

from openqoe.core.http.messages import Request
from tests.support.event_builders import batch, event
from tests.support.fleet import Fleet, sum_counters
from tests.support.prometheus_server import Prometheus
from tests.support.worker_process import WorkerProcess

Batch = tuple[dict[str, Any], ...]
Round = list[bytes]

GOVERNED_LABEL: Final = "app_name"
"""A label with more values than are admitted, so that workers could admit different ones."""

GOVERNED_VALUES: Final = 100
"""Number of values of the governed label."""

LATE_ENV: Final = "late"
"""The `env` of the last round, which is sent when all workers have synchronized."""

EXCLUDED_LABELS: Final = ("instance", GOVERNED_LABEL)

HEADERS: Final = {"content-type": "application/json"}

CLIENTS: Final = 8


def make_view(number: int, chance: random.Random, begin: int) -> list[Batch]:
    """The three batches of a 40 s view: startup, heartbeats, a stall, a seek, an error."""

    def at(second: float, event_type: str, **data: Any) -> dict[str, Any]:
        return event(
            event_type,
            at=begin + int(second * 1000),
            playback_time=int(second * 1000),
            view_id=f"view-{number}",
            session_id=f"session-{number}",
            app_name=f"app-{chance.randrange(GOVERNED_VALUES)}",
            device={"category": ("desktop", "mobile")[number % 2]},
            data=data,
        )

    stall = chance.randrange(200, 4000)
    first = [at(0, "viewstart"), at(0.5, "playing", video_startup_time=chance.randrange(80, 4000))]
    middle = [
        at(10, "heartbeat", playing_time=9_500, dropped_frames=3),
        at(11, "quartile", quartile=25, playing_time=10_500),
        at(20, "heartbeat", playing_time=19_500, dropped_frames=5, bitrate=2_400_000),
    ]
    last = [
        at(30, "heartbeat", playing_time=29_500 - stall, dropped_frames=9),
        at(40, "ended", playing_time=39_500 - stall, completion_rate=1),
    ]
    if number % 3 == 0:  # a stall that starts in one batch and ends in the next
        middle.append(at(24, "stall_start"))
        last.insert(0, at(24 + stall / 1000, "stall_end", stall_duration=stall))
    if number % 5 == 0:
        middle.insert(2, at(15, "seek", **{"from": 15_000, "to": 15_000, "seek_latency": 40}))
    if number % 7 == 0:
        last.insert(-1, at(35, "error", error_family="network", error_code=str(number % 2)))
    return [tuple(first), tuple(middle), tuple(last)]


def make_rounds(views: int, seed: int, begin: int) -> list[Round]:
    """The batches of many views: 10% are sent twice, 5% after the one that follows.

    The last round repeats the governed values, to show which of them are admitted.
    """
    chance = random.Random(seed)
    rounds: list[list[Batch]] = [[], [], [], []]
    for number in range(views):
        batches = make_view(number, chance, begin)
        if chance.random() < 0.05 * len(batches):
            swapped = chance.randrange(len(batches) - 1)
            batches[swapped : swapped + 2] = reversed(batches[swapped : swapped + 2])
        for turn, one in enumerate(batches):
            rounds[turn].append(one)
            if chance.random() < 0.1:
                rounds[turn + 1].append(one)
    rounds.append([(make_late_event(number, begin),) for number in range(2 * GOVERNED_VALUES)])
    return [[batch(*one) for one in turn] for turn in rounds]


def make_late_event(number: int, begin: int) -> dict[str, Any]:
    """An event of the last round."""
    return event(
        at=begin,
        view_id=f"late-{number}",
        env=LATE_ENV,
        app_name=f"app-{number % GOVERNED_VALUES}",
        data={},
    )


def count_with_one_worker(rounds: Sequence[Round]) -> dict[str, float]:
    """The counts of a single worker that receives all rounds and shares no store."""
    fleet = Fleet(1, shared=False, OPENQOE_FLUSH_INTERVAL="60")
    for turn in rounds:
        for body in turn:
            request = Request(
                "POST", "/v1/events", headers=HEADERS, body=body, first_byte_at=fleet.now
            )
            answer = fleet.handle(0, request)
            assert answer.status == 202, answer.body
        fleet.pass_time(1000)
    fleet.close()
    return fleet.counts(EXCLUDED_LABELS)


class Clients:
    """Clients of a service. Each request has its own connection, so that any worker may get it.

    Args:
        *services: The processes of the service, used in turn.

    Attributes:
        refused: The responses other than 202.
        slowest: The longest response time in s.
    """

    def __init__(self, *services: WorkerProcess) -> None:
        self._services = services
        self._lock = threading.Lock()
        self.refused: list[str] = []
        self.slowest = 0.0

    def send(self, turn: Iterable[bytes]) -> None:
        """Send the batches of a round in any order; return when all are answered."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._send, turn, itertools.cycle(self._services)))

    def _send(self, body: bytes, service: WorkerProcess) -> None:
        began = time.monotonic()
        connection = HTTPConnection(service.address, service.port, timeout=30)
        try:
            connection.request("POST", "/v1/events", body=body, headers=HEADERS)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        with self._lock:
            self.slowest = max(self.slowest, time.monotonic() - began)
            if response.status != 202:
                self.refused.append(f"{response.status} {answer.decode()}")


def read_stored_counts(prometheus: Prometheus) -> dict[str, float]:
    """The counters and histograms in Prometheus, summed over all workers.

    Prometheus sums: a fleet writes tens of thousands of series, which take seconds to read.
    """
    found = prometheus.query(
        f"sum without ({','.join(EXCLUDED_LABELS)}) (label_replace("
        'last_over_time({__name__=~"openqoe_.+"}[1h]), "name", "$1", "__name__", "(.+)"))'
    )
    return sum_counters(((_with_name(one.labels), one.value) for one in found), EXCLUDED_LABELS)


def _with_name(labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Sorted labels whose metric name is that in ``name``: a sum has no name of its own."""
    return sorted(("__name__" if key == "name" else key, text) for key, text in labels.items())


def find_differences(
    counts: Mapping[str, float], truth: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """The series whose count differs from the truth: count and truth of each."""
    both = {series: (counts.get(series, 0), truth.get(series, 0)) for series in {*counts, *truth}}
    return {series: pair for series, pair in sorted(both.items()) if pair[0] != pair[1]}


TIMES: Final = (
    "openqoe_watch_time",
    "openqoe_startup_wait",
    "openqoe_video_startup",
    "openqoe_aggregate_startup",
    "openqoe_bitrate_",
    "openqoe_rendition_",
    "openqoe_upscale",
    "openqoe_downscale",
    "openqoe_scale_known",
    "openqoe_frames_expected",
    "openqoe_expected_frames",
    "openqoe_rebuffer",
    "openqoe_view_rebuffer",
    "openqoe_view_score",
    "openqoe_view_outcomes",
    "openqoe_completion_rate",
    "openqoe_reported_startup",
)
"""Beginnings of the names of metrics that follow from the states of a view and their times."""


def find_out_of_bound(
    counts: Mapping[str, float], truth: Mapping[str, float], workers: int
) -> list[tuple[str, float, float]]:
    """The metrics below the truth or above the truth times the number of workers: name, truth and
    count of each.

    What follows from the states of a view may be below the truth: a worker that follows a view
    alone sees only its share of the events, not the play request of another worker for example, and
    a gap between two of them counts for at most 90 s.
    """
    names = {series.partition("{")[0] for series in truth}
    found = [(name, sum_metric(truth, name), sum_metric(counts, name)) for name in sorted(names)]
    return [
        (name, right, counted)
        for name, right, counted in found
        if not name.endswith("_bucket")
        and not (0 if name.startswith(TIMES) else right) <= counted <= workers * right
    ]


def sum_metric(counts: Mapping[str, float], name: str) -> float:
    """The sum over all series of a metric."""
    return round(
        sum(value for series, value in counts.items() if series.startswith(f"{name}{{")), 6
    )
