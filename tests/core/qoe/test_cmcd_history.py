"""Repeated CMCD records are recognised by number and time; errors count once."""

from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.qoe.cmcd_history import (
    MAX_CODES,
    WINDOW,
    CmcdHistory,
    RecordTrace,
    SequenceWindow,
)


def feed(*records: tuple[int, int], window: SequenceWindow | None = None) -> list[bool]:
    """Feed numbers with times; returns which were new."""
    window = window or SequenceWindow()
    return [window.is_new(number, at) for number, at in records]


def test_each_number_is_new_once() -> None:
    assert feed((0, 10), (1, 20), (1, 20), (0, 10), (2, 30)) == [True, True, False, False, True]


def test_number_that_arrives_late_is_new() -> None:
    assert feed((0, 10), (3, 40), (1, 20), (2, 30), (1, 20)) == [True] * 4 + [False]


def test_number_far_behind_is_a_repeat() -> None:
    assert feed((0, 0), (WINDOW + 5, 100), (1, 10)) == [True, True, False]


def test_request_of_earlier_time_is_new() -> None:
    # The time of a request lies before that of earlier records.
    assert feed((5, 100), (6, 40), (7, 120)) == [True] * 3


def test_numbers_that_restart_are_new() -> None:
    assert feed((0, 10), (1, 20), (2, 30), (0, 40), (1, 50)) == [True] * 5


def test_repeat_of_run_before_restart_is_recognised() -> None:
    window = SequenceWindow()
    feed((0, 10), (1, 20), (2, 30), (0, 40), (1, 50), window=window)
    assert feed((2, 30), (1, 20), (1, 50), window=window) == [False, False, False]


def test_first_numbers_after_restart_may_arrive_unsorted() -> None:
    assert feed((0, 10), (1, 20), (2, 30), (2, 60), (0, 40), (1, 50)) == [True] * 6


def test_restart_after_many_numbers_is_new() -> None:
    window = SequenceWindow()
    feed(*((n, n) for n in range(200)), window=window)
    assert feed((0, 300), (1, 301), (0, 300), window=window) == [True, True, False]


def test_big_gap_forgets_old_numbers() -> None:
    assert feed((0, 0), (10_000, 5), (9_999, 4), (10_000, 5)) == [True, True, True, False]


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_and_doubled_records_count_once(seed: int) -> None:
    rng = Random(seed)
    records = [(n, 1_000 + 400 * n) for n in range(300)]
    # Shuffled within 2 s of arrival, each sent up to three times.
    sent = [(at + rng.uniform(0, 2_000), n, at) for n, at in records for _ in range(3)]
    window = SequenceWindow()
    new = [n for _, n, at in sorted(sent) if window.is_new(n, at)]
    assert sorted(new) == list(range(300))


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**13)), max_size=40))
def test_any_numbers_survive_a_snapshot(records: list[tuple[int, int]]) -> None:
    window = SequenceWindow()
    feed(*records, window=window)
    encoded = msgspec.msgpack.encode(window)
    restored = msgspec.msgpack.decode(encoded, type=SequenceWindow)
    assert msgspec.msgpack.encode(restored) == encoded


# Errors


def count(*records: tuple[str, int, tuple[str, ...]]) -> list[str]:
    """The codes that count, of records as event, time and codes."""
    history = CmcdHistory()
    return [
        code
        for name, at, codes in records
        for code in history.note(RecordTrace(at, None, name == "e", codes)) or ()
    ]


def test_each_error_event_counts() -> None:
    assert count(("e", 1, ("27",)), ("e", 2, ("27",)), ("e", 3, ("a", "b"))) == [
        "27",
        "27",
        "a",
        "b",
    ]


def test_code_that_other_records_repeat_counts_once() -> None:
    assert count(("e", 1, ("27",)), ("t", 2, ("27",)), ("ps", 3, ("27",))) == ["27"]


def test_code_that_only_another_record_reports_counts() -> None:
    assert count(("t", 2, ("27",)), ("t", 3, ("27", "28"))) == ["27", "28"]


def test_error_event_that_arrives_after_its_repetition_counts_once() -> None:
    assert count(("t", 2, ("27",)), ("e", 1, ("27",))) == ["27"]


def test_codes_are_bounded() -> None:
    many = tuple(str(n) for n in range(100))
    assert len(count(("t", 1, many), ("t", 2, many))) == MAX_CODES
    assert len(count(("e", 1, many), ("e", 2, many))) == 200


def test_histories_share_nothing() -> None:
    one, two = CmcdHistory(), CmcdHistory()
    assert one.note(RecordTrace(1, 1, True, ("x",))) == ["x"]
    assert two.note(RecordTrace(1, 1, False, ("x",))) == ["x"]


def test_repeated_record_reports_no_error() -> None:
    history = CmcdHistory()
    record = RecordTrace(1, 7, True, ("x",))
    assert [history.note(record), history.note(record)] == [["x"], None]
