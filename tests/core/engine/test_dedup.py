"""Batches that were accepted before: for how long and how many of them are known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.engine.dedup import DedupWindow, digest_of
from tests.support.event_builders import NOW, batch, event

WINDOW = 1_000
A, B, C = (digest_of(name) for name in (b"a", b"b", b"c"))


def test_a_batch_is_known_by_its_bytes() -> None:
    body = batch(event())
    assert digest_of(body) == digest_of(bytes(body))
    assert digest_of(body) != digest_of(body + b" ")
    assert digest_of(b"").hex() == "99aa06d3014798d86001c324468d497f"  # the same in every process


def test_what_was_remembered_is_found_with_the_number_of_its_events() -> None:
    known = DedupWindow(WINDOW, 10)
    assert known.find(A, NOW) is None
    known.remember(A, 7, NOW)
    assert known.find(A, NOW) == 7
    assert known.find(B, NOW) is None


@pytest.mark.parametrize(
    ("later", "found"), [(0, True), (WINDOW, True), (WINDOW + 1, False), (-5_000, True)]
)
def test_it_is_found_within_the_window(later: int, found: bool) -> None:
    known = DedupWindow(WINDOW, 10)
    known.remember(A, 1, NOW)
    assert (known.find(A, NOW + later) is not None) is found


def test_what_comes_again_later_is_known_from_then_on() -> None:
    known = DedupWindow(WINDOW, 10)
    known.remember(A, 1, NOW)
    known.remember(A, 2, NOW + 800)
    assert known.find(A, NOW + 1_800) == 2
    assert len(known) == 1


def test_finding_does_not_prolong() -> None:
    known = DedupWindow(WINDOW, 10)
    known.remember(A, 1, NOW)
    assert known.find(A, NOW + 800) == 1
    assert known.find(A, NOW + 1_800) is None


def test_past_the_bound_the_oldest_is_forgotten_and_counted() -> None:
    known = DedupWindow(WINDOW, 2)
    for digest in (A, B, C):
        known.remember(digest, 1, NOW)
    assert [known.find(digest, NOW) for digest in (A, B, C)] == [None, 1, 1]
    assert (len(known), known.forgotten) == (2, 1)


def test_the_oldest_is_the_one_that_came_last_the_longest_ago() -> None:
    known = DedupWindow(WINDOW, 2)
    for digest in (A, B, A, C):
        known.remember(digest, 1, NOW)
    assert [known.find(digest, NOW) for digest in (A, B, C)] == [1, None, 1]


def test_what_is_over_is_dropped_and_not_counted() -> None:
    known = DedupWindow(WINDOW, 2)
    known.remember(A, 1, NOW)
    known.remember(B, 1, NOW)
    known.remember(C, 1, NOW + WINDOW + 1)
    assert (len(known), known.forgotten) == (1, 0)


def test_without_a_window_nothing_is_remembered() -> None:
    known = DedupWindow(0, 10)
    known.remember(A, 1, NOW)
    assert known.find(A, NOW) is None
    assert len(known) == 0


@given(
    limit=st.integers(1, 5),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(-500, 900)), max_size=60),
)
def test_there_are_never_more_than_the_bound(limit: int, steps: list[tuple[int, int]]) -> None:
    """By any clock, forwards and backwards; and the batch that just came is always known."""
    known = DedupWindow(WINDOW, limit)
    now = NOW
    for number, step in steps:
        now += step
        digest = digest_of(bytes([number]))
        known.remember(digest, number, now)
        assert len(known) <= limit
        assert known.find(digest, now) == number
