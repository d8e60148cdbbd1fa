"""The last events of a view: what was played after the last running total, and after an error."""

from typing import Any

import pytest

from tests.support.rig import HOUR, Rig, player_event


def ended(*events: dict[str, Any]) -> Rig:
    """A worker after the end of a view with these events."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(*events)
    rig.pass_time(HOUR)
    return rig


def test_view_left_before_first_heartbeat_counts_its_position() -> None:
    rig = ended(player_event(0, "playing", 0.0), player_event(3, "moveaway", 3.0))
    assert rig.total("openqoe_playing_time_seconds") == 3
    assert rig.total("openqoe_watch_time_seconds") == 3


def test_view_left_in_seek_counts_what_was_played_before() -> None:
    rig = ended(
        player_event(0, "playing", 0.0),
        player_event(10, "heartbeat", 10.0, playing_time=9_800),
        player_event(14, "volumechange", 14.0),
        player_event(15, "stallstart", 80.0),
        player_event(20, "moveaway", 80.0),
    )
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(14.8)
    assert rig.total("openqoe_rebuffer_duration_seconds_sum", cause="seek") == 5


@pytest.mark.parametrize(("position", "watched"), [(10.0, 10), (14.0, 14)])
def test_time_after_error_counts_only_if_position_moves(position: float, watched: float) -> None:
    rig = ended(
        player_event(0, "playing", 0.0),
        player_event(10, "error", 10.0, error_family="decoder", error_code="-1"),
        player_event(14, "moveaway", position),
    )
    assert rig.total("openqoe_watch_time_seconds") == watched
    how = "playback_failure" if position == 10 else "stopped"
    assert rig.total("openqoe_view_outcomes_total", outcome=how) == 1


def test_renditions_of_one_millisecond_are_taken_in_the_order_sent() -> None:
    """video.js: the picture shows the rest of one rendition, and the next is loaded, at once."""
    rig = Rig()
    high, low = {"width": 1920, "height": 1080}, {"width": 1280, "height": 720}
    rig.post(player_event(0, "playing", 0.0, player="videojs", bitrate=1, resolution=high))
    rig.post(
        player_event(20, "qualitychange", 20.0, player="videojs", bitrate=1, resolution=high),
        player_event(20, "qualitychange", 20.0, player="videojs", bitrate=1, resolution=low),
    )
    rig.flush(3)
    changes = {
        labels["change_direction"]: series[-1][1]
        for labels, series in (
            (dict(labels), series)
            for labels, series in rig.receiver.select("openqoe_quality_changes_total").items()
        )
    }
    assert changes == {"downshift": 1}


def test_frames_dropped_before_the_rendition_is_known_count_for_the_share() -> None:
    """The signals of a view's first seconds wait while its first dropped frames are reported."""
    rig = Rig()
    start: dict[str, Any] = {
        "bitrate": 1_000_000,
        "resolution": {"width": 1280, "height": 720},
        "framerate": 25,
    }
    rig.post(player_event(-5, "viewstart", 0.0, player="videojs"))
    rig.pass_time(12_000)  # alone in the first step
    rig.post(
        player_event(0, "playing", 0.0, player="videojs", **start),
        player_event(
            10, "heartbeat", 10.0, player="videojs", playing_time=10_000, dropped_frames=3
        ),
    )
    rig.flush(3)
    assert rig.receiver.total("openqoe_expected_frames_dropped_total") == 3
