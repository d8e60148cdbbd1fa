"""Limits of keys that several workers share: each applies its part."""

from openqoe.core.access.api_key import ApiKey, Rate, Scope
from openqoe.core.access.key_limits import DAY, KeyLimits
from tests.support.event_builders import NOW

BATCH = 10
DAY_BEGIN = NOW // DAY * DAY


def key(rate: Rate | None = None, quota: int | None = None) -> ApiKey:
    return ApiKey(b"digest", "web", frozenset({Scope.INGEST}), None, rate, quota)


def admitted(limits: KeyLimits, limited: ApiKey, seconds: int) -> int:
    """The events that a worker admits of a flood of batches, ten a second."""
    events = 0
    for at in range(NOW, NOW + seconds * 1000, 100):
        if not limits.wait(limited, at):
            limits.spend(limited, BATCH, at)
            events += BATCH
    return events


def test_workers_together_admit_the_rate_the_burst_and_a_batch_each() -> None:
    limited, workers = key(Rate(40, 200)), 4
    parts = [admitted(KeyLimits([], workers), limited, 60) for _ in range(workers)]
    together = 40 * 60 + 200
    assert together - BATCH * workers <= sum(parts) <= together + BATCH * workers


def test_worker_that_gets_everything_admits_its_part_only() -> None:
    part = (40 * 60 + 200) / 4
    assert abs(admitted(KeyLimits([], 4), key(Rate(40, 200)), 60) - part) <= BATCH


def test_quota_of_a_worker_is_its_part() -> None:
    limited, limits = key(quota=100), KeyLimits([], 4)
    limits.count(limited, 24, DAY_BEGIN)
    assert not limits.is_over_quota(limited, DAY_BEGIN)
    limits.count(limited, 1, DAY_BEGIN)
    assert limits.is_over_quota(limited, DAY_BEGIN)


def test_part_of_a_small_limit_admits_something() -> None:
    limited, limits = key(Rate(1, 1), quota=2), KeyLimits([], 16)
    assert limits.wait(limited, NOW) == 0
    assert not limits.is_over_quota(limited, NOW)
