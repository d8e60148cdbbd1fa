"""Counters, gauges and histograms between two flushes."""

from __future__ import annotations

import pytest

from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.metrics.series import (
    SERIES_CLASSES,
    Counter,
    Gauge,
    Histogram,
    Series,
    sample_count,
)

COUNTER = Metric("seeks_total", MetricType.COUNTER, "Seeks.")
GAUGE = Metric("bitrate_bps", MetricType.GAUGE, "Bit rate.")
HISTOGRAM = Metric("stall_seconds", MetricType.HISTOGRAM, "Stalls.", buckets=(0.5, 1, 2.5e6))


def make(metric: Metric) -> Series:
    return SERIES_CLASSES[metric.type](metric, (("org_id", "acme"),))


def test_counter_adds_values() -> None:
    counter = Counter(COUNTER, ())
    for amount in (1.0, 2.5, 0.0):
        counter.observe(amount)
    assert counter.values() == [3.5]


def test_new_counter_at_zero_has_changed() -> None:
    counter = Counter(COUNTER, ())
    assert counter.collect_changes()
    assert not counter.collect_changes()
    counter.observe(1)
    assert counter.collect_changes()
    assert not counter.collect_changes()


def test_gauge_is_mean_of_flush_window() -> None:
    gauge = Gauge(GAUGE, ())
    gauge.observe(1.0)
    gauge.observe(4.0)
    assert gauge.collect_changes()
    assert gauge.values() == [2.5]
    gauge.observe(10.0)
    assert gauge.collect_changes()
    assert gauge.values() == [10.0]


def test_gauge_without_observation_keeps_value() -> None:
    gauge = Gauge(GAUGE, ())
    gauge.observe(3.0)
    gauge.collect_changes()
    assert not gauge.collect_changes()
    assert gauge.values() == [3.0]


def test_equal_observation_is_a_change_of_gauge() -> None:
    gauge = Gauge(GAUGE, ())
    gauge.observe(3.0)
    gauge.collect_changes()
    gauge.observe(3.0)
    assert gauge.collect_changes()


def test_setting_gauge_replaces_observations() -> None:
    gauge = Gauge(GAUGE, ())
    gauge.observe(100.0)
    gauge.set(2.0)
    gauge.set(0.0)
    assert gauge.values() == [0.0]
    assert gauge.collect_changes()
    assert gauge.values() == [0.0]


@pytest.mark.parametrize(
    ("value", "values"),
    [
        (0.0, [1, 1, 1, 1, 0.0, 1]),
        (0.5, [1, 1, 1, 1, 0.5, 1]),
        (0.75, [0, 1, 1, 1, 0.75, 1]),
        (1.0, [0, 1, 1, 1, 1.0, 1]),
        (1.5, [0, 0, 1, 1, 1.5, 1]),
        (3e6, [0, 0, 0, 1, 3e6, 1]),
    ],
)
def test_histogram_bucket_includes_its_bound(value: float, values: list[float]) -> None:
    histogram = Histogram(HISTOGRAM, ())
    histogram.observe(value)
    assert histogram.values() == values


def test_histogram_adds_observations() -> None:
    histogram = Histogram(HISTOGRAM, ())
    for value in (0.2, 0.7, 0.7, 9.0):
        histogram.observe(value)
    assert histogram.values() == [1, 3, 4, 4, pytest.approx(10.6), 4]
    assert histogram.collect_changes()
    assert not histogram.collect_changes()
    histogram.observe(0.0)
    assert histogram.collect_changes()


def test_sample_names_of_histogram() -> None:
    assert list(make(COUNTER).sample_names()) == [("seeks_total", ())]
    assert list(make(GAUGE).sample_names()) == [("bitrate_bps", ())]
    assert list(make(HISTOGRAM).sample_names()) == [
        ("stall_seconds_bucket", (("le", "0.5"),)),
        ("stall_seconds_bucket", (("le", "1"),)),
        ("stall_seconds_bucket", (("le", "2.5e+06"),)),
        ("stall_seconds_bucket", (("le", "+Inf"),)),
        ("stall_seconds_sum", ()),
        ("stall_seconds_count", ()),
    ]


@pytest.mark.parametrize("metric", [COUNTER, GAUGE, HISTOGRAM], ids=lambda metric: metric.name)
def test_sample_names_match_values(metric: Metric) -> None:
    series = make(metric)
    series.observe(1)
    series.collect_changes()
    names = list(series.sample_names())
    assert len(names) == len(series.values()) == sample_count(metric)
    assert len(set(names)) == len(names)


IMPLAUSIBLE = [float("inf"), float("-inf"), float("nan"), 1e308, -1e308, 1e16]


@pytest.mark.parametrize("value", IMPLAUSIBLE)
@pytest.mark.parametrize("metric", [COUNTER, GAUGE, HISTOGRAM])
def test_implausible_observation_changes_no_series(metric: Metric, value: float) -> None:
    series = make(metric)
    series.observe(2.0)
    expected = make(metric)
    expected.observe(2.0)
    series.observe(value)
    if isinstance(series, Gauge):
        series.set(value)
    series.collect_changes()
    expected.collect_changes()
    assert series.values() == expected.values()


@pytest.mark.parametrize("value", [*IMPLAUSIBLE[:5], 1e19])
@pytest.mark.parametrize("metric", [COUNTER, GAUGE, HISTOGRAM])
def test_series_restored_with_implausible_value_starts_at_zero(
    metric: Metric, value: float
) -> None:
    damaged = make(metric)
    damaged.observe(2.0)
    numbers = damaged.capture_numbers()
    restored = make(metric)
    restored.restore_numbers([value, *numbers[1:]])
    assert restored.values() == make(metric).values()
    restored.observe(3.0)
    restored.collect_changes()
    assert 3.0 in restored.values()
