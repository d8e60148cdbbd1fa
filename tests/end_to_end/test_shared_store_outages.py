"""Outages of the shared store: players notice nothing, and the counting error stays bounded."""

import json
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.support.event_builders import NOW
from tests.support.fleet_traffic import (
    Clients,
    Round,
    count_with_one_worker,
    find_differences,
    find_out_of_bound,
    make_rounds,
    read_stored_counts,
    sum_metric,
)
from tests.support.prometheus_server import Prometheus
from tests.support.redis_server import Redis
from tests.support.services import wait_until
from tests.support.worker_process import (
    Command,
    WorkerProcess,
    gunicorn,
    serve,
    serve_trio,
    with_options,
)

VIEWS = 100
WORKERS = 3
PROMPT = 2.0
"""Maximum response time in s during outages of the store: a call of it lasts as long."""

SETTINGS = {"OPENQOE_KV_SYNC_INTERVAL": "0.5", "OPENQOE_FLUSH_INTERVAL": "1"}

SERVED = with_options(serve, "--workers", str(WORKERS))
HOSTED = gunicorn("gthread", "--workers", str(WORKERS))


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture(autouse=True)
def empty_store(redis: Redis) -> None:
    redis.delete_all()


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    with Prometheus() as server:
        yield server


@pytest.fixture(scope="module")
def truth() -> dict[str, float]:
    return count_with_one_worker(make_rounds(VIEWS, seed=2, begin=NOW - 60_000))


def fresh_rounds() -> Sequence[Round]:
    return make_rounds(VIEWS, seed=2, begin=int(time.time() * 1000) - 60_000)


def state(worker: WorkerProcess) -> str:
    """The state of the store according to /stats."""
    stats = json.loads(worker.request("GET", "/stats")[2])
    found: str = stats["shared_store"]["state"]
    return found


def all_report(worker: WorkerProcess, *expected: str) -> bool:
    """Whether all processes report one of these states, with high probability."""
    return all(state(worker) in expected for _ in range(12 * WORKERS))


def send_around_outage(
    worker: WorkerProcess, begin_outage: Callable[[], None], end_outage: Callable[[], None]
) -> bool:
    """Send all rounds, with an outage of the store during the second. Return whether samples may
    have been delivered twice at the stop.
    """
    clients, clients_in_outage = Clients(worker), Clients(worker)
    first, second, *rest = fresh_rounds()
    clients.send(first)
    begin_outage()
    clients_in_outage.send(second)
    wait_until(lambda: all_report(worker, "waiting", "alone"), 15, "all to notice")
    wait_until(lambda: worker.read_metric("openqoe_worker_kv_ok") == 0, 5, "the metric to change")
    end_outage()
    wait_until(lambda: all_report(worker, "shared"), 30, "all to reach the store again")
    wait_until(lambda: worker.read_metric("openqoe_worker_kv_ok") == 1, 5, "the metric to change")
    for turn in rest:
        clients.send(turn)
        time.sleep(0.5)
    assert clients.refused == clients_in_outage.refused == []
    assert clients_in_outage.slowest < PROMPT
    has_rest = worker.stop_and_deliver()
    assert worker.log_text().count("shared store is available again") >= 1
    return has_rest


@pytest.mark.parametrize("command", [SERVED, HOSTED], ids=["serve", "gunicorn"])
@pytest.mark.parametrize("outage", ["paused", "full"])
def test_outage_shorter_than_patience_changes_no_number(
    outage: str, command: Command, redis: Redis, prometheus: Prometheus, truth: dict[str, float]
) -> None:
    begin_outage, end_outage = {
        "paused": (redis.pause, redis.resume),
        "full": (redis.exhaust_memory, redis.restore_memory),
    }[outage]
    settings = SETTINGS | {"PROMETHEUS_URL": prometheus.write_url, "OPENQOE_KV_URL": redis.url}
    with WorkerProcess(settings, command=command) as worker:
        has_rest = send_around_outage(worker, begin_outage, end_outage)
        assert "a-secret" not in worker.log_text()
    assert find_differences(read_stored_counts(prometheus), truth) == {}
    prometheus.assert_nothing_rejected(copies_allowed=has_rest)


def test_store_that_restarts_empty_is_republished(
    redis: Redis, prometheus: Prometheus, truth: dict[str, float]
) -> None:
    settings = SETTINGS | {"PROMETHEUS_URL": prometheus.write_url, "OPENQOE_KV_URL": redis.url}
    with WorkerProcess(settings, command=SERVED) as worker:
        has_rest = send_around_outage(worker, redis.stop, redis.start)
        assert "shared store was reset; republishing" in worker.log_text()
    # Nothing is lost; a view seen by several workers counts at most once for each.
    assert find_out_of_bound(read_stored_counts(prometheus), truth, WORKERS) == []
    prometheus.assert_nothing_rejected(copies_allowed=has_rest)


def test_worker_counts_alone_after_patience_expires(
    redis: Redis, prometheus: Prometheus, truth: dict[str, float]
) -> None:
    settings = SETTINGS | {
        "PROMETHEUS_URL": prometheus.write_url,
        "OPENQOE_KV_URL": redis.url,
        "OPENQOE_KV_PATIENCE": "1",
    }
    with WorkerProcess(settings, command=with_options(SERVED, "--shell", "trio")) as worker:
        clients, clients_in_outage = Clients(worker), Clients(worker)
        first, *some, last = fresh_rounds()
        clients.send(first)
        redis.pause()
        for turn in some:
            clients_in_outage.send(turn)
        wait_until(lambda: all_report(worker, "alone"), 15, "all to count alone")
        wait_until(
            lambda: (
                sum_metric(read_stored_counts(prometheus), "openqoe_views_loaded_total") >= VIEWS
            ),
            10,
            "delivery during the outage of the views counted alone",
        )
        assert worker.read_metric("openqoe_worker_kv_batches_alone_total") > 0
        redis.resume()
        wait_until(lambda: all_report(worker, "shared"), 30, "all to reach the store again")
        clients.send(last)
        assert clients.refused == clients_in_outage.refused == []
        assert clients_in_outage.slowest < PROMPT
        has_rest = worker.stop_and_deliver()
    # Nothing is lost; a view seen by several workers counts at most once for each.
    assert find_out_of_bound(read_stored_counts(prometheus), truth, WORKERS) == []
    prometheus.assert_nothing_rejected(copies_allowed=has_rest)


def test_two_hosts_with_different_shells_count_as_one_worker(
    redis: Redis, prometheus: Prometheus, truth: dict[str, float]
) -> None:
    shared = SETTINGS | {"PROMETHEUS_URL": prometheus.write_url, "OPENQOE_KV_URL": redis.url}
    one = WorkerProcess(shared | {"OPENQOE_INSTANCE": "host-a"}, command=HOSTED)
    other = WorkerProcess(shared | {"OPENQOE_INSTANCE": "host-b"}, command=serve_trio)
    with one, other:
        clients = Clients(one, other)
        for turn in fresh_rounds():
            clients.send(turn)
            time.sleep(0.5)
        assert clients.refused == []
        left = one.stop_and_deliver(), other.stop_and_deliver()
    assert find_differences(read_stored_counts(prometheus), truth) == {}
    instances = prometheus.label_values("instance")
    assert {name.partition("-")[0] for name in instances} == {"host"}
    assert {"host-a", "host-b"} <= {name[:6] for name in instances}
    prometheus.assert_nothing_rejected(copies_allowed=any(left))
