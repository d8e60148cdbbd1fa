"""Things that are due at an interval, by a clock that may jump."""

import pytest

from openqoe.core.primitives.timer import Timer

T = 1_000_000


def test_it_begins_with_the_first_start() -> None:
    timer = Timer(10)
    assert timer.next_due is None
    timer.start(T)
    timer.start(T + 5)
    assert timer.next_due == T + 10


@pytest.mark.parametrize(("later", "due"), [(0, False), (9, False), (10, True), (10_000, True)])
def test_it_is_due_when_the_interval_is_over(later: int, due: bool) -> None:
    timer = Timer(10)
    timer.start(T)
    assert timer.is_due(T + later) is due


def test_it_stays_due_until_it_was_done() -> None:
    timer = Timer(10)
    timer.start(T)
    assert timer.is_due(T + 12)
    assert timer.is_due(T + 13)
    timer.restart(T + 13)
    assert not timer.is_due(T + 22)
    assert timer.next_due == T + 23


def test_it_is_asked_before_it_was_started() -> None:
    timer = Timer(10)
    assert not timer.is_due(T)
    assert timer.is_due(T + 10)


def test_an_interval_of_nothing_is_always_due() -> None:
    timer = Timer(0)
    timer.start(T)
    assert timer.is_due(T)


@pytest.mark.parametrize("notice", ["start", "is_due"])
def test_after_a_jump_back_of_the_clock_it_begins_anew(notice: str) -> None:
    """Else it would wait for as long as the clock was put back."""
    timer = Timer(10)
    timer.start(T)
    assert not getattr(timer, notice)(T - 5_000)
    assert timer.next_due == T - 4_990
    assert timer.is_due(T - 4_990)


def test_after_a_jump_ahead_it_is_due_once() -> None:
    timer = Timer(10)
    timer.start(T)
    assert timer.is_due(T + 5_000)
    timer.restart(T + 5_000)
    assert not timer.is_due(T + 5_000)
