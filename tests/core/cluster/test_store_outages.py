"""Outages and resets of the shared store: the error of the counts stays bounded."""

import random

import pytest

from openqoe.core.cluster import shared_views
from openqoe.core.http.messages import Request
from tests.support.event_builders import NOW
from tests.support.fleet import Fleet
from tests.support.fleet_traffic import (
    EXCLUDED_LABELS,
    HEADERS,
    count_with_one_worker,
    find_out_of_bound,
    make_rounds,
)
from tests.support.memory_store import MemoryStore
from tests.support.rig import MINUTE, SECOND, player_event

VIEWS = 25
WORKERS = 3


def run_fleet(seed: int, *, patience: int, outage: float = 0.0, reset: float = 0.0) -> bool:
    """Run a fleet with random outages and resets of its store, and assert the bound of the error.

    Args:
        seed: Seed of the traffic and the faults.
        patience: OPENQOE_KV_PATIENCE, in s.
        outage: Probability before each batch that an outage of the store begins or ends.
        reset: Probability before each batch that the store is emptied.

    Returns:
        Whether all counts are exact.
    """
    chance = random.Random(seed)
    rounds = make_rounds(VIEWS, seed, begin=NOW - MINUTE)
    fleet = Fleet(
        WORKERS,
        OPENQOE_KV_PATIENCE=str(patience),
        OPENQOE_KV_SYNC_INTERVAL="1",
        OPENQOE_FLUSH_INTERVAL="60",
    )
    for turn in rounds:
        for body in chance.sample(turn, len(turn)):
            if chance.random() < outage:
                fleet.store_is_down = not fleet.store_is_down
            if chance.random() < reset:
                fleet.store = MemoryStore(lambda: fleet.now)
            if chance.random() < 0.05:
                fleet.pass_time(chance.choice([SECOND // 2, 3 * SECOND]))
            request = Request(
                "POST", "/v1/events", headers=HEADERS, body=body, first_byte_at=fleet.now
            )
            assert fleet.handle(chance.randrange(WORKERS), request).status == 202
        fleet.pass_time(SECOND)
    fleet.store_is_down = False
    fleet.pass_time(MINUTE)
    fleet.close()
    counts, truth = fleet.counts(EXCLUDED_LABELS), count_with_one_worker(rounds)
    assert find_out_of_bound(counts, truth, WORKERS) == []
    return counts == truth


@pytest.mark.parametrize("seed", range(2))
def test_counts_are_exact_while_the_store_is_available(seed: int) -> None:
    assert run_fleet(seed, patience=30)


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_exact_when_outages_are_shorter_than_the_patience(seed: int) -> None:
    assert run_fleet(seed, patience=3600, outage=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_error_is_bounded_when_outages_exceed_the_patience(
    seed: int,
) -> None:
    run_fleet(seed, patience=1, outage=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_error_is_bounded_when_the_store_is_emptied(seed: int) -> None:
    run_fleet(seed, patience=1, outage=0.02, reset=0.02)


def test_time_outs_that_wait_for_the_store_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_views, "MAX_TIMEOUTS", 5)
    fleet = Fleet(2, OPENQOE_KV_PATIENCE="3600", OPENQOE_VIEW_TIMEOUT="60")
    for number in range(20):
        fleet.post(0, player_event(0, "quartile", 15.0, view=f"view-{number}", quartile=25))
    fleet.pass_time(MINUTE // 2)
    fleet.store_is_down = True
    fleet.pass_time(5 * MINUTE)
    coordinator = fleet.workers[0]._components.coordinator
    assert coordinator is not None
    assert 0 < len(coordinator._views.capture_timeouts()) <= 5
    fleet.store_is_down = False
    fleet.pass_time(5 * MINUTE)
    fleet.close()
    name = "openqoe_completion_rate_count"
    assert sum(n for series, n in fleet.counts().items() if series.startswith(name)) == 20


def test_worker_is_not_polled_without_pause_while_the_store_is_away() -> None:
    fleet = Fleet(1)
    fleet.store_is_down = True
    for _ in range(60):  # in some of them an attempt is allowed, but there is nothing to send
        fleet.pass_time(1_000)
        due = fleet.workers[0].next_poll()
        assert due is not None
        assert due > fleet.now
