"""Fields in canonical units: each trap of the recorded SDKs, as a table.

Section numbers refer to the notes on the traffic of the SDKs: 3 first generation, 4 second
generation, 6 running totals, 7 disagreements, 8 canonical model.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from openqoe.core.events.event_types import Data, Event
from openqoe.core.qoe import fields
from openqoe.core.qoe.vocabulary import KIND_BY_EVENT_TYPE
from tests.support.rig import Rig, player_event

SHIFTED_EPOCH = 1_786_000_000_000.0
"""watch_time of a first-generation quartile: the epoch minus a monotonic clock."""


def decoded(event_type: str, player: str = "hlsjs", **data: Any) -> Event:
    return msgspec.convert(player_event(0, event_type, 1.0, player=player, **data), Event)


@pytest.mark.parametrize(
    ("player", "data", "bps"),
    [
        # 3: first generation, bit/s
        ("hlsjs", {"bitrate": 2_376_000}, 2_376_000),
        ("dashjs", {"bitrate": 800_000}, 800_000),
        ("html5", {"bitrate": None}, None),
        # 4: second generation, kbit/s
        ("hlsjs", {"bitrate_kb": 2_376}, 2_376_000),
        ("dashjs", {"bitrate": 800}, 800_000),
        ("dashjs", {"bitrate": 99_999}, 99_999_000),
        ("dashjs", {"bitrate": 100_000}, 100_000),
        ("dashjs", {"bitrate_kb": 2_400, "bitrate": 1}, 2_400_000),
        # a rendition below 100 kbit/s is possible where kbit/s are not
        ("hlsjs", {"bitrate": 64_000}, 64_000),
        # 7: the old documentation's name
        ("html5", {"new_bitrate": 1_500_000}, 1_500_000),
        # 8: Shaka sends throughput, video.js the first enabled level
        ("shaka", {"bitrate": 97_000_000}, None),
        ("videojs", {"bitrate": 400_000}, None),
        # not a bit rate at all
        ("hlsjs", {"bitrate": 0}, None),
        ("hlsjs", {"bitrate": -1}, None),
        ("hlsjs", {"bitrate_kb": -1}, None),
        ("hlsjs", {"new_bitrate": -1}, None),
        ("hlsjs", {}, None),
    ],
)
def test_bit_rate_of_rendition_is_in_bps(
    player: str, data: dict[str, Any], bps: float | None
) -> None:
    assert fields.rendition_bps(decoded("heartbeat", player, **data)) == bps


@pytest.mark.parametrize(
    ("data", "bps"),
    [
        ({"old": {"bitrate_kb": 1_200}}, 1_200_000),
        ({"old_bitrate": 1_200_000}, 1_200_000),
        ({"previous_bitrate": 1_200_000}, 1_200_000),
        ({"old": {"bitrate_kb": None}, "old_bitrate": None}, None),
        ({"old_bitrate": -1}, None),
        ({"old": {"bitrate_kb": -1}}, None),
        ({"old": {}}, None),
        ({}, None),
    ],
)
def test_bit_rate_before_change_is_in_bps(data: dict[str, Any], bps: float | None) -> None:
    assert fields.previous_bps(decoded("qualitychange", **data)) == bps


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        ({"buffer_length": 1_500.5}, 1.5005),
        ({"buffer_len_ms": 1_500}, 1.5),
        ({"buf_len": 1_500}, 1.5),
        ({"buffer_length": 0}, 0.0),
        ({"buffer_length": None, "buffer_len_ms": 20}, 0.02),
        ({"buffer_length": -3}, None),
        ({}, None),
    ],
)
def test_buffer_length_has_three_names(data: dict[str, Any], seconds: float | None) -> None:
    assert fields.buffer_s(decoded("heartbeat", **data)) == seconds


@pytest.mark.parametrize(
    ("value", "frames"),
    [
        (7, 7),
        (0, 0),
        ({"time": "2026-10-09T08:53:20.000Z", "droppedFrames": 5}, 5),
        ({"droppedFrames": None}, None),
        ({}, None),
        (-1, None),
        ({"droppedFrames": -1}, None),
        (None, None),
    ],
)
def test_dropped_frames_may_be_number_or_object(value: Any, frames: float | None) -> None:
    assert fields.dropped_frames_total(decoded("heartbeat", dropped_frames=value)) == frames


@pytest.mark.parametrize(
    ("reported", "ratio"),
    [
        (0, 0.0),
        (0.42, 0.42),
        (1, 1.0),
        (1.0004, 1.0),  # the position may lie slightly beyond the duration
        (42, 0.42),
        (100, 1.0),
        (100.5, None),
        (-0.1, None),
        (None, None),
    ],
)
def test_completion_may_be_ratio_or_percentage(reported: Any, ratio: float | None) -> None:
    found = fields.completion_ratio(decoded("ended", completion_rate=reported))
    assert found == (None if ratio is None else pytest.approx(ratio))


@pytest.mark.parametrize(
    ("pixels", "name"),
    [
        (None, "unknown"),
        (0, "unknown"),
        (144, "unknown"),
        (239, "unknown"),
        (240, "240p"),
        (360, "360p"),
        (480, "480p"),
        (576, "480p"),
        (719.5, "480p"),
        (720, "720p"),
        (1080, "1080p"),
        (1440, "1440p"),
        (2160, "4k"),
        (4320, "8k"),
        (9000, "8k"),
    ],
)
def test_resolution_follows_from_height(pixels: float | None, name: str) -> None:
    event = decoded("playing", resolution={"width": 1, "height": pixels})
    assert fields.resolution_name(fields.height(event)) == name


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"error_code": "2"}, "2"),
        ({"error_code": 1001}, "1001"),
        (
            {"error_code": "-1", "error_context": {"error_details": "fragLoadError"}},
            "fragLoadError",
        ),
        (
            {"error_code": -1, "error_context": {"error_details": "bufferStalledError"}},
            "bufferStalledError",
        ),
        ({"error_code": "-1", "error_context": {"error_details": None}}, "-1"),
        ({"error_code": "-1", "error_context": None}, "-1"),
        ({"error_code": "3", "error_context": {"error_details": "fragLoadError"}}, "3"),
        ({"error_code": ""}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_error_code_of_hls_js_is_error_detail(data: dict[str, Any], code: str) -> None:
    assert fields.error_code(decoded("error", **data)) == code


@pytest.mark.parametrize(
    ("player", "data", "seconds"),
    [
        ("hlsjs", {"page_load_time": 2_000, "player_startup_time": 900}, 2.0),
        ("hlsjs", {"page_load_time": 2_000}, 2.0),
        ("videojs", {"page_load_time": 2_000, "player_startup_time": 900}, 2.0),
        # 7: the run time of the load handlers under the same name
        ("videojs", {"page_load_time": 0.4}, None),
        ("hlsjs", {"page_load_time": 0, "player_startup_time": 900}, None),
        ("hlsjs", {"page_load_time": -1_786_000_000_000}, None),
        ("hlsjs", {}, None),
    ],
)
def test_page_load_time_is_in_seconds_unless_unreliable(
    player: str, data: dict[str, Any], seconds: float | None
) -> None:
    assert fields.page_load_s(decoded("playerready", player, **data)) == seconds


def test_position_is_in_seconds() -> None:
    assert fields.position_s(decoded("heartbeat")) == 1.0
    assert fields.position_s(msgspec.convert(player_event(0, "playerready"), Event)) is None


# Through the worker


def measured(*events: dict[str, Any]) -> dict[str, float]:
    """Samples of the events, without the counts of events."""
    rig = Rig()
    rig.post(*events)
    rig.flush()
    return {k: v for k, v in rig.qoe_series().items() if not k.startswith("openqoe_events_total")}


@pytest.mark.parametrize(
    ("player", "playing_time"),
    [("html5", 40_000), ("hlsjs", 40_000), ("dashjs", 40.0)],
    ids=["html5: ms", "hls.js: ms", "dash.js: s"],
)
def test_playing_time_of_playing_event_is_not_counted(player: str, playing_time: float) -> None:
    """6: a viewer who starts at 0:40 has not played 40 s."""
    found = measured(
        player_event(0, "playing", 40.0, player=player, playing_time=playing_time),
        player_event(5, "heartbeat", 45.0, player=player, playing_time=5_000),
    )
    assert found["openqoe_playing_time_seconds"] == 5.0


@pytest.mark.parametrize("watch_time", [SHIFTED_EPOCH, 0, None])
def test_watch_time_is_ignored(watch_time: float | None) -> None:
    found = measured(
        player_event(15, "quartile", 15.0, quartile=25, playing_time=15_000, watch_time=watch_time)
    )
    assert found == {
        "openqoe_playing_time_seconds": 15.0,
        'openqoe_quartile_reached_total{quartile="25"}': 1.0,
        "openqoe_views_loaded_total": 1.0,
        "openqoe_views_started_total": 1.0,
    }


def test_total_watch_time_is_ignored() -> None:
    found = measured(player_event(60, "ended", 60.0, total_watch_time=90_000))
    assert "openqoe_playing_time_seconds" not in found


def test_bandwidth_is_not_used_as_bit_rate() -> None:
    """7: it is the declared bandwidth in bit/s, not the rate of the current rendition."""
    assert measured(player_event(1, "bandwidthchange", 1.0, bandwidth=2_400_000)) == {}


def test_stall_position_is_not_used_as_duration() -> None:
    found = measured(
        player_event(0, "playing", 0.0),
        player_event(10, "heartbeat", 10.0, playing_time=10_000),
        player_event(12, "stallstart", 12.0),
        player_event(12.5, "stallend", 12.0, stall_position_secs=12.0),
    )
    assert found['openqoe_rebuffer_duration_seconds_sum{cause="rebuffer"}'] == 0.5


@pytest.mark.parametrize(
    ("events", "told_of"),
    [
        (
            [
                player_event(0, "stall_start", 9.0),
                player_event(1, "seek", 9.0, player="html5", seek_latency=8e5),
            ],
            [],
        ),
        (
            [
                player_event(0, "canplay"),
                player_event(1, "seek", 9.0, player="html5", seek_latency=80),
            ],
            [0.08],
        ),
        (
            [player_event(0, "stall_start", 9.0), player_event(1, "seek", 9.0, seek_latency=80)],
            [0.08],
        ),
    ],
    ids=["first generation html5", "second generation html5", "first generation hls.js"],
)
def test_seek_latency_of_first_generation_html5_is_ignored(
    events: list[dict[str, Any]], told_of: list[float]
) -> None:
    player = events[-1]["player"]
    found = measured(*({**event, "player": player} for event in events))
    assert found["openqoe_seeks_total"] == 1
    assert found.get("openqoe_seek_latency_seconds_count", 0) == len(told_of)
    assert found.get("openqoe_seek_latency_seconds_sum", 0) == sum(told_of)


@pytest.mark.parametrize("player", ["shaka", "videojs"])
def test_bit_rate_of_shaka_and_video_js_is_ignored(player: str) -> None:
    events = [
        player_event(0, "playing", 0.0, player=player, bitrate=90_000_000),
        player_event(5, "qualitychange", 5.0, player=player, bitrate=80_000_000),
        player_event(10, "heartbeat", 10.0, player=player, bitrate=70_000_000),
    ]
    assert not [name for name in measured(*events) if "bitrate" in name]


def test_bit_rate_of_sound_in_dash_js_heartbeat_is_ignored() -> None:
    """4: it is the rate of the latest change, of picture or sound."""
    events = [
        player_event(1, "qualitychange", player="dashjs", media_type="video", bitrate_kb=2_400),
        player_event(1, "qualitychange", player="dashjs", media_type="audio", bitrate_kb=128),
        player_event(10, "heartbeat", 10.0, player="dashjs", bitrate=128),
    ]
    assert measured(*events)["openqoe_heartbeat_bitrate_bps"] == 2_400_000


def test_string_framerate_and_autoplay_are_accepted() -> None:
    rig = Rig()
    rig.post(
        {
            **player_event(1, "qualitychange", 1.0, bitrate_kb=2_400, framerate="25.000"),
            "player": {"name": "hlsjs", "autoplay": "muted"},
        }
    )
    rig.flush()
    assert rig.total("openqoe_bitrate_bps_count") == 1
    assert "openqoe_worker_fields_ignored_total" not in rig.metrics_text()


@pytest.mark.parametrize(
    "event_type",
    sorted(KIND_BY_EVENT_TYPE),
)
def test_null_field_equals_absent_field(event_type: str) -> None:
    """NaN and infinity of JavaScript arrive as null, in any field."""
    told_nothing = {**player_event(1, event_type), "playback_time": None, "data": None}
    told_nulls = {**told_nothing, "data": dict.fromkeys(Data.__struct_fields__)}
    assert measured(told_nulls) == measured(told_nothing)


def test_null_object_is_accepted() -> None:
    rig = Rig()
    rig.post(
        {
            **player_event(1, "playing"),
            **dict.fromkeys(
                ("device", "os", "browser", "player", "network", "video", "cmcd", "data", "env")
            ),
        }
    )
    rig.flush()
    assert rig.total("openqoe_views_started_total") == 1


@pytest.mark.parametrize(
    "data",
    [
        {"bitrate_kb": -2_400},
        {"new_bitrate": -2_400_000},
        {"buffer_length": -5},
        {"dropped_frames": -5},
        {"playing_time": -5},
    ],
    ids=lambda data: next(iter(data)),
)
def test_negative_number_is_not_measured(data: dict[str, Any]) -> None:
    """Sums of histograms are counters to a receiver: they must never decrease."""
    assert measured(player_event(1, "heartbeat", 1.0, **data)).keys() <= {
        "openqoe_concurrent_views_current",
        "openqoe_views_loaded_total",
        "openqoe_views_started_total",
    }


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("heartbeat", {"playing_time": 1e300}),
        ("heartbeat", {"dropped_frames": 1e12}),
        ("heartbeat", {"bitrate": 1e200}),
        ("stall_end", {"stall_duration": 1e15}),
        ("ended", {"rebuffer_count": 1e30}),
        ("seek", {"seek_latency": 1e18}),
    ],
)
def test_implausible_number_is_not_measured(event_type: str, data: dict[str, Any]) -> None:
    rig = Rig()
    rig.post(player_event(0, event_type, 1.0, **data))
    rig.flush()
    of_view = ("openqoe_view_score", "openqoe_view_rebuffer")  # the score of an end is 100
    found = {
        name: value for name, value in rig.qoe_series().items() if not name.startswith(of_view)
    }
    assert max(found.values()) <= 1
