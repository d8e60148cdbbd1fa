"""Values of gauges, summed over several workers."""

from __future__ import annotations

from openqoe.dashboard.gauge_values import GaugeCourse, gauge_course, readings
from openqoe.dashboard.query_parameters import Scope
from openqoe.dashboard.sample_reader import Reader
from tests.dashboard.filled_store import MINUTE, NOW, Store

LOOKBACK = 6 * MINUTE


def over(store: Store, seconds: int = 600, step: int = 60) -> GaugeCourse:
    scope = Scope(NOW - seconds * 1000, NOW, {})
    with Reader(store.path) as reader:
        return gauge_course(reader, "concurrent", scope, step * 1000, LOOKBACK)


def test_sum_adds_workers_that_flush_at_different_moments(store: Store) -> None:
    store.series("concurrent", [(-590, 5), (-300, 7), (-30, 6)], instance="host-0")
    store.series("concurrent", [(-597, 3), (-310, 2), (-29, 4)], instance="host-1")
    found = over(store)
    assert found.now == 10
    assert found.peak == 10
    assert found.peaks[0] == 8
    assert found.peaks[5] == 9


def test_sum_is_right_when_another_worker_becomes_the_reporter(store: Store) -> None:
    store.series("concurrent", [(-590, 40), (-300, 0)], instance="host-0")
    store.series("concurrent", [(-298, 41)], instance="host-1")
    found = over(store)
    assert (found.now, found.peak) == (41, 41)


def test_ended_series_is_not_summed(store: Store) -> None:
    store.series("concurrent", [(-590, 5), (-300, None)])
    store.series("concurrent", [(-590, 2), (-280, 2)], instance="host-1")
    found = over(store)
    assert (found.now, found.peak) == (2, 7)


def test_killed_worker_is_summed_for_the_lookback(store: Store) -> None:
    store.series("concurrent", [(-590, 5)])
    found = over(store)
    assert found.now == 0
    assert found.peaks == (5, 5, 5, 5, 5, 5, 5, 0, 0, 0)


def test_sample_before_the_range_is_valid_in_it(store: Store) -> None:
    store.series("concurrent", [(-700, 9), (-500, 1), (-300, 1), (-20, 1)])
    found = over(store)
    assert (found.now, found.peak) == (1, 9)
    assert found.peaks[:3] == (9, 9, 1)


def test_step_before_the_first_sample_is_null(store: Store) -> None:
    store.series("concurrent", [(-100, 3)])
    assert over(store).peaks == (None,) * 8 + (3, 3)


def test_short_peak_within_a_step_is_its_maximum(store: Store) -> None:
    store.series("concurrent", [(-500, 3), (-490, 30), (-485, 3), (-200, 3), (-2, 3)])
    assert over(store).peaks[1] == 30


def test_readings_are_the_latest_valid_values(store: Store) -> None:
    store.series("queue", [(-500, 3), (-100, 4)], destination="loki")
    store.series("queue", [(-500, 9)], destination="gone")
    store.series("queue", [(-90, 9), (-80, None)], destination="ended")
    with Reader(store.path) as reader:
        scope = Scope(NOW - MINUTE, NOW, {})
        found = readings(reader, ("queue",), scope, LOOKBACK, ("destination",))
    assert [(one.labels, one.value) for one in found] == [(("loki",), 4)]
