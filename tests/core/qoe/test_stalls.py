"""Stalls: their cause (start-up, seek, rebuffering) and their duration."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rig import HOUR, Rig, player_event

Causes = dict[str, tuple[float, float, float]]
"""Cause to number of stalls, number with a known duration, and total duration in s."""


def found_in(rig: Rig) -> Causes:
    causes = {}
    for cause in ("startup", "seek", "rebuffer", "paused"):
        numbers = (
            rig.total("openqoe_rebuffer_events_total", cause=cause),
            rig.total("openqoe_rebuffer_duration_seconds_count", cause=cause),
            round(rig.total("openqoe_rebuffer_duration_seconds_sum", cause=cause), 6),
        )
        if any(numbers):
            causes[cause] = numbers
    return causes


def causes(*events: dict[str, Any]) -> Causes:
    rig = Rig()
    rig.post(*events)
    rig.flush()
    return found_in(rig)


PLAYED_10_S = player_event(10, "heartbeat", 10.0, playing_time=10_000)
"""Progress: later stalls are not start-up."""


# Start-up


@pytest.mark.parametrize(
    "before",
    [
        [],
        [player_event(0, "viewstart"), player_event(0, "playing", 0.0)],
        [player_event(0, "pause", 0.0, playing_time=0)],
    ],
    ids=["first of all events", "after the play request", "nothing played yet"],
)
def test_stall_before_any_progress_is_startup(before: list[dict[str, Any]]) -> None:
    assert causes(
        *before,
        player_event(0.1, "stall_start", 0.0),
        player_event(1.5, "stall_end", 0.0, stall_duration=1_400),
    ) == {"startup": (1, 1, 1.4)}


def test_stall_at_initial_position_in_mid_video_is_startup() -> None:
    assert causes(
        player_event(0, "playing", 2_400.0),
        player_event(0.1, "stall_start", 2_400.0),
        player_event(0.9, "stall_end", 2_400.0, stall_duration=800),
    ) == {"startup": (1, 1, 0.8)}


def test_stall_at_initial_position_of_live_stream_is_startup() -> None:
    assert causes(
        player_event(0, "playing", 86_400.3),
        player_event(0.1, "stallstart", 86_400.3),
        player_event(0.9, "stallend", 86_400.3),
    ) == {"startup": (1, 1, 0.8)}


def test_stall_at_beginning_after_progress_is_not_startup() -> None:
    assert causes(
        player_event(0, "pause", 0.1, playing_time=100),
        player_event(0.9, "playing", 0.1),
        player_event(1, "stall_start", 0.1),
        player_event(2, "stall_end", 0.1, stall_duration=1_000),
    ) == {"rebuffer": (1, 1, 1.0)}


def test_stall_in_pause_is_not_rebuffering() -> None:
    """The viewer does not wait for the picture."""
    assert causes(
        PLAYED_10_S,
        player_event(12, "pause", 12.0, playing_time=12_000),
        player_event(13, "stall_start", 12.0),
        player_event(14, "stall_end", 12.0, stall_duration=1_000),
    ) == {"paused": (1, 1, 1.0)}


# Rebuffering


def test_stall_at_expected_position_is_rebuffering() -> None:
    assert causes(
        PLAYED_10_S,
        player_event(15, "stall_start", 15.0),
        player_event(18, "stall_end", 15.0, stall_duration=3_000),
    ) == {"rebuffer": (1, 1, 3.0)}


def test_stall_after_playing_at_double_speed_is_rebuffering() -> None:
    assert causes(
        PLAYED_10_S,
        player_event(20, "stall_start", 30.0),
        player_event(21, "stall_end", 30.0, stall_duration=1_000),
    ) == {"rebuffer": (1, 1, 1.0)}


def test_late_event_with_other_position_is_not_a_jump() -> None:
    """Events that are earlier by the client's clock do not show where the view was last."""
    rig = Rig()
    rig.post(player_event(60, "heartbeat", 60.0, playing_time=60_000))
    rig.post(
        player_event(20, "stall_start", 20.0),
        player_event(22, "stall_end", 20.0, stall_duration=2_000),
    )
    rig.flush()
    assert found_in(rig) == {"rebuffer": (1, 1, 2.0)}


def test_ended_stall_is_classified_after_reorder_window() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(
        PLAYED_10_S,
        player_event(12, "stall_start", 12.0),
        player_event(13, "stall_end", 12.0, stall_duration=1_000),
        player_event(13.3, "quartile", 12.3, quartile=25),
    )
    rig.flush(10)
    assert found_in(rig) == {"rebuffer": (1, 1, 1.0)}


def test_stall_without_explanation_is_rebuffering_after_timeout() -> None:
    """After 10 s no seek can explain it, whether it has ended or not."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(PLAYED_10_S, player_event(12, "stall_start", 12.0))
    rig.flush(9)
    assert found_in(rig) == {}
    rig.flush()
    assert found_in(rig) == {"rebuffer": (1, 0, 0.0)}
    rig.post(player_event(20, "stall_end", 12.0, stall_duration=8_000))
    rig.flush(10)
    assert found_in(rig) == {"rebuffer": (1, 1, 8.0)}


def test_stall_without_background_flush_is_classified_at_once() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="0")
    rig.post(PLAYED_10_S, player_event(12, "stall_start", 12.0))
    assert found_in(rig) == {"rebuffer": (1, 0, 0.0)}


def test_last_flush_classifies_open_stall() -> None:
    rig = Rig()
    rig.post(PLAYED_10_S, player_event(12, "stall_start", 12.0))
    rig.close()
    assert found_in(rig) == {"rebuffer": (1, 0, 0.0)}


# Seeks


@pytest.mark.parametrize("target", [40.0, 3.0], ids=["forward", "back"])
def test_jump_of_position_without_seek_event_is_a_seek(target: float) -> None:
    assert causes(
        PLAYED_10_S,
        player_event(12, "stall_start", target),
        player_event(12.5, "stall_end", target, stall_duration=500),
    ) == {"seek": (1, 1, 0.5)}


NEAR = 20.0
"""A position that 5 s of playing at double speed could reach from that of PLAYED_10_S, so that only
a seek event reveals a seek."""


@pytest.mark.parametrize(
    "story",
    [
        [
            player_event(15, "stall_start", NEAR),
            player_event(15.1, "seek", NEAR, to=NEAR * 1000, seek_latency=100),
            player_event(15.2, "stall_end", NEAR, stall_duration=200),
        ],
        [
            player_event(15, "stall_start", NEAR),
            player_event(15.05, "quartile", NEAR, quartile=25),
            player_event(15.1, "seek", NEAR, to=NEAR * 1000, seek_latency=100),
            player_event(15.2, "stall_end", NEAR, stall_duration=200),
        ],
        [
            player_event(15, "stall_start", NEAR),
            player_event(15.2, "stall_end", NEAR, stall_duration=200),
            player_event(15.24, "seek", NEAR, to=NEAR * 1000, seek_latency=240),
        ],
        [
            player_event(15, "stall_start", NEAR),
            player_event(15.1, "seek", NEAR),
            player_event(15.2, "stall_end", NEAR, stall_duration=200),
        ],
    ],
    ids=["before the end", "quartiles in between", "after the end", "without data"],
)
def test_seek_to_stall_position_explains_stall(story: list[dict[str, Any]]) -> None:
    assert causes(PLAYED_10_S, *story) == {"seek": (1, 1, 0.2)}


def test_seek_in_later_batch_explains_stall() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(PLAYED_10_S, player_event(15, "stall_start", NEAR))
    rig.flush()
    rig.post(
        player_event(15.9, "seek", NEAR, to=NEAR * 1000, seek_latency=900),
        player_event(16, "stall_end", NEAR, stall_duration=1_000),
    )
    rig.flush(10)
    assert found_in(rig) == {"seek": (1, 1, 1.0)}


def test_seek_by_which_player_recovers_leaves_stall_as_rebuffering() -> None:
    """video.js nudges itself free by a seek to its own position."""
    assert causes(
        PLAYED_10_S,
        player_event(15, "stall_start", NEAR),
        player_event(17.1, "seek", NEAR, to=NEAR * 1000, seek_latency=100),
        player_event(17.5, "stall_end", NEAR, stall_duration=2_500),
    ) == {"rebuffer": (1, 1, 2.5)}


def test_seek_to_other_place_ends_rebuffering() -> None:
    """From then on the viewer waits for the seek: it began 0.2 s before its event."""
    assert causes(
        PLAYED_10_S,
        player_event(15, "stall_start", NEAR),
        player_event(17.2, "seek", 50.0, to=50_000, seek_latency=200),
        player_event(17.5, "stall_end", 50.0, stall_duration=2_500),
    ) == {"rebuffer": (1, 1, 2.0)}


def test_seek_without_latency_long_after_end_leaves_stall_as_rebuffering() -> None:
    assert causes(
        PLAYED_10_S,
        player_event(15, "stall_start", NEAR),
        player_event(15.2, "stall_end", NEAR, stall_duration=200),
        player_event(15.5, "seek", NEAR, to=NEAR * 1000),
    ) == {"rebuffer": (1, 1, 0.2)}


def test_seek_whose_latency_spans_stall_explains_it() -> None:
    assert causes(
        PLAYED_10_S,
        player_event(15, "stall_start", NEAR),
        player_event(15.2, "stall_end", NEAR, stall_duration=200),
        player_event(15.5, "seek", NEAR, to=NEAR * 1000, seek_latency=500),
    ) == {"seek": (1, 1, 0.2)}


# dash.js of the second generation: starts come twice, ends often never


def dash(
    second: float, event_type: str, position: float | None = None, **data: Any
) -> dict[str, Any]:
    return player_event(second, event_type, position, player="dashjs", **data)


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        (dash(15, "playing", 12.0, playing_time=12.0), 3.0),
        (dash(15, "seek", 40.0, to=40_000), 3.0),
        (dash(20, "heartbeat", 17.0, playing_time=17_000), 3.0),
        (dash(15, "stallend", 12.0, stall_position_secs=12.0), 3.0),
    ],
    ids=["it plays", "the viewer seeks away", "a heartbeat has moved on", "the rare end"],
)
def test_dash_js_stall_ends_when_position_moves(end: dict[str, Any], seconds: float) -> None:
    start = dash(10, "heartbeat", 10.0, playing_time=10_000)
    assert causes(start, dash(12, "stallstart", 12.0), end) == {"rebuffer": (1, 1, seconds)}


@pytest.mark.parametrize(
    "event",
    [
        dash(20, "heartbeat", 12.0, playing_time=12_000),
        dash(20, "heartbeat", None, playing_time=12_000),
        dash(20, "seek", 12.05, seek_latency=20),
        dash(20, "bufferlevelchange", 30.0),
    ],
    ids=["still there", "no position", "a nudge", "says nothing of the picture"],
)
def test_dash_js_stall_without_movement_stays_open(event: dict[str, Any]) -> None:
    start = dash(10, "heartbeat", 10.0, playing_time=10_000)
    assert causes(start, dash(12, "stallstart", 12.0), event) == {"rebuffer": (1, 0, 0.0)}


def test_repeated_stall_start_counts_once() -> None:
    assert causes(
        dash(10, "heartbeat", 10.0, playing_time=10_000),
        dash(12, "stallstart", 12.0),
        dash(12.5, "stallstart", 12.01),
        dash(15, "playing", 12.0, playing_time=12.0),
    ) == {"rebuffer": (1, 1, 3.0)}


def test_stalls_at_different_positions_count_separately() -> None:
    """2.5 s were played between them, so the first took 0.5 s of the 3."""
    assert causes(
        dash(10, "heartbeat", 10.0, playing_time=10_000),
        dash(12, "stallstart", 12.0),
        dash(15, "stallstart", 14.5),
        dash(16, "playing", 14.5, playing_time=14.5),
    ) == {"rebuffer": (2, 2, 1.5)}


def test_stall_of_other_players_ends_only_by_its_end_event() -> None:
    """A play request during a stall does not end it."""
    assert causes(
        PLAYED_10_S,
        player_event(12, "stall_start", 12.0),
        player_event(13, "playing", 12.0),
        player_event(16, "stall_end", 12.0, stall_duration=4_000),
    ) == {"rebuffer": (1, 1, 4.0)}


# Lost, late and odd events


def test_stall_end_without_start_counts_reported_duration() -> None:
    """Number and duration go together, so that their ratio is a mean."""
    assert causes(PLAYED_10_S, player_event(14, "stall_end", 12.0, stall_duration=2_000)) == {
        "rebuffer": (1, 1, 2.0)
    }


def test_stall_end_without_start_and_duration_counts_nothing() -> None:
    assert causes(PLAYED_10_S, player_event(14, "stallend", 12.0)) == {}


def test_stall_start_without_end_counts_until_position_moves() -> None:
    """16 s were played until the second stall, so the first took 2 s of the 18."""
    assert causes(
        PLAYED_10_S,
        player_event(12, "stall_start", 12.0),
        player_event(30, "stall_start", 28.0),
        player_event(31, "stall_end", 28.0, stall_duration=1_000),
    ) == {"rebuffer": (2, 2, 3.0)}


def test_stall_without_end_counts_until_last_event() -> None:
    """The viewer who leaves because it stalls is in the seconds."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(
        PLAYED_10_S,
        player_event(12, "stall_start", 12.0),
        player_event(20, "heartbeat", 12.0, playing_time=12_000),
        player_event(22, "moveaway", 12.0),
    )
    rig.pass_time(HOUR)
    assert found_in(rig) == {"rebuffer": (1, 1, 10.0)}


def test_reported_duration_beyond_elapsed_time_is_not_used() -> None:
    """It includes a pause, or the clock has jumped."""
    assert causes(
        PLAYED_10_S,
        player_event(12, "stall_start", 12.0),
        player_event(14, "stall_end", 12.0, stall_duration=9_000),
    ) == {"rebuffer": (1, 1, 2.0)}


def test_stalled_download_while_picture_moves_is_no_stall() -> None:
    """html5 of the second generation reports the DOM's ``stalled``, with an end 3 minutes later."""
    beats = [
        player_event(t, "heartbeat", float(t), player="html5", playing_time=t * 1000)
        for t in range(10, 180, 10)
    ]
    rig = Rig()
    rig.post(
        *beats,
        player_event(11, "stallstart", 11.0, player="html5"),
        player_event(190, "stallend", 190.0, player="html5", stall_duration=179_000),
    )
    rig.flush()
    assert found_in(rig) == {}


@pytest.mark.parametrize(
    ("end", "seconds"),
    [
        (player_event(14, "stall_end", 12.0, stall_duration=1_900.5), 1.9005),
        (player_event(14, "stall_end", 12.0, stall_duration=0), 0.0),
        (player_event(14, "stall_end", 12.0), 2.0),
        (player_event(14, "stall_end", 12.0, stall_duration=None), 2.0),
        (player_event(14, "stall_end", 12.0, stall_duration=-700), 2.0),
    ],
    ids=["as reported", "none", "since the start", "null", "a clock error"],
)
def test_stall_duration_is_reported_else_elapsed_time(end: dict[str, Any], seconds: float) -> None:
    assert causes(PLAYED_10_S, player_event(12, "stall_start", 12.0), end) == {
        "rebuffer": (1, 1, seconds)
    }


def test_stall_end_before_start_leaves_it_open() -> None:
    rig = Rig()
    rig.post(PLAYED_10_S, player_event(12, "stallstart", 12.0))
    rig.post(player_event(11, "stallend", 12.0))
    rig.flush()
    assert found_in(rig) == {"rebuffer": (1, 0, 0.0)}


def test_stall_without_view_counts_as_rebuffering() -> None:
    assert causes(player_event(0, "stallstart", 0.0, view="unknown")) == {"rebuffer": (1, 0, 0.0)}


def test_seek_of_other_view_does_not_explain_stall() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(
        PLAYED_10_S,
        player_event(15, "stall_start", NEAR),
        player_event(15.1, "seek", NEAR, view="view-2", to=NEAR * 1000, seek_latency=100),
        player_event(16, "stall_end", NEAR, stall_duration=1_000),
    )
    rig.pass_time(HOUR)
    assert found_in(rig) == {"rebuffer": (1, 1, 1.0)}


def test_seek_in_next_batch_after_flush_explains_stall() -> None:
    """The SDK sends a batch every 5 s, so a flush may come between the two."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(PLAYED_10_S, player_event(12, "stall_start", 15.0))
    rig.flush(6)
    rig.post(player_event(13, "seek", 15.0, to=15_000, seek_latency=1_000))
    rig.post(player_event(13, "stall_end", 15.0, stall_duration=1_000))
    rig.flush(10)
    assert found_in(rig) == {"seek": (1, 1, 1.0)}
