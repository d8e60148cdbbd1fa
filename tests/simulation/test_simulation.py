"""Acknowledged batches are never lost or counted twice, over hundreds of simulated histories.

More of them: `SIMULATION_SEEDS=100000 python -m pytest tests/simulation`. A seed that fails is
named in the test's id and fails again.
"""

import os
from collections import Counter

import pytest

from tests.simulation.simulated_service import SimulatedService

SEEDS = int(os.environ.get("SIMULATION_SEEDS", "200"))
GROUPS = 5


@pytest.mark.timeout(0 if SEEDS > 10_000 else 300)
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_acknowledged_event_is_counted_and_logged_once(group: int) -> None:
    faults: Counter[str] = Counter()
    for seed in range(group, SEEDS, GROUPS):
        service = SimulatedService(seed)
        try:
            service.run()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        faults += service.faults
    # The histories must contain every kind of fault.
    for kind in (
        *("crashes", "writes failed", "requests failed", "batches sent again", "clock jumps"),
        *("processes started", "processes stopped", "orphans recovered"),
    ):
        assert faults[kind] > 0, kind


def test_seed_reproduces_the_same_history() -> None:
    first, second = SimulatedService(7), SimulatedService(7)
    first.run()
    second.run()
    assert first.faults == second.faults
    assert [one.samples for one in first.environment.receivers.values()] == [
        one.samples for one in second.environment.receivers.values()
    ]
