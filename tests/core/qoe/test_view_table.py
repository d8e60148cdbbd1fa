"""The table of views: expiry, eviction and concurrency."""

from __future__ import annotations

from typing import Any

import pytest

from openqoe.core.qoe.view import ViewKey
from openqoe.core.qoe.view_table import ViewTable
from tests.support.event_builders import NOW
from tests.support.rig import HOUR, MINUTE, SECOND, Rig, player_event

CONCURRENT = "openqoe_concurrent_views_current"


def known(rig: Rig) -> float:
    """The number of live views that the worker reports."""
    rig.flush()
    return rig.total("openqoe_worker_views_live")


# Expiry


def test_view_expires_after_timeout_of_silence() -> None:
    rig = Rig(OPENQOE_VIEW_TIMEOUT="600")
    rig.post(player_event(0, "playing", 0.0))
    rig.pass_time(9 * MINUTE)
    assert known(rig) == 1
    rig.post(player_event(540, "heartbeat", 500.0))
    rig.pass_time(9 * MINUTE)
    assert known(rig) == 1
    rig.pass_time(MINUTE)
    assert known(rig) == 0


def test_arrival_of_old_event_keeps_view_alive() -> None:
    """The event itself may be hours old."""
    rig = Rig()
    rig.post(player_event(-20 * 3600, "playing", 0.0))
    assert known(rig) == 1
    rig.post(player_event(-20 * 3600 + 10, "heartbeat", 10.0, playing_time=10_000))
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 1
    assert rig.total("openqoe_playing_time_seconds") == 10.0


@pytest.mark.parametrize(
    ("events", "completions"),
    [
        (
            [
                player_event(15, "quartile", 15.0, quartile=25),
                player_event(30, "quartile", 30.0, quartile=50),
            ],
            [0.5],
        ),
        (
            [
                player_event(30, "quartile", 30.0, quartile=50),
                player_event(31, "quartile", 15.0, quartile=25),
            ],
            [0.5],
        ),
        ([player_event(0, "playing", 0.0)], []),
        (
            [
                player_event(45, "quartile", 45.0, quartile=75),
                player_event(60, "ended", 60.0, completion_rate=1.0),
            ],
            [1.0],
        ),
    ],
    ids=["left at half", "sought back", "nothing reached", "ended"],
)
def test_expired_view_completes_its_highest_quartile(
    events: list[dict[str, Any]], completions: list[float]
) -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(*events)
    rig.pass_time(35 * MINUTE)
    assert rig.total("openqoe_completion_rate_count") == len(completions)
    assert rig.total("openqoe_completion_rate_sum") == sum(completions)
    rig.pass_time(HOUR)
    assert rig.total("openqoe_completion_rate_count") == len(completions)


def test_expired_view_counts_open_stall_and_pause() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="7200", OPENQOE_VIEW_TIMEOUT="600")
    rig.post(
        player_event(0, "heartbeat", 10.0, playing_time=10_000),
        player_event(1, "stall_start", 11.0),
    )
    rig.post(player_event(5, "pause", 11.0, view="view-2"))
    rig.flush()
    assert rig.total("openqoe_rebuffer_events_total", cause="rebuffer") == 1
    assert rig.total("openqoe_pause_events_total") == 1


# Events of no view


def test_events_after_session_belong_to_no_view() -> None:
    """After destroy() the SDK sends "unknown" as view_id for all viewers."""
    rig = Rig()
    rig.post(
        player_event(0, "playing", 0.0, view="unknown", video_startup_time=500),
        player_event(1, "quartile", 1.0, view="unknown", quartile=25, playing_time=90_000),
        player_event(2, "heartbeat", 2.0, view="unknown", playing_time=95_000, buffer_length=2_000),
        player_event(3, "seek", 9.0, view="unknown"),
        player_event(4, "pause", 9.0, view="unknown", playing_time=95_000),
        player_event(5, "error", 9.0, view="unknown", error_family="network", error_code="2"),
        player_event(6, "ended", 9.0, view="unknown", completion_rate=1.0),
        player_event(7, "ad_click", view="unknown"),
    )
    rig.flush()
    assert rig.total("openqoe_events_total") == 8
    counts = {k: v for k, v in rig.qoe_series().items() if k.endswith(("_total", "_count"))}
    assert counts == {
        "openqoe_seeks_total": 1,
        "openqoe_pause_events_total": 1,
        "openqoe_buffer_length_seconds_count": 1,
    }
    assert rig.total("openqoe_errors_total") == 1
    assert known(rig) == 0
    assert CONCURRENT not in rig.qoe_series()


# Concurrent views


def concurrent(rig: Rig) -> float:
    rig.flush()
    return rig.total(CONCURRENT)


def test_playing_view_is_concurrent_for_thirty_seconds_after_event() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(player_event(0, "playing", 0.0))
    rig.flush(30)
    assert rig.total(CONCURRENT) == 1
    rig.flush()
    assert rig.total(CONCURRENT) == 0
    rig.post(player_event(31, "heartbeat", 30.0))
    assert concurrent(rig) == 1


@pytest.mark.parametrize(
    ("event_type", "goes_on"),
    [
        ("heartbeat", True),
        ("seek", True),
        ("stall_start", True),
        ("moveaway", False),  # most often the page was closed; a hidden tab reports again
        ("pause", False),
        ("ended", False),
        ("playbackdetached", False),
    ],
)
def test_event_type_decides_whether_view_is_concurrent(event_type: str, goes_on: bool) -> None:
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0), player_event(1, event_type, 1.0))
    assert concurrent(rig) == goes_on


def test_loaded_page_is_not_concurrent() -> None:
    rig = Rig()
    rig.post(player_event(0, "viewstart"), player_event(0, "playerready"))
    assert concurrent(rig) == 0


def test_resumed_view_is_concurrent_again() -> None:
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0), player_event(1, "pause", 1.0))
    assert concurrent(rig) == 0
    rig.post(player_event(10, "playing", 1.0))
    assert concurrent(rig) == 1


def test_late_event_does_not_change_playing_state() -> None:
    rig = Rig()
    rig.post(player_event(5, "pause", 5.0))
    rig.post(player_event(0, "playing", 0.0))
    assert concurrent(rig) == 0


def test_old_event_does_not_make_view_concurrent() -> None:
    """A stored batch may be older than 5 min when its page is loaded again."""
    rig = Rig()
    rig.post(player_event(-301, "playing", 0.0))
    assert concurrent(rig) == 0
    rig.post(
        player_event(-301, "playing", 0.0, view="view-2"),
        player_event(0, "heartbeat", 300.0, view="view-2"),
    )
    assert concurrent(rig) == 1


def test_concurrency_gauge_has_base_labels_and_drops_to_zero() -> None:
    rig = Rig()
    rig.post(
        player_event(0, "playing", 0.0),
        player_event(0, "playing", 0.0, player="shaka", view="view-2"),
    )
    rig.flush()
    assert rig.total(CONCURRENT, player_name="hlsjs") == 1
    assert rig.total(CONCURRENT, player_name="shaka") == 1
    rig.post(player_event(1, "pause", 1.0, player="shaka", view="view-2"))
    rig.flush()
    assert rig.receiver.last(CONCURRENT, player_name="shaka") == 0.0
    rig.pass_time(6 * MINUTE)
    (samples,) = rig.receiver.select(CONCURRENT, player_name="shaka").values()
    assert [repr(value) for _, value in samples[-2:]] == ["0.0", "STALE"]


def test_views_end_in_order_of_silence() -> None:
    """A restarted worker with other earlier views ends them in the same order."""
    views = ViewTable(timeout=MINUTE, limit=10, retention=HOUR)
    keys = {name: ViewKey("org", name, None, "hlsjs") for name in "abcd"}
    for name, seen in (("a", 0), ("b", 20), ("c", 700), ("d", 1_000)):
        views.get_or_create(keys[name], (), NOW + seen)
    for name, seen in (("c", 5_100), ("b", 5_200), ("a", 5_300)):
        views.get_or_create(keys[name], (), NOW + seen)
    assert [view for view in views.expire_views(NOW + MINUTE) if view is not None] == []
    ended = [view for view in views.expire_views(NOW + MINUTE + 6_000) if view is not None]
    assert [view.key.view_id for view in ended] == ["d", "c", "b", "a"]


# Eviction


def test_view_beyond_limit_with_longest_silence_is_evicted() -> None:
    rig = Rig(OPENQOE_MAX_VIEWS="2", OPENQOE_FLUSH_INTERVAL="1")
    rig.post(
        player_event(0, "playing", 0.0, view="a"),
        player_event(0, "quartile", 15.0, view="a", quartile=25),
    )
    rig.flush()
    rig.post(player_event(1, "playing", 0.0, view="b"))
    rig.flush()
    rig.post(player_event(2, "heartbeat", 2.0, view="a"))
    rig.flush()
    rig.post(player_event(3, "playing", 0.0, view="c"))
    assert known(rig) == 2
    assert rig.total("openqoe_worker_views_forgotten_total") == 1
    # a and c are still known: nothing of them is counted again
    rig.post(player_event(4, "playing", 3.0, view="a"), player_event(4, "playing", 1.0, view="c"))
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 3
    rig.post(player_event(5, "playing", 4.0, view="b"))
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 4


def test_evicted_view_completes_like_expired_view() -> None:
    rig = Rig(OPENQOE_MAX_VIEWS="1", OPENQOE_FLUSH_INTERVAL="1")
    rig.post(
        player_event(0, "playing", 0.0, view="a"),
        player_event(0, "quartile", 15.0, view="a", quartile=75),
    )
    rig.flush()
    rig.post(player_event(1, "seek", 0.0, view="b"))
    rig.flush()
    assert rig.total("openqoe_completion_rate_sum") == 0.75
    assert rig.total(CONCURRENT) == 0


def test_expired_views_are_not_counted_as_evicted() -> None:
    rig = Rig(OPENQOE_MAX_VIEWS="2", OPENQOE_FLUSH_INTERVAL="60")
    for view in "ab":
        rig.post(player_event(0, "playing", 0.0, view=view))
    rig.pass_time(31 * MINUTE)
    assert known(rig) == 0
    assert rig.total("openqoe_worker_views_forgotten_total") == 0


def test_clock_set_back_ends_no_view() -> None:
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0))
    rig.now = NOW - HOUR
    rig.flush()
    rig.post(player_event(-3590, "heartbeat", 10.0, playing_time=10_000))
    rig.pass_time(20 * SECOND)
    assert rig.total("openqoe_views_started_total") == 1
    assert rig.total("openqoe_playing_time_seconds") == 10.0


def test_view_that_returns_after_timeout_is_not_counted_again() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.post(
        player_event(0, "viewstart", 0.0), player_event(60, "heartbeat", 60.0, playing_time=60_000)
    )
    rig.post(player_event(61, "pause", 61.0, playing_time=61_000))
    rig.pass_time(40 * MINUTE)  # the SDK is silent in a pause
    assert known(rig) == 0
    rig.post(
        player_event(2461, "playing", 61.0),
        player_event(2471, "heartbeat", 71.0, playing_time=71_000),
    )
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 1
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(71)


def test_completion_of_view_that_ends_twice_is_observed_once() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.post(player_event(0, "playing", 0.0), player_event(30, "quartile", 30.0, quartile=25))
    rig.pass_time(40 * MINUTE)
    rig.flush()
    rig.post(player_event(2460, "ended", 120.0, completion_rate=1))
    rig.flush()
    assert rig.total("openqoe_completion_rate_count") == 1
    assert rig.total("openqoe_completion_rate_sum") == 0.25
    assert rig.total("openqoe_views_completed_total") == 1


def test_ended_view_is_dropped_after_maximum_event_age() -> None:
    rig = Rig(OPENQOE_MAX_EVENT_AGE="3600", OPENQOE_FLUSH_INTERVAL="600")
    rig.post(player_event(0, "viewstart", 0.0))
    rig.pass_time(3 * HOUR)
    rig.post(player_event(3 * 3600, "viewstart", 0.0))
    rig.flush()
    assert rig.total("openqoe_views_loaded_total") == 2


# Early ends


def test_view_closed_before_first_frame_ends_after_60_s() -> None:
    rig = Rig(OPENQOE_VIEW_TIMEOUT="120")
    rig.post(
        player_event(0, "playing", 0.0),
        player_event(0, "stall_start", 0.0),
        player_event(5, "moveaway", 0.0),
    )
    rig.pass_time(59 * SECOND)
    assert rig.total("openqoe_view_outcomes_total") == 0
    rig.pass_time(30 * SECOND)
    assert rig.total("openqoe_view_outcomes_total", outcome="exit_before_start") == 1
    rig.pass_time(5 * MINUTE)
    assert rig.total("openqoe_view_outcomes_total") == 1


def test_view_that_comes_back_from_hidden_page_does_not_end_early() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.post(player_event(0, "playing", 0.0), player_event(0, "stall_start", 0.0))
    rig.post(player_event(5, "moveaway", 0.0))
    rig.pass_time(30 * SECOND)
    rig.post(player_event(30, "moveback", 0.0), player_event(31, "stall_end", 0.0))
    rig.pass_time(2 * MINUTE)
    assert known(rig) == 1
    assert rig.total("openqoe_view_outcomes_total") == 0
    rig.pass_time(HOUR)
    assert rig.total("openqoe_view_outcomes_total", outcome="stopped") == 1


def test_hidden_view_that_plays_does_not_end_early() -> None:
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0), player_event(5, "moveaway", 5.0))
    rig.pass_time(10 * MINUTE)
    assert known(rig) == 1


@pytest.mark.parametrize("is_further", [False, True])
def test_copied_view_is_the_one_that_has_followed_its_log_further(is_further: bool) -> None:
    ours, theirs = ViewTable(MINUTE, 10, HOUR), ViewTable(MINUTE, 10, HOUR)
    key = ViewKey("acme", "view", None, None)
    ours.get_or_create(key, (), NOW + SECOND).log_position = 1
    theirs.get_or_create(key, (), NOW).log_position = 2 if is_further else 1
    ours.copy_view(key, theirs)
    assert (ours.find(key) is theirs.find(key)) == is_further
