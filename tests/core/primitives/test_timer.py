"""Timer: intervals, restarts and a clock that jumps."""

import pytest

from openqoe.core.primitives.timer import Timer

T = 1_000_000


def test_second_start_does_not_move_the_deadline() -> None:
    timer = Timer(10)
    assert timer.next_due is None
    timer.start(T)
    timer.start(T + 5)
    assert timer.next_due == T + 10


@pytest.mark.parametrize(("elapsed", "due"), [(0, False), (9, False), (10, True), (10_000, True)])
def test_timer_is_due_after_the_interval(elapsed: int, due: bool) -> None:
    timer = Timer(10)
    timer.start(T)
    assert timer.is_due(T + elapsed) is due


def test_timer_stays_due_until_restart() -> None:
    timer = Timer(10)
    timer.start(T)
    assert timer.is_due(T + 12)
    assert timer.is_due(T + 13)
    timer.restart(T + 13)
    assert not timer.is_due(T + 22)
    assert timer.next_due == T + 23


def test_is_due_starts_a_new_timer() -> None:
    timer = Timer(10)
    assert not timer.is_due(T)
    assert timer.is_due(T + 10)


def test_zero_interval_is_always_due() -> None:
    timer = Timer(0)
    timer.start(T)
    assert timer.is_due(T)


@pytest.mark.parametrize("method", ["start", "is_due"])
def test_clock_set_back_starts_a_new_interval(method: str) -> None:
    timer = Timer(10)
    timer.start(T)
    assert not getattr(timer, method)(T - 5_000)
    assert timer.next_due == T - 4_990
    assert timer.is_due(T - 4_990)


def test_clock_set_ahead_makes_the_timer_due_once() -> None:
    timer = Timer(10)
    timer.start(T)
    assert timer.is_due(T + 5_000)
    timer.restart(T + 5_000)
    assert not timer.is_due(T + 5_000)
