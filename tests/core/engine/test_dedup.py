"""The deduplication window: its duration and its limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.engine.dedup import NEWCOMERS, DedupWindow, digest_of, group_of
from tests.support.event_builders import NOW, batch, event

WINDOW = 1_000
A, B, C = (digest_of(name) for name in (b"a", b"b", b"c"))


def test_digest_depends_on_the_bytes_alone() -> None:
    body = batch(event())
    assert digest_of(body) == digest_of(bytes(body))
    assert digest_of(body) != digest_of(body + b" ")
    assert digest_of(b"").hex() == "99aa06d3014798d86001c324468d497f"  # the same in every process


def test_remembered_batch_is_found_with_its_number_of_events() -> None:
    window = DedupWindow(WINDOW, 10)
    assert window.find(A, NOW) is None
    window.remember(A, 7, NOW)
    assert window.find(A, NOW) == 7
    assert window.find(B, NOW) is None


@pytest.mark.parametrize(
    ("later", "found"), [(0, True), (WINDOW, True), (WINDOW + 1, False), (-5_000, True)]
)
def test_batch_is_found_only_within_the_window(later: int, found: bool) -> None:
    window = DedupWindow(WINDOW, 10)
    window.remember(A, 1, NOW)
    assert (window.find(A, NOW + later) is not None) is found


def test_batch_remembered_again_restarts_its_window() -> None:
    window = DedupWindow(WINDOW, 10)
    window.remember(A, 1, NOW)
    window.remember(A, 2, NOW + 800)
    assert window.find(A, NOW + 1_800) == 2
    assert len(window) == 1


def test_find_does_not_extend_the_window() -> None:
    window = DedupWindow(WINDOW, 10)
    window.remember(A, 1, NOW)
    assert window.find(A, NOW + 800) == 1
    assert window.find(A, NOW + 1_800) is None


def test_oldest_batch_is_evicted_and_counted_past_the_limit() -> None:
    window = DedupWindow(WINDOW, 2)
    for digest in (A, B, C):
        window.remember(digest, 1, NOW)
    assert [window.find(digest, NOW) for digest in (A, B, C)] == [None, 1, 1]
    assert (len(window), window.forgotten) == (2, 1)


def test_batch_remembered_again_is_not_the_oldest() -> None:
    window = DedupWindow(WINDOW, 2)
    for digest in (A, B, A, C):
        window.remember(digest, 1, NOW)
    assert [window.find(digest, NOW) for digest in (A, B, C)] == [1, None, 1]


def test_expired_batch_is_evicted_without_being_counted() -> None:
    window = DedupWindow(WINDOW, 2)
    window.remember(A, 1, NOW)
    window.remember(B, 1, NOW)
    window.remember(C, 1, NOW + WINDOW + 1)
    assert (len(window), window.forgotten) == (1, 0)


def test_window_of_zero_remembers_nothing() -> None:
    window = DedupWindow(0, 10)
    window.remember(A, 1, NOW)
    assert window.find(A, NOW) is None
    assert len(window) == 0


@given(
    limit=st.integers(1, 5),
    steps=st.lists(
        st.tuples(
            st.integers(0, 9),
            st.integers(-500, 900),
            st.sampled_from([NEWCOMERS, "a/1", "b/2"]),
        ),
        max_size=60,
    ),
)
def test_window_never_exceeds_its_limit(limit: int, steps: list[tuple[int, int, str]]) -> None:
    """The clock may go back as well. The newest batch is always found."""
    window = DedupWindow(WINDOW, limit)
    now = NOW
    for number, step, group in steps:
        now += step
        digest = digest_of(bytes([number]))
        window.remember(digest, number, now, group)
        assert len(window) <= limit
        assert window.find(digest, now) == number


def flood(window: DedupWindow, group: str, count: int = 5_000) -> None:
    for number in range(count):
        window.remember(digest_of(b"flood %d" % number), 1, NOW, group)


def test_batches_of_views_seen_once_evict_none_of_established_views() -> None:
    window = DedupWindow(WINDOW, 1_000)
    window.remember(A, 1, NOW, group_of("acme", "view-1"))
    flood(window, NEWCOMERS)
    assert window.find(A, NOW) == 1


def test_organisation_evicts_its_own_batches_before_those_of_another() -> None:
    window = DedupWindow(WINDOW, 1_000)
    window.remember(A, 1, NOW, group_of("acme", "view-1"))
    flood(window, group_of("other", "view-1"))
    assert window.find(A, NOW) == 1


def test_view_evicts_few_batches_of_other_views_of_its_organisation() -> None:
    window = DedupWindow(WINDOW, 1_000)
    views = [f"view-{number}" for number in range(160)]
    for view in views:
        window.remember(digest_of(view.encode()), 1, NOW, group_of("acme", view))
    flood(window, group_of("acme", views[0]))
    lost = [view for view in views if window.find(digest_of(view.encode()), NOW) is None]
    assert {group_of("acme", view) for view in lost} == {group_of("acme", views[0])}


def test_new_views_keep_a_share_of_a_window_full_of_established_ones() -> None:
    window = DedupWindow(WINDOW, 1_000)
    window.remember(A, 1, NOW, NEWCOMERS)
    flood(window, group_of("acme", "view-1"))
    assert window.find(A, NOW) == 1
