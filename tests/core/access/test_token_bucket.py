"""Token buckets of keys: the bound that they keep, and that they always recover."""

from itertools import accumulate

from hypothesis import example, given
from hypothesis import strategies as st

from openqoe.core.access.api_key import Rate
from openqoe.core.access.token_bucket import TokenBucket

START = 1_760_000_000_000
MAX_BATCH = 1000

rates = st.builds(Rate, st.floats(0.01, 1e5), st.integers(1, 100_000))
arrivals = st.lists(
    st.tuples(st.integers(0, 60_000), st.integers(1, MAX_BATCH)), min_size=1, max_size=60
)


def admit(bucket: TokenBucket, at: int, events: int) -> bool:
    if bucket.wait(at):
        return False
    bucket.spend(events, at)
    return True


@given(rates, arrivals)
def test_any_period_admits_at_most_rate_burst_and_one_batch(
    rate: Rate, batches: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(rate, START)
    times = [START + at for at in accumulate(pause for pause, _ in batches)]
    admitted = [
        (at, events)
        for at, (_, events) in zip(times, batches, strict=True)
        if admit(bucket, at, events)
    ]
    for first in range(len(admitted)):
        total = 0
        for at, events in admitted[first:]:
            total += events
            seconds = (at - admitted[first][0]) / 1000
            bound = rate.events_per_second * seconds + rate.burst + MAX_BATCH
            assert total <= bound * (1 + 1e-9)


@given(rates, arrivals)
@example(Rate(1 / 3, 1), [(0, 1), (553, 35), (3_517, 1)])
def test_batch_is_admitted_exactly_after_the_wait(
    rate: Rate, batches: list[tuple[int, int]]
) -> None:
    bucket, at = TokenBucket(rate, START), START
    for pause, events in batches:
        at += pause
        wait = bucket.wait(at)
        if wait > 2:
            assert bucket.wait(at + wait - 2) > 0
        at += wait
        assert admit(bucket, at, events)


@given(rates, st.integers(1, MAX_BATCH))
def test_sender_below_the_rate_is_never_refused(rate: Rate, events: int) -> None:
    bucket = TokenBucket(rate, START)
    interval = int(events * 1000 / rate.events_per_second) + 1
    for number in range(50):
        assert admit(bucket, START + number * interval, events)


@given(rates, st.integers(1, 8), arrivals)
def test_several_workers_admit_at_most_as_many_times_as_much(
    rate: Rate, workers: int, batches: list[tuple[int, int]]
) -> None:
    buckets = [TokenBucket(rate, START) for _ in range(workers)]
    at, total = START, 0
    for number, (pause, events) in enumerate(batches):
        at += pause
        total += events * admit(buckets[number % workers], at, events)
    bound = rate.events_per_second * (at - START) / 1000 + rate.burst + MAX_BATCH
    assert total <= workers * bound * (1 + 1e-9)


def test_clock_set_back_neither_fills_nor_blocks_the_bucket() -> None:
    bucket = TokenBucket(Rate(10, 5), START)
    assert admit(bucket, START, 5)
    assert bucket.wait(START - 3_600_000) <= 101
    assert bucket.wait(START - 3_600_000 + 101) == 0
