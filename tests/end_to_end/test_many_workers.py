"""Four processes behind one port count like one: real shells, a real Redis, a real Prometheus.

They partition the views, or share a store.
"""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.event_builders import NOW
from tests.support.fleet_traffic import (
    GOVERNED_LABEL,
    LATE_ENV,
    Clients,
    count_with_one_worker,
    find_differences,
    make_rounds,
    read_stored_counts,
)
from tests.support.loki_double import LokiDouble
from tests.support.prometheus_server import Prometheus
from tests.support.redis_server import Redis
from tests.support.worker_process import WorkerProcess, gunicorn, serve, uvicorn, with_options

VIEWS = 240
WORKERS = 4
MOST_VALUES = 5

SETTINGS = {
    "CARDINALITY_LIMITS": json.dumps({GOVERNED_LABEL: {"max_cardinality": MOST_VALUES}}),
    "OPENQOE_KV_SYNC_INTERVAL": "0.5",
    "OPENQOE_FLUSH_INTERVAL": "2",
}

WORKERS_OPTION = ("--workers", str(WORKERS))

ASYNCIO = with_options(serve, *WORKERS_OPTION)

FLEETS = {
    "asyncio": (ASYNCIO, False),
    "trio": (with_options(serve, "--shell", "trio", *WORKERS_OPTION), False),
    "gunicorn": (gunicorn("gthread", *WORKERS_OPTION), False),
    "uvicorn": (with_options(uvicorn, *WORKERS_OPTION), False),
    "asyncio with Redis": (ASYNCIO, True),
    "gunicorn with Redis": (gunicorn("gthread", *WORKERS_OPTION), True),
}
"""The hosts, and whether their workers share a store."""


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    return count_with_one_worker(make_rounds(VIEWS, seed=1, begin=NOW - 60_000))


@pytest.mark.parametrize("name", FLEETS)
def test_randomly_distributed_batches_count_as_with_one_worker(
    name: str, truth: dict[str, float], redis: Redis
) -> None:
    command, has_store = FLEETS[name]
    settings = dict(SETTINGS)
    if has_store:
        redis.delete_all()
        settings["OPENQOE_KV_URL"] = redis.url
    with Prometheus() as prometheus, LokiDouble() as loki:
        settings |= {"PROMETHEUS_URL": prometheus.write_url, "LOKI_URL": loki.push_url}
        with WorkerProcess(settings, command=command) as worker:
            clients = Clients(worker)
            *before, last = make_rounds(VIEWS, seed=1, begin=int(time.time() * 1000) - 60_000)
            for turn in before:
                clients.send(turn)
                time.sleep(0.5)
            time.sleep(2)  # until all workers have synchronized
            clients.send(last)
            cardinality = json.loads(worker.request("GET", "/stats")[2])["cardinality"]
            has_rest = worker.stop_and_deliver()
        counts = read_stored_counts(prometheus)
        prometheus.assert_nothing_rejected(copies_allowed=has_rest)
        instances = prometheus.label_values("instance")
        at_first, at_last = admitted(prometheus, "prod"), admitted(prometheus, LATE_ENV)
    assert clients.refused == []
    assert find_differences(counts, truth) == {}
    assert len(loki.entries()) == sum(
        value for series, value in truth.items() if series.startswith("openqoe_events_total")
    )
    assert len(instances) == WORKERS
    assert cardinality[GOVERNED_LABEL] == MOST_VALUES
    assert MOST_VALUES <= len(at_last) <= (MOST_VALUES if has_store else WORKERS * MOST_VALUES)
    assert at_last <= at_first
    assert len(at_first) <= WORKERS * MOST_VALUES


def test_owners_that_die_or_stop_lose_nothing(truth: dict[str, float]) -> None:
    with Prometheus() as prometheus, LokiDouble() as loki:
        settings = SETTINGS | {"PROMETHEUS_URL": prometheus.write_url, "LOKI_URL": loki.push_url}
        with WorkerProcess(settings, command=ASYNCIO) as worker:
            clients = Clients(worker)
            first, second, *others = make_rounds(
                VIEWS, seed=1, begin=int(time.time() * 1000) - 60_000
            )
            clients.send(first)
            killed, stopped = sorted(worker.children())[:2]
            os.kill(stopped, signal.SIGSTOP)
            os.kill(killed, signal.SIGKILL)
            clients.send(second)
            time.sleep(3)
            os.kill(stopped, signal.SIGCONT)
            for turn in others:
                time.sleep(1)
                clients.send(turn)
            time.sleep(1)
            worker.stop_and_deliver()
        counts = read_stored_counts(prometheus)
    assert clients.refused == []
    assert clients.slowest < 5
    assert find_differences(counts, truth) == {}


def admitted(prometheus: Prometheus, env: str) -> set[str]:
    """The governed values that have their own series."""
    found = prometheus.series(f'openqoe_events_total{{env="{env}"}}')
    values = {labels[GOVERNED_LABEL] for labels in found}
    return {value for value in values if not value.startswith("hash_")}
