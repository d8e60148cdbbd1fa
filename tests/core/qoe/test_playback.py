"""Observations derived from events: facts that hold once a view, start-up, pauses, quality."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.rig import Rig, player_event


def measured(*batches: list[dict[str, Any]]) -> Rig:
    rig = Rig()
    for events in batches:
        rig.post(*events)
    rig.flush()
    return rig


# Once a view


@pytest.mark.parametrize(
    "events",
    [
        [player_event(0, "viewstart"), player_event(1, "playing", 0.0)],
        [player_event(1, "playing", 0.0), player_event(5, "viewstart")],
        [
            player_event(1, "playing", 0.0),
            player_event(9, "playing", 8.0),
            player_event(20, "playing", 19.0),
        ],
    ],
    ids=["both", "late viewstart", "resumes"],
)
def test_repeated_start_events_start_view_once(events: list[dict[str, Any]]) -> None:
    assert measured(events).total("openqoe_views_started_total") == 1
    apart = measured(*([event] for event in events))
    assert apart.total("openqoe_views_started_total") == 1


def test_view_of_two_sources_is_loaded_once_and_not_started() -> None:
    """A view starts with a play request; in the first generation too."""
    rig = measured([player_event(0, "viewstart"), player_event(0.1, "viewstart")])
    assert rig.total("openqoe_views_loaded_total") == 1
    assert rig.total("openqoe_views_started_total") == 0


def test_each_video_of_page_is_a_view() -> None:
    """The SDK keeps one view_id for all of them, each with its own totals."""
    rig = measured(
        [
            player_event(0, "playing", 0.0, video="first", video_startup_time=500),
            player_event(10, "heartbeat", 10.0, video="first", playing_time=10_000),
            player_event(12, "quartile", 12.0, video="first", quartile=25),
            player_event(20, "playing", 0.0, video="second", video_startup_time=700),
            player_event(26, "heartbeat", 6.0, video="second", playing_time=6_000),
            player_event(27, "quartile", 7.0, video="second", quartile=25),
            player_event(30, "ended", 10.0, video="first", playing_time=12_000),
            player_event(30, "ended", 10.0, video="second", playing_time=9_500),
        ]
    )
    assert rig.total("openqoe_views_started_total") == 2
    assert rig.total("openqoe_reported_startup_seconds_count") == 2
    assert rig.total("openqoe_quartile_reached_total") == 2
    assert rig.total("openqoe_views_completed_total") == 2
    assert rig.total("openqoe_playing_time_seconds") == 21.5


@pytest.mark.parametrize("field", ["org_id", "view_id", "player"])
def test_org_view_video_and_player_identify_view(field: str) -> None:
    other = {"org_id": "other", "view_id": "view-2", "player": {"name": "shaka"}}[field]
    rig = measured(
        [player_event(0, "playing", 0.0), {**player_event(0, "playing", 0.0), field: other}]
    )
    assert rig.total("openqoe_views_started_total") == 2


# Start-up


@pytest.mark.parametrize(
    ("events", "source", "seconds"),
    [
        # the first play request reports it; a resume sends another value under the same name
        (
            [
                player_event(0, "playing", 0.0, video_startup_time=400),
                player_event(9, "playing", 8.0, video_startup_time=8_510),
            ],
            "playing",
            0.4,
        ),
        # canplay counts from the navigation, as player_startup_time does
        (
            [
                player_event(0, "playerready", player_startup_time=1_000),
                player_event(1, "canplay", video_startup_time=1_800),
            ],
            "canplay",
            0.8,
        ),
        # in any order
        (
            [
                player_event(0, "canplay", video_startup_time=1_800),
                player_event(1, "playerready", player_startup_time=1_000),
            ],
            "canplay",
            0.8,
        ),
        # the first one holds
        (
            [
                player_event(0, "playerready", player_startup_time=1_000),
                player_event(1, "canplay", video_startup_time=1_800),
                player_event(2, "playing", 0.0, video_startup_time=400),
            ],
            "canplay",
            0.8,
        ),
        ([player_event(0, "playing", 0.0, video_startup_time=0)], "playing", 0.0),
    ],
    ids=["first playing", "canplay", "canplay first", "both", "at once"],
)
def test_reported_startup_is_observed_once(
    events: list[dict[str, Any]], source: str, seconds: float
) -> None:
    rig = measured(events)
    assert rig.total("openqoe_reported_startup_seconds_count") == 1
    assert rig.total("openqoe_reported_startup_seconds_sum", field=source) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "events",
    [
        [
            player_event(0, "playing", 0.0),
            player_event(9, "playing", 8.0, video_startup_time=8_510),
        ],
        [
            player_event(0, "playerready", player_startup_time=2_000),
            player_event(1, "canplay", video_startup_time=1_800),
        ],
        [player_event(1, "canplay", video_startup_time=1_800)],
        [player_event(0, "playing", 0.0, video_startup_time=-5)],
    ],
    ids=["the first playing did not know", "ready after canplay", "never ready", "negative"],
)
def test_reported_startup_without_evidence_is_not_observed(events: list[dict[str, Any]]) -> None:
    assert measured(events).total("openqoe_reported_startup_seconds_count") == 0


# Pauses


def paused(second: float) -> dict[str, Any]:
    return player_event(second, "pause", second, playing_time=second * 1000)


def ended(second: float) -> dict[str, Any]:
    return player_event(second, "ended", second, playing_time=second * 1000)


@pytest.mark.parametrize(
    ("batches", "pauses"),
    [
        ([[paused(10), ended(10.05)]], 0),
        ([[paused(10)], [ended(10.05)]], 0),
        ([[ended(10)], [paused(9.99)]], 0),
        ([[paused(10), player_event(10.01, "quartile", 10.0, quartile=100), ended(10.02)]], 0),
        ([[paused(10), ended(10.051)]], 1),
        ([[paused(5), paused(10), ended(10.01)]], 1),
        ([[paused(5), player_event(8, "playing", 5.0)]], 1),
        ([[paused(5)]], 1),
    ],
    ids=[
        "right before the end",
        "in the batch before",
        "reported after it",
        "with a quartile between",
        "a little earlier",
        "the second of two",
        "resumed",
        "for good",
    ],
)
def test_pause_right_before_end_is_not_counted(
    batches: list[list[dict[str, Any]]], pauses: int
) -> None:
    assert measured(*batches).total("openqoe_pause_events_total") == pauses


def test_pause_without_following_end_is_counted_after_timeout() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="1")
    rig.post(paused(5))
    rig.flush(9)
    assert rig.total("openqoe_pause_events_total") == 0
    rig.flush()
    assert rig.total("openqoe_pause_events_total") == 1
    rig.flush(5)
    assert rig.total("openqoe_pause_events_total") == 1


# Quality


def quality(second: float, **data: Any) -> dict[str, Any]:
    return player_event(second, "qualitychange", second, **data)


LOW, HIGH = {"width": 640, "height": 360}, {"width": 1920, "height": 1080}


@pytest.mark.parametrize(
    ("events", "directions"),
    [
        ([quality(0, bitrate=1e6)], []),
        ([quality(0, bitrate=1e6), quality(5, bitrate=1e6)], []),
        ([quality(0, bitrate=1e6), quality(5, bitrate=3e6)], ["upshift"]),
        ([quality(0, bitrate=3e6), quality(5, bitrate=1e6)], ["downshift"]),
        ([player_event(0, "playing", 0.0, bitrate=1e6), quality(5, bitrate=3e6)], ["upshift"]),
        ([quality(0, resolution=HIGH), quality(5, resolution=LOW)], ["downshift"]),
        # by bit rate first, whatever the height
        (
            [quality(0, bitrate=1e6, resolution=HIGH), quality(5, bitrate=3e6, resolution=LOW)],
            ["upshift"],
        ),
        # by height where the bit rate is the same or unknown
        (
            [quality(0, bitrate=1e6, resolution=LOW), quality(5, bitrate=1e6, resolution=HIGH)],
            ["upshift"],
        ),
        ([quality(0, bitrate=None, resolution=LOW), quality(5, resolution=HIGH)], ["upshift"]),
        # the page reports a switch
        ([quality(5, old_bitrate=1e6, new_bitrate=1e6)], ["same"]),
        ([quality(5, trigger="user")], ["same"]),
        ([quality(5, bitrate_kb=1_000, old={"bitrate_kb": 3_000})], ["downshift"]),
        # 0 x 0 is unknown, not small
        (
            [quality(0, resolution=HIGH), quality(5, resolution={"width": 0, "height": 0})],
            [],
        ),
        # a request is not yet a change
        (
            [
                quality(0, bitrate_kb=800),
                player_event(5, "qualitychangerequested", 5.0, bitrate_kb=900),
            ],
            [],
        ),
        # sound is not picture
        (
            [
                quality(0, bitrate_kb=800, media_type="video"),
                quality(5, bitrate_kb=128, media_type="audio"),
                quality(6, bitrate_kb=800, media_type="video"),
            ],
            [],
        ),
    ],
    ids=[
        "first choice",
        "nothing new",
        "up",
        "down",
        "against playing",
        "by height",
        "rate before height",
        "height at the same rate",
        "height without a rate",
        "reported: no difference",
        "reported: by the viewer",
        "reported: the old one",
        "unknown height",
        "requested",
        "sound",
    ],
)
def test_quality_change_has_direction(events: list[dict[str, Any]], directions: list[str]) -> None:
    rig = measured(events)
    for direction in ("upshift", "downshift", "same"):
        found = rig.total("openqoe_quality_changes_total", change_direction=direction)
        assert found == directions.count(direction)


def test_old_bit_rate_is_reported_else_last_known() -> None:
    rig = measured([quality(0, bitrate_kb=800), quality(5, bitrate_kb=2_400)])
    assert rig.total("openqoe_quality_change_old_bitrate_bps") == 800_000
    rig = measured([quality(0, bitrate_kb=800), quality(5, new_bitrate=2.4e6, old_bitrate=1.6e6)])
    assert rig.total("openqoe_quality_change_old_bitrate_bps") == 1_600_000


def test_repeated_quality_event_is_not_a_change() -> None:
    """video.js repeats the event several times per second while segments fail."""
    storm = [quality(n / 4, player="videojs", bitrate=4e5, resolution=HIGH) for n in range(40)]
    rig = measured(storm)
    assert rig.total("openqoe_quality_changes_total") == 0
    assert rig.total("openqoe_resolution_total") == 1
    assert rig.total("openqoe_events_total") == 40


# The end


def test_completion_is_that_of_first_end() -> None:
    rig = measured(
        [player_event(60, "ended", 60.0, completion_rate=0.99)],
        [player_event(130, "ended", 60.0, completion_rate=1.0)],
    )
    assert rig.total("openqoe_completion_rate_count") == 1
    assert rig.total("openqoe_completion_rate_sum") == 0.99


def test_end_without_completion_rate_completes_view() -> None:
    rig = measured([player_event(60, "ended", 60.0)])
    assert rig.total("openqoe_views_completed_total") == 1
    assert rig.total("openqoe_completion_rate_count") == 0


def test_repeated_end_adds_its_playing_time() -> None:
    rig = measured([ended(60)], [player_event(130, "ended", 60.0, playing_time=118_000)])
    assert rig.total("openqoe_playing_time_seconds") == 118.0
    assert rig.total("openqoe_views_completed_total") == 1


def test_bit_rate_of_sound_does_not_change_rendition() -> None:
    """Its ``bitrate`` is that of the latest change, of picture or sound."""

    def dash(second: float, event_type: str, position: float, **data: Any) -> dict[str, Any]:
        return player_event(second, event_type, position, player="dashjs", **data)

    rig = measured(
        [
            dash(0, "qualitychange", 0, bitrate_kb=2000, media_type="video"),
            dash(0, "qualitychange", 0, bitrate_kb=64, media_type="audio"),
            dash(8, "playing", 5.4, bitrate=64),
            dash(20, "qualitychange", 17.4, bitrate_kb=800, media_type="video"),
        ]
    )
    assert rig.total("openqoe_quality_changes_total", change_direction="downshift") == 1
    assert rig.total("openqoe_bitrate_bps_sum") == 2_000_000 + 2_000_000 + 800_000
