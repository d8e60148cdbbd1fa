"""The bound on bytes that the queues of one destination share."""

from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.delivery.byte_pool import BytePool


def test_single_queue_may_use_the_whole_bound() -> None:
    pool = BytePool(100)
    pool.members, pool.bytes = 1, 70
    assert pool.share(70) == 100


def test_queue_may_use_what_the_others_leave_but_always_its_part() -> None:
    pool = BytePool(100)
    pool.members, pool.bytes = 4, 90
    assert pool.share(90) == 100  # the others are empty
    assert pool.share(0) == 25


@settings(max_examples=50)
@given(
    members=st.integers(1, 5),
    fills=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 200)), max_size=60),
)
def test_all_queues_together_stay_below_twice_the_bound(
    members: int, fills: list[tuple[int, int]]
) -> None:
    pool, used = BytePool(100), [0] * members
    pool.members = members
    for queue, size in fills:
        own = used[queue % members]
        used[queue % members] = min(own + size, pool.share(own))
        pool.bytes = sum(used)
        assert pool.bytes <= 200
