"""The bounded cache: its bound in bytes, whatever the length of keys and values."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.events.event_types import Video
from openqoe.core.primitives.bounded_cache import BoundedCache
from openqoe.core.primitives.memory_size import OBJECT_BYTES, memory_size


def test_cached_value_is_found_until_the_cache_is_full() -> None:
    cache: BoundedCache[str, int] = BoundedCache(100_000)
    cache.add("first", 1, 100)
    assert cache.get("first") == 1
    assert cache.get("other") is None
    for number in range(1_000):
        cache.add(f"key {number}", number, 100)
    assert cache.get("first") is None
    assert cache.get("key 999") == 999
    assert cache.bytes <= 100_000


def test_entry_of_more_than_a_hundredth_of_the_bound_is_not_cached() -> None:
    cache: BoundedCache[str, int] = BoundedCache(100_000)
    cache.add("small", 1, 100)
    cache.add("large", 2, 1_001)
    assert cache.get("large") is None
    assert cache.get("small") == 1


@given(st.lists(st.integers(0, 5_000), max_size=200))
def test_entries_never_exceed_the_bound(sizes: list[int]) -> None:
    cache: BoundedCache[int, int] = BoundedCache(50_000)
    for number, size in enumerate(sizes):
        cache.add(number, number, size)
        assert cache.bytes <= 50_000
        assert len(cache) <= 50_000 // (2 * OBJECT_BYTES)


TEXT = "a" * 10_000
MIXED = "a" * 9_999 + "🎬"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (TEXT, (TEXT,)),
        (MIXED, (MIXED,)),
        (b"a" * 10_000, (b"a" * 10_000,)),
        (10**4_000, (10**4_000,)),
        ((TEXT, (MIXED, None)), (TEXT, MIXED)),
        (Video(TEXT, None, MIXED), (TEXT, MIXED)),
        (None, ()),
    ],
    ids=["ascii", "mixed", "bytes", "int", "tuple", "struct", "none"],
)
def test_memory_size_is_slightly_above_the_real_size(
    value: object, parts: tuple[object, ...]
) -> None:
    real = sum(map(sys.getsizeof, parts))
    assert real <= memory_size(value) <= real + 500
