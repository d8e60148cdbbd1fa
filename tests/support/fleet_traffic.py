"""Views whose batches may go to any worker: what is sent, in rounds, and what it has to come to.

A view is some batches in order. A round holds at most one batch of a view, so that the order of a
view's batches is the same wherever they go; its repetition comes a round later.
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
"""The label of which there are too many values: not the same ones are admitted everywhere."""

GOVERNED_VALUES: Final = 100
"""How many values it has."""

LATE_ENV: Final = "late"
"""The `env` of what is sent when all workers have heard of each other."""

EXCLUDED_LABELS: Final = ("instance", GOVERNED_LABEL)

HEADERS: Final = {"content-type": "application/json"}

CLIENTS: Final = 8


def make_view(number: int, chance: random.Random, begin: int) -> list[Batch]:
    """The three batches of a view of 40 s: startup, heartbeats, a stall, a seek, an error."""

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
    if number % 3 == 0:  # its two ends are in different batches
        middle.append(at(24, "stall_start"))
        last.insert(0, at(24 + stall / 1000, "stall_end", stall_duration=stall))
    if number % 5 == 0:
        middle.insert(2, at(15, "seek", **{"from": 15_000, "to": 15_000, "seek_latency": 40}))
    if number % 7 == 0:
        last.insert(-1, at(35, "error", error_family="network", error_code=str(number % 2)))
    return [tuple(first), tuple(middle), tuple(last)]


def make_rounds(views: int, seed: int, begin: int) -> list[Round]:
    """The batches of many views; of these 10% are sent twice and 5% after the one that follows.

    The last round has the governed values once more, to see which of them are admitted.
    """
    chance = random.Random(seed)
    dealt: list[list[Batch]] = [[], [], [], []]
    for number in range(views):
        batches = make_view(number, chance, begin)
        if chance.random() < 0.05 * len(batches):
            swapped = chance.randrange(len(batches) - 1)
            batches[swapped : swapped + 2] = reversed(batches[swapped : swapped + 2])
        for turn, one in enumerate(batches):
            dealt[turn].append(one)
            if chance.random() < 0.1:
                dealt[turn + 1].append(one)
    dealt.append([(make_late_event(number, begin),) for number in range(2 * GOVERNED_VALUES)])
    return [[batch(*one) for one in turn] for turn in dealt]


def make_late_event(number: int, begin: int) -> dict[str, Any]:
    """An event of the last round."""
    return event(
        at=begin,
        view_id=f"late-{number}",
        env=LATE_ENV,
        app_name=f"app-{number % GOVERNED_VALUES}",
        data={},
    )


def count_with_one_worker(dealt: Sequence[Round]) -> dict[str, float]:
    """What one worker counts that gets all of it and shares nothing."""
    fleet = Fleet(1, shared=False, OPENQOE_FLUSH_INTERVAL="60")
    for turn in dealt:
        for body in turn:
            request = Request("POST", "/v1/events", headers=HEADERS, body=body, received=fleet.now)
            answer = fleet.handle(0, request)
            assert answer.status == 202, answer.body
        fleet.pass_time(1000)
    fleet.close()
    return fleet.counts(EXCLUDED_LABELS)


class Clients:
    """Clients of a service, each request on a connection of its own, so that any worker may get it.

    Args:
        *services: Where it runs; each in turn.

    Attributes:
        refused: The answers that were not 202.
        slowest: Seconds that an answer took at the most.
    """

    def __init__(self, *services: WorkerProcess) -> None:
        self._services = services
        self._lock = threading.Lock()
        self.refused: list[str] = []
        self.slowest = 0.0

    def send(self, turn: Iterable[bytes]) -> None:
        """Send the batches of a round, in any order; returns when all are answered."""
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
    """The counters and histograms of all workers together, as Prometheus has them."""
    found = prometheus.samples('{__name__=~"openqoe_.+"}')
    return sum_counters(
        ((sorted(one.labels.items()), one.samples[-1][1]) for one in found), EXCLUDED_LABELS
    )


def find_differences(
    counts: Mapping[str, float], truth: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """The series that are not as they should be: what was counted of each, and the truth."""
    both = {series: (counts.get(series, 0), truth.get(series, 0)) for series in {*counts, *truth}}
    return {series: pair for series, pair in sorted(both.items()) if pair[0] != pair[1]}


def find_out_of_bound(
    counts: Mapping[str, float], truth: Mapping[str, float], workers: int
) -> list[tuple[str, float, float]]:
    """The metrics of which something is lost, or counts more often than once for each worker: name,
    truth and count of each."""
    names = {series.partition("{")[0] for series in truth}
    found = [(name, sum_metric(truth, name), sum_metric(counts, name)) for name in sorted(names)]
    return [
        (name, right, told)
        for name, right, told in found
        if not name.endswith("_bucket") and not right <= told <= workers * right
    ]


def sum_metric(counts: Mapping[str, float], name: str) -> float:
    """All series of a metric added up."""
    return round(
        sum(value for series, value in counts.items() if series.startswith(f"{name}{{")), 6
    )
