"""Whatever the shared store does, the bound on the error holds."""

import random

import pytest

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
from tests.support.rig import MINUTE, SECOND

VIEWS = 25
WORKERS = 3


def counted(seed: int, *, patience: int, away: float = 0.0, emptied: float = 0.0) -> bool:
    """Deal batches to a fleet; before each the store may go away or come back, or be emptied.

    Returns whether all numbers are exact; that they are within the bound is asserted.
    """
    chance = random.Random(seed)
    dealt = make_rounds(VIEWS, seed, begin=NOW - MINUTE)
    fleet = Fleet(
        WORKERS,
        OPENQOE_KV_PATIENCE=str(patience),
        OPENQOE_KV_SYNC_INTERVAL="1",
        OPENQOE_FLUSH_INTERVAL="60",
    )
    for turn in dealt:
        for body in chance.sample(turn, len(turn)):
            if chance.random() < away:
                fleet.store_is_down = not fleet.store_is_down
            if chance.random() < emptied:
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
    counts, truth = fleet.counts(EXCLUDED_LABELS), count_with_one_worker(dealt)
    assert find_out_of_bound(counts, truth, WORKERS) == []
    return counts == truth


@pytest.mark.parametrize("seed", range(4))
def test_with_the_store_all_is_exact(seed: int) -> None:
    assert counted(seed, patience=30)


@pytest.mark.parametrize("seed", range(6))
def test_outages_shorter_than_the_patience_change_nothing(seed: int) -> None:
    assert counted(seed, patience=3600, away=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_past_the_patience_nothing_is_lost_and_nothing_counted_more_often_than_once_each(
    seed: int,
) -> None:
    counted(seed, patience=1, away=0.05)


@pytest.mark.parametrize("seed", range(6))
def test_a_store_that_is_emptied_does_no_more_harm(seed: int) -> None:
    counted(seed, patience=1, away=0.02, emptied=0.02)
