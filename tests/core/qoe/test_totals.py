"""Running totals: a report adds its excess over the highest total so far, and nothing else."""

from __future__ import annotations

import random
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.qoe.totals import RunningTotal
from tests.support.rig import HOUR, Rig, player_event

Report = tuple[float, float]
"""Total and event time."""


def increases(reports: list[Report], restarts: tuple[float, ...] = ()) -> list[float]:
    total = RunningTotal()
    return [total.advance(value, at, restarts) for value, at in reports]


# One run


def test_growing_total_adds_its_increase() -> None:
    assert increases([(10, 1), (25, 2), (25, 3), (40, 4)]) == [10, 15, 0, 15]


@pytest.mark.parametrize(
    ("reports", "added"),
    [
        ([(10, 1), (10, 1)], [10, 0]),
        ([(10, 1), (25, 2), (10, 1), (25, 2)], [10, 15, 0, 0]),
        ([(25, 2), (10, 1), (40, 3)], [25, 0, 15]),
        ([(25, 2), (10, 3), (40, 4)], [25, 0, 15]),
    ],
    ids=["sent twice", "all sent twice", "out of order", "smaller without a start event"],
)
def test_repeated_or_smaller_total_adds_nothing(reports: list[Report], added: list[float]) -> None:
    assert increases(reports) == added


@given(
    totals=st.lists(st.integers(0, 1_000_000), min_size=1, max_size=20),
    repetitions=st.lists(st.integers(0, 19), max_size=20),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=150)
def test_reports_in_any_order_sum_to_maximum(
    totals: list[int], repetitions: list[int], seed: int
) -> None:
    history = [(float(total), float(at)) for at, total in enumerate(sorted(totals))]
    delivered = history + [history[number % len(history)] for number in repetitions]
    random.Random(seed).shuffle(delivered)
    assert sum(increases(delivered)) == max(totals)


# Several runs: a smaller total after a start event


def test_smaller_total_after_start_event_is_a_restart() -> None:
    assert increases([(100, 10), (5, 30), (20, 40)], restarts=(20,)) == [100, 5, 15]


def test_start_event_with_continuing_total_is_not_a_restart() -> None:
    """First-generation pages send viewstart and playerready in the middle of a continuing total."""
    assert increases([(100, 10), (110, 30)], restarts=(20,)) == [100, 10]


def test_start_event_before_both_reports_is_not_a_restart() -> None:
    assert increases([(100, 10), (40, 11)], restarts=(5,)) == [100, 0]


def test_start_event_after_report_is_not_a_restart() -> None:
    assert increases([(100, 10), (40, 11)], restarts=(20,)) == [100, 0]


@pytest.mark.parametrize(
    ("late", "adds"),
    [((60, 8), 0), ((100, 10), 0), ((104, 12), 4)],
    ids=["counted before", "the last one again", "the true end of that run"],
)
def test_late_report_of_previous_run_adds_to_that_run(late: Report, adds: float) -> None:
    assert increases([(100, 10), (5, 30), late, (20, 40)], restarts=(20,)) == [100, 5, adds, 15]


def test_late_end_of_previous_run_counts_once() -> None:
    reports: list[Report] = [(100, 10), (5, 30), (104, 12), (104, 12), (106, 13)]
    assert increases(reports, restarts=(20,)) == [100, 5, 4, 0, 2]


def test_late_report_of_older_run_adds_nothing() -> None:
    """Only the latest two runs are kept."""
    reports: list[Report] = [(100, 10), (5, 30), (3, 50), (100, 10), (104, 12), (8, 55)]
    assert increases(reports, restarts=(20, 40)) == [100, 5, 3, 0, 0, 5]


def test_report_of_new_run_before_its_start_event_is_counted() -> None:
    total = RunningTotal()
    assert total.advance(100, 10, ()) == 100
    assert total.advance(5, 30, ()) == 0
    assert total.advance(20, 40, (20,)) == 20


@st.composite
def runs(draw: st.DrawFn) -> list[list[int]]:
    """The totals of runs, each starting below the end of the previous one."""
    found: list[list[int]] = []
    ceiling = 1_000_001
    for _ in range(draw(st.integers(1, 5))):
        first = draw(st.integers(0, ceiling - 1))
        steps = draw(st.lists(st.integers(0, 1_000), max_size=5))
        run = list(accumulate([first, *steps, 1]))
        found.append(run)
        ceiling = run[-1]
    return found


@given(history=runs(), again=st.lists(st.integers(0, 100), max_size=10))
@settings(max_examples=150)
def test_ordered_runs_sum_to_their_maxima(history: list[list[int]], again: list[int]) -> None:
    """Repetitions at the end add nothing."""
    total = RunningTotal()
    restarts: tuple[float, ...] = ()
    clock, added = 0.0, 0.0
    sent: list[Report] = []
    for run in history:
        clock += 10
        restarts = (*restarts, clock)
        for value in run:
            clock += 10
            sent.append((value, clock))
            added += total.advance(value, clock, restarts)
    assert added == sum(max(run) for run in history)
    for number in again:
        assert total.advance(*sent[number % len(sent)], restarts) == 0


# Through the worker


def test_second_source_in_same_view_restarts_total() -> None:
    """Without metadata, two videos of a page share view, player and (absent) video."""
    rig = Rig()
    rig.post(
        player_event(0, "viewstart", video=None),
        player_event(10, "heartbeat", 10.0, video=None, playing_time=10_000, dropped_frames=4),
        player_event(20, "heartbeat", 20.0, video=None, playing_time=20_000, dropped_frames=6),
    )
    rig.post(
        player_event(25, "viewstart", video=None),
        player_event(35, "heartbeat", 9.0, video=None, playing_time=9_000, dropped_frames=1),
    )
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 29.0
    assert rig.total("openqoe_dropped_frames_total") == 7


def test_same_event_in_another_batch_adds_nothing() -> None:
    rig = Rig()
    first, second = (
        player_event(at, "heartbeat", at, playing_time=at * 1000, dropped_frames=at)
        for at in (10, 20)
    )
    rig.post(first)
    rig.post(second, first)
    rig.post(second)
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 20.0
    assert rig.total("openqoe_dropped_frames_total") == 20
    assert rig.total("openqoe_events_total") == 4


def test_stored_batch_of_an_hour_ago_adds_to_its_view() -> None:
    rig = Rig()
    rig.post(player_event(10, "heartbeat", 10.0, playing_time=10_000))
    rig.post(player_event(-HOUR / 1000, "heartbeat", 30.0, view="view-0", playing_time=30_000))
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 40.0


def test_unsorted_events_of_batch_are_applied_by_time() -> None:
    rig = Rig()
    rig.post(
        player_event(35, "heartbeat", 9.0, playing_time=9_000),
        player_event(25, "viewstart"),
        player_event(20, "heartbeat", 20.0, playing_time=20_000),
    )
    rig.flush()
    assert rig.total("openqoe_playing_time_seconds") == 29.0
