"""The metric catalogue by example: events of the SDKs and of CMCD in, decoded samples out.

Names, types, labels and buckets are copied by hand from the contract. Every example passes through
a worker and is read from a remote-write body by an independent decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from openqoe.core.qoe.catalogue import CATALOGUE, CONCURRENT_VIEWS, METRICS
from openqoe.core.qoe.vocabulary import KIND_BY_EVENT_TYPE
from tests.support.rig import FLUSH, MINUTE, Rig, cmcd_record, player_event

COUNTERS: dict[str, tuple[str, ...]] = {
    "openqoe_events_total": ("event_type",),
    "openqoe_views_loaded_total": (),
    "openqoe_views_started_total": (),
    "openqoe_startup_wait_seconds": (),
    "openqoe_bitrate_bits_total": (),
    "openqoe_bitrate_known_seconds_total": (),
    "openqoe_rendition_playing_seconds_total": ("resolution",),
    "openqoe_upscale_seconds_total": (),
    "openqoe_downscale_seconds_total": (),
    "openqoe_scale_known_seconds_total": (),
    "openqoe_watch_time_seconds": (),
    "openqoe_view_outcomes_total": ("outcome",),
    "openqoe_frames_expected_total": (),
    "openqoe_expected_frames_dropped_total": (),
    "openqoe_implausible_totals_total": (),
    "openqoe_resolution_total": ("resolution",),
    "openqoe_rebuffer_events_total": ("cause",),
    "openqoe_seeks_total": (),
    "openqoe_views_completed_total": (),
    "openqoe_playing_time_seconds": (),
    "openqoe_dropped_frames_total": (),
    "openqoe_quartile_reached_total": ("quartile",),
    "openqoe_pause_events_total": (),
    "openqoe_quality_changes_total": ("trigger", "change_direction"),
    "openqoe_errors_total": ("error_family", "error_code"),
    "openqoe_media_requests_total": ("object_type", "code_class"),
}
"""Metric name to the metric's own labels."""

GAUGES = frozenset(
    {
        "openqoe_bitrate_bps",
        "openqoe_completion_rate",
        "openqoe_heartbeat_bitrate_bps",
        "openqoe_quality_change_bitrate_bps",
        "openqoe_quality_change_old_bitrate_bps",
        "openqoe_concurrent_views_current",
    }
)

BUCKETS: dict[str, tuple[float, ...]] = {
    "openqoe_player_startup_seconds": (0.1, 0.25, 0.5, 1, 2, 5, 10),
    "openqoe_page_load_seconds": (0.25, 0.5, 1, 2, 3, 5, 10, 20),
    "openqoe_video_startup_seconds": (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30),
    "openqoe_reported_startup_seconds": (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 30),
    "openqoe_aggregate_startup_seconds": (0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60),
    "openqoe_playing_bitrate_bps": (
        *(1.5e5, 2.5e5, 4e5, 5.5e5, 7.5e5, 1e6, 1.25e6, 1.5e6, 1.75e6, 2e6, 2.5e6, 3e6, 3.5e6),
        *(4e6, 4.5e6, 5e6, 6e6, 7e6, 8e6, 1e7, 1.2e7, 1.6e7, 2e7, 2.5e7, 4e7),
    ),
    "openqoe_view_rebuffer_seconds": (0, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60),
    "openqoe_view_score": (10, 20, 30, 40, 50, 60, 70, 80, 90, 100),
    "openqoe_bitrate_bps": (2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2e7),
    "openqoe_rebuffer_duration_seconds": (0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30),
    "openqoe_buffer_length_seconds": (0.5, 1, 2, 5, 10, 20, 30, 60),
    "openqoe_seek_latency_seconds": (0.1, 0.25, 0.5, 1, 2, 5),
    "openqoe_completion_rate": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    "openqoe_rebuffer_count": (0, 1, 2, 3, 5, 10, 20),
    "openqoe_media_request_ttfb_seconds": (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    "openqoe_media_request_duration_seconds": (
        *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    ),
    "openqoe_throughput_bps": (2.5e5, 5e5, 1e6, 2.5e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2.5e8),
    "openqoe_live_latency_seconds": (1, 2, 3, 5, 8, 12, 20, 30, 45, 60, 120),
}

Expected = dict[str, Any]


@dataclass(frozen=True)
class Example:
    """Events of the SDK or records of CMCD, and the expected state of one metric.

    `expected` is complete: it maps the metric's own labels to the value, or to the list of a
    histogram's observations.
    """

    metric: str
    type: str
    case: str
    events: Sequence[dict[str, Any] | str]
    expected: Expected
    after: int = FLUSH

    def __str__(self) -> str:
        return f"{self.metric.removeprefix('openqoe_')}-{self.type}-{self.case}"


def counter(
    name: str, case: str, *events: dict[str, Any] | str, expected: Expected, after: int = FLUSH
) -> Example:
    return Example(f"openqoe_{name}", "counter", case, events, expected, after)


def gauge(name: str, case: str, *events: dict[str, Any], expected: Expected) -> Example:
    return Example(f"openqoe_{name}", "gauge", case, events, expected)


def histogram(
    name: str, case: str, *events: dict[str, Any] | str, expected: Expected, after: int = FLUSH
) -> Example:
    return Example(f"openqoe_{name}", "histogram", case, events, expected, after)


HD = {"width": 1280, "height": 720}
FULL_HD = {"width": 1920, "height": 1080}

LADDER = (
    player_event(0, "playing", 0.0, bitrate=2_000_000, resolution=FULL_HD),
    player_event(10, "qualitychange", 10.0, bitrate=500_000, resolution=HD),
    player_event(15, "pause", 15.0, playing_time=15_000),
    player_event(25, "playing", 15.0),
)
"""10 s of one rendition, 5 s of another, a pause of 10 s."""

SCALED = (
    player_event(
        0,
        "qualitychange",
        0.0,
        bitrate_kb=500,
        framerate="25.000",
        video_width=640,
        video_height=360,
        player_width=640,
        player_height=360,
        device_pixel_ratio=2,
    ),
    player_event(0, "playing", 0.0),
    player_event(
        10,
        "qualitychange",
        10.0,
        bitrate_kb=4_000,
        framerate="25.000",
        video_width=1280,
        video_height=720,
        player_width=640,
        player_height=360,
        device_pixel_ratio=1,
    ),
    player_event(15, "heartbeat", 15.0, playing_time=15_000, dropped_frames=6),
)
"""10 s in which the picture is enlarged twofold, 5 s in which it is reduced to a half."""

EXAMPLES = (
    # Every event
    counter(
        "events_total",
        "any type, also a custom one",
        player_event(0, "viewstart"),
        player_event(1, "playing", 0.0),
        player_event(5, "playing", 4.0),
        player_event(6, "ad_click"),
        expected={
            'event_type="viewstart"': 1,
            'event_type="playing"': 2,
            'event_type="ad_click"': 1,
        },
    ),
    # Start
    histogram(
        "player_startup_seconds",
        "both generations",
        player_event(0, "playerready", player_startup_time=1_500),
        player_event(0, "playerready", view="view-2", player_startup_time=250),
        expected={"": [1.5, 0.25]},
    ),
    histogram(
        "page_load_seconds",
        "first generation",
        player_event(0, "playerready", player_startup_time=1_500, page_load_time=2_000),
        expected={"": [2.0]},
    ),
    histogram(
        "page_load_seconds",
        "not the second generation's handler times",
        player_event(0, "manifestload", page_load_time=1),
        player_event(0, "playerready", player="videojs", page_load_time=0.4),
        expected={},
    ),
    counter(
        "views_started_total",
        "first generation",
        player_event(0, "viewstart"),
        player_event(1, "playing", 0.0),
        player_event(9, "playing", 8.0),
        expected={"": 1},
    ),
    counter(
        "views_started_total",
        "second generation",
        player_event(0, "manifestload"),
        player_event(0, "playerready"),
        player_event(1, "playing", 0.0),
        player_event(9, "playing", 8.0),
        expected={"": 1},
    ),
    counter(
        "views_started_total",
        "a page that was only opened",
        player_event(0, "viewstart"),
        player_event(0, "playerready"),
        player_event(3, "moveaway", 0.0),
        expected={},
    ),
    counter(
        "views_loaded_total",
        "once a view, played or not",
        player_event(0, "viewstart"),
        player_event(0, "playerready"),
        player_event(0, "manifestload", view="view-2"),
        player_event(1, "playing", 0.0, view="view-2"),
        expected={"": 2},
    ),
    histogram(
        "video_startup_seconds",
        "from the play request to the end of the wait",
        player_event(0, "viewstart"),
        player_event(8, "playing", 0.0, video_startup_time=8_000),
        player_event(8, "stall_start", 0.0),
        player_event(10.2, "stall_end", 0.0, stall_duration=2_200),
        player_event(20, "playing", 8.0, video_startup_time=20_000),
        expected={'source="measured"': [2.2]},
    ),
    histogram(
        "video_startup_seconds",
        "at once, if the player does not wait",
        player_event(0, "playing", 0.0, video_startup_time=900),
        player_event(10, "heartbeat", 9.9, playing_time=9_800),
        expected={'source="measured"': [0.0]},
    ),
    histogram(
        "video_startup_seconds",
        "a client that follows the documentation",
        player_event(0, "playing", 0.0, player="own", video_startup_time=1_234),
        expected={'source="reported"': [1.234]},
    ),
    histogram(
        "video_startup_seconds",
        "such a client that reports its wait, too",
        player_event(0, "playing", 0.0, player="own", video_startup_time=1_234),
        player_event(0.1, "stall_start", 0.0),
        player_event(0.1, "stall_start", 0.0, player="own"),
        player_event(3, "stall_end", 0.0, player="own"),
        expected={'source="measured"': [3.0]},
    ),
    histogram(
        "video_startup_seconds",
        "none without a frame",
        player_event(0, "playing", 0.0, video_startup_time=900),
        player_event(0, "stall_start", 0.0),
        player_event(5, "moveaway", 0.0),
        expected={},
        after=31 * MINUTE,
    ),
    histogram(
        "reported_startup_seconds",
        "first generation",
        player_event(0, "viewstart"),
        player_event(1, "playing", 0.0, video_startup_time=1_200),
        player_event(9, "playing", 8.0, video_startup_time=8_510),
        expected={'field="playing"': [1.2]},
    ),
    histogram(
        "reported_startup_seconds",
        "second generation",
        player_event(0, "playerready", player_startup_time=1_000),
        player_event(1, "canplay", video_startup_time=1_800),
        player_event(1, "playing", 0.0, playing_time=0),
        player_event(9, "canplay", video_startup_time=30_000),
        expected={'field="canplay"': [0.8]},
    ),
    histogram(
        "reported_startup_seconds",
        "second generation, Shaka",
        player_event(0, "playerready", player="shaka", player_startup_time=1_000),
        player_event(1, "playing", 0.0, player="shaka", video_startup_time=400),
        expected={'field="playing"': [0.4]},
    ),
    histogram(
        "aggregate_startup_seconds",
        "page, player and video",
        player_event(0, "playerready", player_startup_time=1_500, page_load_time=2_000),
        player_event(5, "playing", 0.0),
        player_event(5, "stall_start", 0.0),
        player_event(6, "stall_end", 0.0, stall_duration=1_000),
        expected={"": [3.0]},
    ),
    counter(
        "startup_wait_seconds",
        "until the first frame, or until the viewer left",
        player_event(0, "playing", 0.0),
        player_event(0, "stall_start", 0.0),
        player_event(2, "stall_end", 0.0, stall_duration=2_000),
        player_event(0, "playing", 0.0, view="view-2"),
        player_event(0, "stall_start", 0.0, view="view-2"),
        player_event(7, "moveaway", 0.0, view="view-2"),
        expected={"": 9.0},
        after=31 * MINUTE,
    ),
    # Picture
    gauge(
        "bitrate_bps",
        "the mean of the window",
        player_event(0, "playing", 0.0, bitrate=1_000_000),
        player_event(10, "heartbeat", 10.0, bitrate=3_000_000),
        player_event(11, "quality_change", 11.0, new_bitrate=5_000_000, old_bitrate=3_000_000),
        expected={"": 3_000_000},
    ),
    histogram(
        "bitrate_bps",
        "first generation, bit/s",
        player_event(0, "playing", 0.0, bitrate=1_000_000),
        player_event(10, "heartbeat", 10.0, bitrate=3_000_000),
        player_event(11, "qualitychange", 11.0, bitrate=6_000_000),
        expected={"": [1_000_000, 3_000_000, 6_000_000]},
    ),
    histogram(
        "bitrate_bps",
        "second generation, kbit/s",
        player_event(0, "qualitychange", bitrate_kb=2_400, media_type=""),
        player_event(0, "playing", 0.0, player="dashjs", video="other", bitrate=800),
        player_event(9, "heartbeat", 9.0, player="dashjs", video="other", bitrate=800),
        expected={"": [2_400_000, 800_000, 800_000]},
    ),
    counter(
        "resolution_total",
        "playing and changes that change something",
        player_event(0, "playing", 0.0, resolution=HD, bitrate=1_000_000),
        player_event(5, "qualitychange", 5.0, resolution=FULL_HD, bitrate=3_000_000),
        player_event(6, "qualitychange", 6.0, resolution=FULL_HD, bitrate=3_000_000),
        player_event(0, "playing", 0.0, view="view-2", resolution={"width": 0, "height": 0}),
        expected={'resolution="720p"': 1, 'resolution="1080p"': 1, 'resolution="unknown"': 1},
    ),
    histogram(
        "playing_bitrate_bps",
        "as bitrate_bps, in finer buckets",
        player_event(0, "playing", 0.0, bitrate=1_000_000),
        player_event(10, "heartbeat", 10.0, bitrate=6_000_000),
        expected={"": [1_000_000, 6_000_000]},
    ),
    counter(
        "bitrate_bits_total",
        "bit rate x time played",
        *LADDER,
        expected={"": 10 * 2_000_000 + 5 * 500_000},
    ),
    counter("bitrate_known_seconds_total", "time played", *LADDER, expected={"": 15.0}),
    counter(
        "rendition_playing_seconds_total",
        "by resolution",
        *LADDER,
        expected={'resolution="1080p"': 10.0, 'resolution="720p"': 5.0},
    ),
    counter("upscale_seconds_total", "share x time", *SCALED, expected={"": 10.0}),
    counter("downscale_seconds_total", "share x time", *SCALED, expected={"": 2.5}),
    counter("scale_known_seconds_total", "time played", *SCALED, expected={"": 15.0}),
    # Stalls
    counter(
        "rebuffer_events_total",
        "first generation",
        player_event(0, "playing", 0.0),
        player_event(0, "stall_start", 0.0),
        player_event(1, "stall_end", 0.0, stall_duration=1_000),
        player_event(11, "heartbeat", 10.0, playing_time=10_000),
        player_event(12, "stall_start", 11.0),
        player_event(14, "stall_end", 11.0, stall_duration=2_000),
        player_event(16, "stall_start", 40.0),
        player_event(16.2, "seek", 40.0, to=40_000, seek_latency=200),
        player_event(16.2, "stall_end", 40.0, stall_duration=200),
        expected={'cause="startup"': 1, 'cause="rebuffer"': 1, 'cause="seek"': 1},
    ),
    counter(
        "rebuffer_events_total",
        "second generation: an end is no second stall",
        player_event(0, "playing", 0.0),
        player_event(10, "heartbeat", 10.0, playing_time=10_000),
        player_event(12, "stallstart", 12.0),
        player_event(14, "stallend", 12.0, stall_position_secs=12.0),
        player_event(20, "waitstart", 18.0),
        player_event(21, "stallend", 18.0, stall_position_secs=18.0),
        expected={'cause="rebuffer"': 2},
    ),
    histogram(
        "rebuffer_duration_seconds",
        "first generation: as reported",
        player_event(0, "playing", 0.0),
        player_event(0, "stall_start", 0.0),
        player_event(1, "stall_end", 0.0, stall_duration=1_000),
        player_event(11, "heartbeat", 10.0, playing_time=10_000),
        player_event(12, "stall_start", 11.0),
        player_event(15, "stall_end", 11.0, stall_duration=2_500),
        expected={'cause="startup"': [1.0], 'cause="rebuffer"': [2.5]},
    ),
    histogram(
        "rebuffer_duration_seconds",
        "second generation: not reported by hls.js",
        player_event(0, "playing", 0.0),
        player_event(10, "heartbeat", 10.0, playing_time=10_000),
        player_event(12, "stallstart", 12.0),
        player_event(15, "stallend", 12.0, stall_position_secs=12.0),
        expected={'cause="rebuffer"': [3.0]},
    ),
    histogram(
        "buffer_length_seconds",
        "first generation",
        player_event(1, "stall_start", 0.0, buffer_length=0),
        player_event(2, "stall_end", 0.0, buffer_length=1_500, stall_duration=1_000),
        player_event(9, "heartbeat", 7.0, buffer_length=12_000),
        expected={"": [0.0, 1.5, 12.0]},
    ),
    histogram(
        "buffer_length_seconds",
        "second generation",
        player_event(0, "canplay", buf_len=800, video_startup_time=10),
        player_event(1, "stallstart", 0.0, buffer_len_ms=100),
        player_event(2, "stallend", 0.0, buffer_len_ms=2_000),
        player_event(9, "heartbeat", 7.0, buffer_len_ms=35_000),
        expected={"": [0.8, 0.1, 2.0, 35.0]},
    ),
    # Viewer
    counter(
        "seeks_total",
        "each",
        player_event(5, "seek", 40.0, to=40_000, seek_latency=250),
        player_event(9, "seek", 10.0, to=10_000),
        expected={"": 2},
    ),
    histogram(
        "seek_latency_seconds",
        "where it is reported",
        player_event(5, "seek", 40.0, to=40_000, seek_latency=250),
        player_event(9, "seek", 10.0, to=10_000),
        expected={"": [0.25]},
    ),
    counter(
        "pause_events_total",
        "not the one right before the end",
        player_event(0, "playing", 0.0),
        player_event(5, "pause", 5.0, playing_time=5_000),
        player_event(8, "playing", 5.0),
        player_event(13, "pause", 10.0, playing_time=10_000),
        player_event(13.01, "ended", 10.0, playing_time=10_000),
        expected={"": 1},
    ),
    counter(
        "playing_time_seconds",
        "the increase of the running total",
        player_event(10, "heartbeat", 9.5, playing_time=9_500),
        player_event(15, "quartile", 14.0, quartile=25, playing_time=14_000),
        player_event(20, "heartbeat", 19.0, playing_time=19_000),
        player_event(21, "pause", 20.0, playing_time=20_000),
        player_event(60, "ended", 59.0, playing_time=50_250),
        expected={"": 50.25},
    ),
    counter(
        "watch_time_seconds",
        "playing and rebuffering, without start-up, seeks and pauses",
        player_event(0, "playing", 0.0),
        player_event(0, "stall_start", 0.0),
        player_event(2, "stall_end", 0.0, stall_duration=2_000),
        player_event(12, "stall_start", 10.0),
        player_event(15, "stall_end", 10.0, stall_duration=3_000),
        player_event(20, "pause", 15.0, playing_time=15_000),
        player_event(50, "playing", 15.0),
        player_event(55, "stall_start", 60.0),
        player_event(56, "stall_end", 60.0, stall_duration=1_000),
        player_event(58, "moveaway", 62.0),
        expected={"": 10.0 + 3.0 + 5.0 + 5.0 + 2.0},
    ),
    counter(
        "implausible_totals_total",
        "more than playback can reach",
        player_event(0, "playing", 0.0),
        player_event(10, "heartbeat", 10.0, playing_time=10_000),
        player_event(20, "heartbeat", 20.0, playing_time=9_000_000),
        player_event(30, "heartbeat", 30.0, playing_time=30_000),
        expected={"": 1},
    ),
    counter(
        "quartile_reached_total",
        "once each",
        player_event(15, "quartile", 15.0, quartile=25),
        player_event(30, "quartile", 30.0, quartile=50),
        player_event(45, "quartile", 15.0, quartile=25),
        player_event(50, "quartile", 60.0, quartile=100),
        player_event(50, "quartile", 60.0, quartile=33),
        expected={'quartile="25"': 1, 'quartile="50"': 1, 'quartile="100"': 1},
    ),
    # End
    counter(
        "views_completed_total",
        "once a view, whatever is played again",
        player_event(60, "ended", 60.0),
        player_event(130, "ended", 60.0),
        player_event(60, "ended", 60.0, view="view-2"),
        expected={"": 2},
    ),
    counter(
        "view_outcomes_total",
        "once a view that was asked to play, at its end",
        player_event(0, "playing", 0.0),
        player_event(60, "ended", 60.0, playing_time=60_000),
        player_event(0, "playing", 0.0, view="view-2"),
        player_event(9, "moveaway", 9.0, view="view-2"),
        player_event(0, "playing", 0.0, view="view-3"),
        player_event(0, "stall_start", 0.0, view="view-3"),
        player_event(6, "moveaway", 0.0, view="view-3"),
        player_event(0, "viewstart", view="view-4"),
        expected={
            'outcome="completed"': 1,
            'outcome="stopped"': 1,
            'outcome="exit_before_start"': 1,
        },
        after=31 * MINUTE,
    ),
    histogram(
        "view_rebuffer_seconds",
        "the sum of a view, at its end",
        player_event(0, "playing", 0.0),
        player_event(10, "stall_start", 10.0),
        player_event(12, "stall_end", 10.0, stall_duration=2_000),
        player_event(20, "stall_start", 18.0),
        player_event(21, "stall_end", 18.0, stall_duration=1_000),
        player_event(60, "ended", 57.0, playing_time=57_000),
        player_event(0, "playing", 0.0, view="view-2"),
        player_event(60, "ended", 57.0, view="view-2", playing_time=57_000),
        expected={"": [3.0, 0.0]},
    ),
    histogram(
        "view_score",
        "by part",
        player_event(0, "playing", 0.0),
        player_event(0, "stall_start", 0.0),
        player_event(8, "stall_end", 0.0, stall_duration=8_000),
        player_event(68, "ended", 60.0, playing_time=60_000),
        expected={
            'part="startup"': [50.0],
            'part="smoothness"': [100.0],
            'part="success"': [100.0],
            'part="all"': [75.0],
        },
    ),
    gauge(
        "completion_rate",
        "the mean of the window",
        player_event(60, "ended", 60.0, completion_rate=1.0),
        player_event(60, "ended", 60.0, view="view-2", completion_rate=0.9),
        expected={"": 0.95},
    ),
    histogram(
        "completion_rate",
        "once a view",
        player_event(60, "ended", 60.0, completion_rate=0.75),
        player_event(130, "ended", 60.0, completion_rate=1.0),
        expected={"": [0.75]},
    ),
    histogram(
        "completion_rate",
        "the highest quartile of a view that fell silent",
        player_event(15, "quartile", 15.0, quartile=25),
        player_event(30, "quartile", 30.0, quartile=50),
        expected={"": [0.5]},
        after=31 * MINUTE,
    ),
    histogram(
        "rebuffer_count",
        "first generation",
        player_event(0, "viewstart"),
        player_event(60, "ended", 60.0, rebuffer_count=3),
        expected={"": [3]},
    ),
    histogram(
        "rebuffer_count",
        "second generation: zeros of hls.js and dash.js are none",
        *(
            event
            for player in ("hlsjs", "dashjs", "html5")
            for event in (
                player_event(0, "canplay", player=player, video_startup_time=10),
                player_event(60, "ended", 60.0, player=player, rebuffer_count=0),
            )
        ),
        expected={"": [0]},
    ),
    # Quality
    counter(
        "dropped_frames_total",
        "a number, or an object from dash.js",
        player_event(10, "heartbeat", 10.0, dropped_frames=3),
        player_event(20, "heartbeat", 20.0, dropped_frames=7),
        player_event(10, "heartbeat", 10.0, player="dashjs", dropped_frames={"droppedFrames": 5}),
        expected={"": 12},
    ),
    counter("frames_expected_total", "frame rate x time played", *SCALED, expected={"": 375.0}),
    counter("expected_frames_dropped_total", "of those", *SCALED, expected={"": 6.0}),
    gauge(
        "heartbeat_bitrate_bps",
        "heartbeats only",
        player_event(0, "playing", 0.0, bitrate=9_000_000),
        player_event(10, "heartbeat", 10.0, bitrate=1_000_000),
        player_event(20, "heartbeat", 20.0, bitrate=3_000_000),
        expected={"": 2_000_000},
    ),
    counter(
        "quality_changes_total",
        "old vocabulary: the page reports both rates and the trigger",
        player_event(5, "quality_change", 5.0, old_bitrate=1e6, new_bitrate=3e6, trigger="abr"),
        player_event(
            6, "quality_change", 6.0, previous_bitrate=3e6, new_bitrate=1e6, trigger="user"
        ),
        player_event(7, "quality_change", 7.0, old_bitrate=1e6, new_bitrate=1e6, trigger="abr"),
        expected={
            'change_direction="upshift",trigger="abr"': 1,
            'change_direction="downshift",trigger="user"': 1,
            'change_direction="same",trigger="abr"': 1,
        },
    ),
    counter(
        "quality_changes_total",
        "first generation: compared with the previous one",
        player_event(0, "qualitychange", 0.0, bitrate=1e6),
        player_event(5, "qualitychange", 5.0, bitrate=3e6),
        player_event(6, "qualitychange", 6.0, bitrate=3e6),
        player_event(7, "qualitychange", 7.0, bitrate=1e6),
        expected={
            'change_direction="upshift",trigger="unknown"': 1,
            'change_direction="downshift",trigger="unknown"': 1,
        },
    ),
    counter(
        "quality_changes_total",
        "second generation: kbit/s, without the sound",
        player_event(0, "qualitychange", player="dashjs", bitrate_kb=800, media_type="video"),
        player_event(0, "qualitychange", player="dashjs", bitrate_kb=64, media_type="audio"),
        player_event(5, "qualitychange", player="dashjs", bitrate_kb=2_400, media_type="video"),
        player_event(5, "qualitychange", player="dashjs", bitrate_kb=128, media_type="audio"),
        expected={'change_direction="upshift",trigger="unknown"': 1},
    ),
    gauge(
        "quality_change_bitrate_bps",
        "after the change",
        player_event(0, "qualitychange", bitrate_kb=800),
        player_event(5, "qualitychange", bitrate_kb=2_400),
        player_event(9, "qualitychange", bitrate_kb=1_600),
        expected={"": 2_000_000},
    ),
    gauge(
        "quality_change_old_bitrate_bps",
        "before the change",
        player_event(0, "qualitychange", bitrate_kb=800),
        player_event(5, "qualitychange", bitrate_kb=2_400),
        expected={"": 800_000},
    ),
    gauge(
        "quality_change_old_bitrate_bps",
        "as reported, second generation",
        player_event(5, "qualitychange", bitrate_kb=2_400, old={"bitrate_kb": 1_200}),
        expected={"": 1_200_000},
    ),
    counter(
        "errors_total",
        "family and code",
        player_event(5, "error", 5.0, player="html5", error_family="network", error_code="2"),
        player_event(6, "error", 5.0, player="shaka", error_family="network", error_code=1001),
        player_event(7, "error", 5.0),
        expected={
            'error_code="2",error_family="network"': 1,
            'error_code="1001",error_family="network"': 1,
            'error_code="unknown",error_family="unknown"': 1,
        },
    ),
    # Delivery
    counter(
        "media_requests_total",
        "CMCD: by object type and status",
        *(cmcd_record(0, "e=rr,ot=v,rc=200"), cmcd_record(0, "e=rr,ot=a,rc=404")),
        *(cmcd_record(0, "e=rr,ot=m,rc=0"), cmcd_record(0, "e=rr,ot=zz")),
        expected={
            'code_class="2xx",object_type="v"': 1,
            'code_class="4xx",object_type="a"': 1,
            'code_class="none",object_type="m"': 1,
            'code_class="unknown",object_type="unknown"': 1,
        },
    ),
    histogram(
        "media_request_ttfb_seconds",
        "CMCD: not the time of day of dash.js, not after the last byte",
        *(
            cmcd_record(0, "e=rr,ttfb=20,ttlb=80"),
            cmcd_record(0, "e=rr,ttfb=1795449628208,ttlb=80"),
        ),
        *(cmcd_record(0, "e=rr,ttfb=90,ttlb=80"), cmcd_record(0, "e=rr,ttfb=30")),
        expected={"": [0.02, 0.03]},
    ),
    histogram(
        "media_request_duration_seconds",
        "CMCD",
        *(cmcd_record(0, "e=rr,ttlb=80"), cmcd_record(0, "e=rr,ttlb=-1"), cmcd_record(0, "e=rr")),
        expected={"": [0.08]},
    ),
    histogram(
        "throughput_bps",
        "CMCD: of the picture, in periodic records",
        *(cmcd_record(0, "e=t,mtp=(2600)"), cmcd_record(0, "e=t,mtp=(46300;a 3000;v)")),
        *(cmcd_record(0, "e=ps,sta=p,mtp=(9)"), cmcd_record(0, "e=t")),
        expected={"": [2_600_000, 3_000_000]},
    ),
    histogram(
        "live_latency_seconds",
        "CMCD: in periodic records",
        *(cmcd_record(0, "e=t,ltc=4200"), cmcd_record(0, "e=ps,sta=p,ltc=1")),
        expected={"": [4.2]},
    ),
    histogram(
        "buffer_length_seconds",
        "CMCD: the shortest of all types, in periodic records and at stalls",
        *(cmcd_record(0, "e=t,bl=(6000;v 8000;a)"), cmcd_record(1, "e=ps,sta=r,bl=(0)")),
        *(cmcd_record(2, "e=ps,sta=p,bl=(9)"), cmcd_record(3, "e=t")),
        expected={"": [6.0, 0.0]},
    ),
    counter(
        "errors_total",
        "CMCD: each error event, and codes that only another record reports",
        *(cmcd_record(0, "e=e,sta=p,ec=27"), cmcd_record(1, "e=t,sta=p,ec=27")),
        *(cmcd_record(2, "e=e,sta=p"), cmcd_record(3, 'e=t,sta=p,ec=("a" "27")')),
        expected={
            'error_code="27",error_family="cmcd"': 1,
            'error_code="unknown",error_family="cmcd"': 1,
            'error_code="a",error_family="cmcd"': 1,
        },
    ),
    # All views together
    gauge(
        "concurrent_views_current",
        "views that play",
        player_event(0, "playing", 0.0),
        player_event(0, "playing", 0.0, view="view-2"),
        player_event(0, "playing", 0.0, view="view-3"),
        player_event(1, "pause", 1.0, view="view-3"),
        expected={"": 2},
    ),
)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_events_of_example_give_expected_samples(example: Example) -> None:
    rig = Rig()
    for start in range(0, len(example.events), 4):  # in several batches, as players send them
        some = example.events[start : start + 4]
        if isinstance(some[0], str):
            rig.post_cmcd(*map(str, some))
        else:
            rig.post(*some)
    rig.pass_time(example.after)
    if example.type == "histogram":
        bounds = BUCKETS[example.metric]
        expected = {
            labels: {
                **{bound: sum(value <= bound for value in seen) for bound in bounds},
                float("inf"): len(seen),
                "count": len(seen),
                "sum": pytest.approx(sum(seen)),
            }
            for labels, seen in example.expected.items()
        }
        assert histograms(rig, example.metric) == expected
    else:
        assert dict(of_name(rig, example.metric)) == example.expected


def of_name(rig: Rig, name: str) -> list[tuple[str, float]]:
    """Own labels and value of each series with exactly this name."""
    parts = [(*series.partition("{"), value) for series, value in rig.qoe_series().items()]
    return [(labels.rstrip("}"), value) for own, _, labels, value in parts if own == name]


def histograms(rig: Rig, name: str) -> dict[str, dict[Any, float]]:
    """Own labels, without `le`, to buckets, sum and count."""
    found: dict[str, dict[Any, float]] = {}
    for labels, value in of_name(rig, f"{name}_bucket"):
        parts = labels.split(",")
        bound = next(part for part in parts if part.startswith("le="))
        parts.remove(bound)
        found.setdefault(",".join(parts), {})[float(bound[4:-1])] = value
    for end in ("count", "sum"):
        for labels, value in of_name(rig, f"{name}_{end}"):
            found[labels][end] = value
    return found


def test_every_row_has_an_example() -> None:
    rows = {(row.metric.name, row.metric.type.name.lower()) for row in CATALOGUE}
    rows.add((CONCURRENT_VIEWS.name, "gauge"))
    assert rows == {(example.metric, example.type) for example in EXAMPLES}


def test_catalogue_equals_contract() -> None:
    metrics = [(metric.name, metric.type.name.lower(), metric.labels) for metric in METRICS]
    assert sorted(name for name, kind, _ in metrics if kind == "counter") == sorted(COUNTERS)
    assert sorted(name for name, kind, _ in metrics if kind == "gauge") == sorted(GAUGES)
    assert sorted(name for name, kind, _ in metrics if kind == "histogram") == sorted(BUCKETS)
    assert {name: labels for name, kind, labels in metrics if kind == "counter"} == COUNTERS


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.5, "0.5"), (0.500001, "1"), (1, "1"), (30, "30"), (30.1, "+Inf")]
)
def test_value_counts_in_first_bucket_not_below_it(value: float, bucket: str) -> None:
    rig = Rig()
    rig.post(player_event(1, "playing", 0.0, player="own", video_startup_time=value * 1000))
    rig.flush()
    name = "openqoe_video_startup_seconds_bucket"
    filled = [
        dict(labels)["le"]
        for labels, samples in rig.receiver.select(name).items()
        if samples[-1][1] == 1
    ]
    assert min(filled, key=float) == bucket


def test_bucket_bounds_have_prometheus_format() -> None:
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0, bitrate=1_000_000))
    rig.flush()
    bounds = [dict(labels)["le"] for labels in rig.receiver.select("openqoe_bitrate_bps_bucket")]
    assert bounds == ["250000", "500000", "1e+06", "2.5e+06", "5e+06", "1e+07", "2e+07", "+Inf"]


def test_series_has_base_labels_and_instance() -> None:
    rig = Rig()
    rig.post({**player_event(0, "seek", 1.0), "video": {"id": "12345", "content_type": "VOD"}})
    rig.flush()
    (labels,) = rig.receiver.select("openqoe_seeks_total")
    assert dict(labels) == {
        "__name__": "openqoe_seeks_total",
        "org_id": "acme",
        "player_id": "web",
        "env": "prod",
        "app_name": "shop",
        "app_version": "1.2.3",
        "device_category": "desktop",
        "os_family": "Windows",
        "browser_family": "Chrome",
        "player_name": "hlsjs",
        "network_country": "DE",
        "video_id": "10000-20000",
        "content_type": "vod",
        "instance": "rig-0",
    }


def test_first_flush_sends_metadata_of_each_metric() -> None:
    rig = Rig()
    rig.flush()
    for metric in METRICS:
        told_of = rig.receiver.metadata[metric.name]
        assert told_of.help.endswith("."), metric.name
        kinds = {m.type.name.lower() for m in METRICS if m.name == metric.name}
        assert told_of.type in kinds
        assert told_of.unit == metric.unit


def test_event_without_data_measures_nothing() -> None:
    """Every event type of both vocabularies is counted without data, and measures nothing."""
    rig = Rig()
    types = KIND_BY_EVENT_TYPE.keys() - {  # the last is viewstart, which ends the concurrency
        "stall_start",
        "stallstart",
        "waitstart",
        "stall_end",
        "stallend",
    }
    rig.post(*(player_event(number, name) for number, name in enumerate(sorted(types))))
    rig.flush()
    found = {
        name
        for name in rig.qoe_series()
        if not name.startswith(("openqoe_events_total", "openqoe_view_"))
    }
    assert found == {
        "openqoe_views_loaded_total",
        "openqoe_views_started_total",
        "openqoe_watch_time_seconds",
        "openqoe_pause_events_total",
        "openqoe_seeks_total",
        "openqoe_views_completed_total",
        'openqoe_errors_total{error_code="unknown",error_family="unknown"}',
    }
