"""Quantiles, compared with Prometheus' documentation and with the observations."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.dashboard.quantiles import quantile, spread

BOUNDS = (0.5, 1, 2, 3, 5, 10)


def buckets(observations: list[float]) -> dict[float, float]:
    return {bound: sum(value <= bound for value in observations) for bound in (*BOUNDS, inf)}


def test_quantile_is_interpolated_within_its_bucket() -> None:
    assert quantile(0.5, {1: 0, 2: 10, inf: 10}) == 1.5
    assert quantile(0.95, {1: 90, 2: 100, inf: 100}) == pytest.approx(1.5)
    assert quantile(0.25, {1: 10, 2: 10, inf: 10}) == 0.25


def test_quantile_in_the_last_bucket_is_the_last_finite_bound() -> None:
    assert quantile(0.99, {1: 0, 2: 50, inf: 100}) == 2


def test_quantile_without_observations_is_none() -> None:
    assert quantile(0.5, {}) is None
    assert quantile(0.5, {1: 0, inf: 0}) is None
    assert quantile(0.5, {1: 3}) is None


def test_quantile_with_inconsistent_counts_does_not_decrease() -> None:
    assert quantile(0.5, {1: 10, 2: 9, inf: 10}) == 0.5


@given(st.lists(st.floats(0.01, 9.99), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantile_is_in_the_bucket_of_the_true_quantile(
    observations: list[float], q: float
) -> None:
    ordered = sorted(observations)
    true = next(v for i, v in enumerate(ordered, 1) if i >= q * len(ordered))
    upper = next(bound for bound in BOUNDS if true <= bound)
    lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
    found = quantile(q, buckets(observations))
    assert found is not None
    assert lower <= found <= upper + 1e-9


@given(st.lists(st.floats(0, 20), max_size=60))
def test_spread_counts_each_observation_once(observations: list[float]) -> None:
    counts = dict(spread(buckets(observations)))
    assert sum(counts.values()) == len(observations)
    assert counts[inf] == sum(value > BOUNDS[-1] for value in observations)
