"""Increases of counters: examples, and a comparison with a simple model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.dashboard.counter_increases import increases
from openqoe.dashboard.query_parameters import Scope
from openqoe.dashboard.sample_reader import Reader
from tests.dashboard.filled_store import NOW, Store

HOUR = 3_600_000


def increase(store: Store, since: float = -3600, until: float = 0, **filters: str) -> float:
    scope = Scope(NOW + round(since * 1000), NOW + round(until * 1000), filters)
    with Reader(store.path) as reader:
        return sum(one.amount for one in increases(reader, ("views",), scope))


def test_increase_starts_at_the_sample_before_the_range(store: Store) -> None:
    store.series("views", [(-3700, 10), (-3000, 12), (-10, 17)])
    assert increase(store) == 7


def test_unchanged_value_that_was_not_repeated_is_still_valid(store: Store) -> None:
    """The store repeats unchanged values every five minutes, and retention may leave gaps."""
    store.series("views", [(-90_000, 10), (-10, 17)])
    assert increase(store) == 7


def test_series_that_starts_in_the_range_counts_from_its_zero(store: Store) -> None:
    store.series("views", [(-1000, 0), (-985, 4), (-970, 9)])
    assert increase(store) == 9


def test_first_sample_without_a_zero_adds_nothing(
    store: Store,
) -> None:
    store.series("views", [(-1000, 1_000_000), (-985, 1_000_003)])
    assert increase(store) == 3


def test_reset_counts_from_zero(store: Store) -> None:
    store.series("views", [(-3700, 10), (-3000, 12), (-2000, 3), (-1000, 5)])
    assert increase(store) == 2 + 3 + 2


def test_larger_value_after_a_stale_marker_counts_from_zero(
    store: Store,
) -> None:
    store.series("views", [(-3700, 10), (-3000, None), (-2000, 12)])
    assert increase(store) == 12


def test_series_that_ended_before_the_range_counts_from_zero(store: Store) -> None:
    store.series("views", [(-9000, 10), (-8000, None), (-2000, 0), (-1985, 4)])
    assert increase(store) == 4


def test_instances_are_summed(store: Store) -> None:
    store.series("views", [(-1000, 0), (-900, 4)], instance="host-0")
    store.series("views", [(-1000, 0), (-900, 5)], instance="host-1")
    assert increase(store) == 9


def test_range_excludes_its_start_and_includes_its_end(store: Store) -> None:
    store.series("views", [(-3600, 5), (-3000, 8), (0, 10), (1, 90)])
    assert increase(store) == 5


def test_filter_selects_series(store: Store) -> None:
    store.series("views", [(-1000, 0), (-900, 4)], org_id="acme", device_category="tv")
    store.series("views", [(-1000, 0), (-900, 5)], org_id="acme")
    store.series("views", [(-1000, 0), (-900, 50)], org_id="other")
    assert increase(store, org_id="acme") == 9
    assert increase(store, org_id="acme", device_category="tv") == 4


def test_video_filter_accepts_the_label_and_the_own_id(store: Store) -> None:
    store.series("views", [(-1000, 0), (-900, 4)], video_id="bucket_7")
    store.series("views", [(-1000, 0), (-900, 5)], video_id="bucket_8")
    store.video("bucket_7", "film")
    assert increase(store, video_id="film") == increase(store, video_id="bucket_7") == 4


Values = st.one_of(st.none(), st.integers(0, 50))
Series = st.lists(st.tuples(st.integers(-100, 20), Values), min_size=1, unique_by=lambda p: p[0])


def model(series: list[tuple[int, int | None]], since: int, until: int, step: int) -> list[int]:
    """The rule applied to one sample after the other."""
    grown = [0] * -(-(until - since) // step)
    before: int | None = None
    seen = False
    for at, value in sorted(series):
        if value is not None and seen and since < at <= until:
            began_anew = before is None or value < before
            amount = value if began_anew or before is None else value - before
            grown[(at - since - 1) // step] += amount
        seen, before = True, value
    return grown


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples; each uses its own metric."""
    store = Store(Path(tmp_path_factory.mktemp("store")))
    yield store
    store.database.close()


numbers = count()


@given(st.lists(Series, max_size=4), st.integers(-90, -10), st.integers(1, 40))
def test_increases_equal_those_of_a_simple_model(
    lasting: Store, all_series: list[list[tuple[int, int | None]]], since: int, step: int
) -> None:
    name = f"metric_{next(numbers)}"
    expected = [0] * len(model([], since, 0, step))
    for number, series in enumerate(all_series):
        lasting.series(name, list(series), instance=f"host-{number}")
        found = model(series, since, 0, step)
        expected = [a + b for a, b in zip(expected, found, strict=True)]
    scope = Scope(NOW + since * 1000, NOW, {})
    got = [0.0] * len(expected)
    with Reader(lasting.path) as reader:
        for one in increases(reader, (name,), scope, step=step * 1000):
            got[one.step] += one.amount
    assert got == expected
