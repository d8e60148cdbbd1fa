"""Backoff: waits grow, are capped and jittered, and are the same in every replay."""

import pytest

from openqoe.core.delivery.backoff import backoff


@pytest.mark.parametrize(
    ("failures", "step"),
    [
        (1, 1_000),
        (2, 2_000),
        (3, 4_000),
        (6, 32_000),
        (7, 60_000),
        (8, 60_000),
        (1_000, 60_000),
        (10**9, 60_000),
    ],
)
def test_wait_is_half_to_all_of_doubling_capped_step(failures: int, step: int) -> None:
    waits = [backoff(failures, seed=1, destination="loki", counter=n) for n in range(500)]
    assert step / 2 <= min(waits) <= step * 0.55
    assert step * 0.95 <= max(waits) <= step
    assert abs(sum(waits) / len(waits) - step * 0.75) < step * 0.03


def test_equal_inputs_give_equal_wait() -> None:
    def wait(*, seed: int = 1, destination: str = "loki", counter: int = 3) -> int:
        return backoff(7, seed=seed, destination=destination, counter=counter)

    assert wait() == wait()
    assert len({wait(), wait(seed=2), wait(destination="mimir"), wait(counter=4)}) == 4
