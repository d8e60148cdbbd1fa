"""A table of playbacks as a QoE engineer writes them, each with its truth.

Each line of a playback is an event of hls.js: second, type, position in s, data. The view then
falls silent until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from openqoe.core.qoe.state_machine import StateMachine
from tests.support.event_builders import NOW
from tests.support.fleet import sum_counters
from tests.support.rig import HOUR, MINUTE, Rig, cmcd_record, player_event

Line = tuple[Any, ...]


@dataclass(frozen=True)
class Playback:
    """A playback and its truth.

    Attributes:
        case: What happens.
        lines: Events: second, type, position, data.
        outcome: Its outcome; None if play was never requested.
        startup: Seconds from play request to first frame; None without a frame.
        rebuffer: Seconds of rebuffering.
        watch: Seconds watched.
        media: Seconds of media played; None for those watched, without rebuffering.
        clock: ms by which the client's clock is ahead.
        player: Its player.
        video: More members of its video.
        more: Other metrics, by name.
    """

    case: str
    lines: tuple[Line, ...]
    outcome: str | None = "stopped"
    startup: float | None = 0.0
    rebuffer: float = 0.0
    watch: float = 0.0
    media: float | None = None
    clock: int = 0
    player: str = "hlsjs"
    video: dict[str, Any] = field(default_factory=dict)
    more: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.case


def beats(begin: int, end: int, offset: float = 0.0, step: int = 10) -> tuple[Line, ...]:
    """Heartbeats at full playback, at a position that lags behind the second by an offset."""
    return tuple(
        (t, "heartbeat", t - offset, {"playing_time": (t - offset) * 1000})
        for t in range(begin, end + 1, step)
    )


PLAY = (0, "playing", 0.0)

PLAYBACKS = (
    Playback(
        "plays to the end",
        (
            PLAY,
            *beats(10, 50),
            (60, "pause", 60.0),
            (60, "ended", 60.0, {"playing_time": 60_000}),
        ),
        outcome="completed",
        watch=60,
    ),
    Playback(
        "waits 8 s for the first frame, after 3 h on the page",
        (
            (-3 * 3600, "viewstart"),
            (0, "playing", 0.0, {"video_startup_time": 10_800_000}),
            (0, "stall_start", 0.0),
            (8, "stall_end", 0.0, {"stall_duration": 8_000}),
            (18, "heartbeat", 10.0, {"playing_time": 10_000}),
            (20, "moveaway", 12.0),
        ),
        startup=8.0,
        watch=12,
    ),
    Playback(
        "leaves in a stall of 60 s",
        (
            PLAY,
            *beats(10, 20),
            (25, "stall_start", 25.0),
            *((t, "heartbeat", 25.0, {"playing_time": 25_000}) for t in (30, 40, 50, 60, 70, 80)),
            (85, "moveaway", 25.0),
        ),
        rebuffer=60,
        watch=85,
    ),
    Playback(
        "leaves in a stall, without heartbeats",
        (PLAY, *beats(10, 20), (25, "stall_start", 25.0), (85, "moveaway", 25.0)),
        rebuffer=60,
        watch=85,
        media=25,
    ),
    Playback(
        "pauses for 600 s in a stall",
        (
            PLAY,
            *beats(10, 20),
            (25, "stall_start", 25.0),
            (26, "pause", 25.0, {"playing_time": 25_000}),
            (626, "playing", 25.0),
            (628, "stall_end", 25.0, {"stall_duration": 603_000}),
            (638, "heartbeat", 35.0, {"playing_time": 35_000}),
            (638, "moveaway", 35.0),
        ),
        rebuffer=3,
        watch=38,
    ),
    Playback(
        "dash.js is paused in a stall, and waits on after it: its stall ends with the play request",
        (
            (0, "playing", 0.0, {"playing_time": 0}),
            *beats(10, 20),
            (25, "stallstart", 25.0),
            (26, "pause", 25.0, {"playing_time": 25_000}),
            (56, "stallend", 25.0, {"stall_position_secs": 25}),
            (56, "stallstart", 25.0),
            (59, "playing", 25.0, {"playing_time": 25}),
            (69, "heartbeat", 35.0, {"playing_time": 35_000}),
            (69, "moveaway", 35.0),
        ),
        rebuffer=4,
        watch=39,
        player="dashjs",
        more={"openqoe_pause_events_total": 1},
    ),
    Playback(
        "dash.js waits for data after a pause: it reports the request only by the wait",
        (
            (0, "playing", 0.0, {"playing_time": 0}),
            *beats(10, 20),
            (25, "pause", 25.0, {"playing_time": 25_000}),
            (325, "stallstart", 25.0),
            (335, "heartbeat", 25.0, {"playing_time": 25_000}),
            (338, "playing", 25.0, {"playing_time": 25}),
            (348, "heartbeat", 35.0, {"playing_time": 35_000}),
            (348, "moveaway", 35.0),
        ),
        rebuffer=13,
        watch=48,
        player="dashjs",
        more={"openqoe_rebuffer_events_total": 1},
    ),
    Playback(
        "html5 seeks out of a stall: its second generation reports when the seek began",
        (
            (0, "playing", 0.0),
            *beats(10, 20),
            (25, "stallstart", 25.0),
            (29, "seek", 300.0, {"to": 300_000, "seek_latency": 2_000}),
            (29, "stallend", 300.0, {"stall_duration": 4_000}),
            (39, "heartbeat", 310.0, {"playing_time": 35_000}),
            (39, "moveaway", 310.0),
        ),
        rebuffer=2,
        watch=25 + 2 + 10,
        media=35,
        player="html5",
    ),
    Playback(
        "html5 of the first generation measures seeks from the navigation",
        (
            (0, "viewstart"),
            (0, "playing", 0.0),
            *beats(10, 20),
            (25, "stall_start", 300.0),
            (26, "seek", 300.0, {"to": 300_000, "seek_latency": 3_600_000}),
            (26, "stall_end", 300.0, {"stall_duration": 1_000}),
            (36, "heartbeat", 310.0, {"playing_time": 35_000}),
        ),
        watch=35,
        player="html5",
    ),
    Playback(
        "a short video whose page gives ms",
        (
            PLAY,
            (1.5, "quartile", 1.5, {"quartile": 25, "playing_time": 1_500}),
            (3, "moveaway", 3.0),
        ),
        watch=3,
        video={"duration": 6_000},
        more={"openqoe_completion_rate_sum": 0.5},
    ),
    Playback(
        "a client that reports quartiles, and no positions",
        (
            (0, "playing"),
            (15, "quartile", None, {"quartile": 25, "playing_time": 15_000}),
        ),
        startup=None,
        watch=15,
        video={"duration": 60_000},
        player="own",
        more={"openqoe_completion_rate_sum": 0.25},
    ),
    Playback(
        "reloads the page into the same view: it played until it was hidden",
        (
            (0, "viewstart"),
            PLAY,
            *beats(10, 30),
            (33, "moveaway", 33.0),
            (38, "viewstart"),
            (39, "playing", 0.0),
            (49, "heartbeat", 10.0, {"playing_time": 10_000}),
        ),
        watch=43,
    ),
    Playback(
        "laptop closed for 20 min in a stall: no more than 90 s count",
        (
            PLAY,
            *beats(10, 20),
            (25, "stall_start", 25.0),
            (1_225, "stall_end", 25.0, {"stall_duration": 10_800_000}),
            (1_235, "heartbeat", 35.0, {"playing_time": 35_000}),
            (1_235, "moveaway", 35.0),
        ),
        rebuffer=90,
        watch=25 + 90 + 10,
        media=35,
    ),
    Playback(
        "laptop closed for 20 min while playing: the position shows for how long it played",
        (
            PLAY,
            *beats(10, 20),
            (1_225, "heartbeat", 25.0, {"playing_time": 25_000}),
            (1_230, "moveaway", 30.0),
        ),
        watch=30,
    ),
    Playback(
        "reloads in a stall: the page that closes says so",
        (PLAY, (10, "stall_start", 10.0), (15, "moveaway", 10.0)),
        rebuffer=5,
        watch=15,
        media=10,
    ),
    Playback(
        "seeks, and waits 3 s for it",
        (
            PLAY,
            (10, "stall_start", 50.0),
            (13, "seek", 50.0, {"to": 50_000, "seek_latency": 3_000}),
            (13, "stall_end", 50.0, {"stall_duration": 3_000}),
            (20, "heartbeat", 57.0, {"playing_time": 17_000}),
            (20, "moveaway", 57.0),
        ),
        watch=17,
    ),
    Playback(
        "leaves in a seek",
        (PLAY, *beats(10, 10), (12, "stall_start", 50.0), (30, "moveaway", 50.0)),
        watch=12,
    ),
    Playback(
        "exit before start",
        (PLAY, (0, "stall_start", 0.0), (6, "moveaway", 0.0)),
        outcome="exit_before_start",
        startup=None,
        media=0,
        more={"openqoe_startup_wait_seconds": 6},
    ),
    Playback(
        "exit before start in a long sleep: 90 s count",
        (PLAY, (0, "stall_start", 0.0), (1_200, "moveaway", 0.0)),
        outcome="exit_before_start",
        startup=None,
        media=0,
        more={"openqoe_startup_wait_seconds": 90},
    ),
    Playback(
        "bounce",
        (PLAY, (0, "stall_start", 0.0), (0.9, "moveaway", 0.0)),
        outcome="bounce",
        startup=None,
        media=0,
    ),
    Playback(
        "failed start",
        (
            PLAY,
            (0, "stall_start", 0.0),
            (
                1,
                "error",
                0.0,
                {"error_code": "-1", "error_context": {"error_details": "manifestLoadError"}},
            ),
            (9, "moveaway", 0.0),
        ),
        outcome="start_failure",
        startup=None,
        media=0,
    ),
    Playback(
        "html5 fails in the middle",
        (
            PLAY,
            *beats(10, 20),
            (25, "error", 25.0, {"error_code": "2"}),
            (25.01, "pause", 25.0, {"playing_time": 25_000}),
            (60, "moveaway", 25.0),
        ),
        outcome="playback_failure",
        watch=25,
        player="html5",
    ),
    Playback(
        "an error that hls.js survives",
        (
            PLAY,
            *beats(10, 20),
            (
                22,
                "error",
                22.0,
                {"error_code": "-1", "error_context": {"error_details": "fragLoadError"}},
            ),
            *beats(30, 40),
            (41, "moveaway", 41.0),
        ),
        watch=41,
    ),
    Playback(
        "an error of hls.js that is the last thing of the view",
        (
            PLAY,
            *beats(10, 20),
            (22, "stall_start", 22.0),
            (
                24,
                "error",
                22.0,
                {"error_code": "-1", "error_context": {"error_details": "fragLoadError"}},
            ),
            (30, "moveaway", 22.0),
        ),
        outcome="playback_failure",
        rebuffer=8,
        watch=30,
        media=22,
    ),
    Playback(
        "a business error does not fail the view",
        (
            PLAY,
            *beats(10, 20),
            (22, "error", 22.0, {"error_code": "GEO", "error_family": "business"}),
            (23, "moveaway", 23.0),
        ),
        watch=23,
        player="html5",
    ),
    Playback(
        "autoplay, muted, at once",
        (
            (0, "viewstart"),
            (0.1, "playing", 0.0, {"video_startup_time": 100}),
            (5.1, "moveaway", 5.0),
        ),
        watch=5,
        media=5,
    ),
    Playback(
        "a page that shows a poster",
        ((0, "viewstart"), (0, "playerready", None), (40, "moveaway", 0.0)),
        outcome=None,
        startup=None,
        media=0,
        more={"openqoe_views_loaded_total": 1},
    ),
    Playback(
        "live, from the middle of a timeline of its own",
        (
            (0, "playing", 86_400.0),
            (0, "stall_start", 86_400.0),
            (1, "stall_end", 86_400.0, {"stall_duration": 1_000}),
            (11, "heartbeat", 86_410.0, {"playing_time": 10_000}),
            (15, "moveaway", 86_414.0),
        ),
        startup=1,
        watch=14,
        video={"content_type": "live", "duration": 60},
        more={"openqoe_completion_rate_count": 0},
    ),
    Playback(
        "at double speed: 40 s of media in 20 s",
        (
            PLAY,
            (0.01, "playbackratechange", 0.0, {"playback_rate": 2}),
            (10, "heartbeat", 20.0, {"playing_time": 20_000}),
            (20, "heartbeat", 40.0, {"playing_time": 40_000}),
            (20, "moveaway", 40.0),
        ),
        watch=20,
        media=40,
    ),
    Playback(
        "plays again after the end",
        (
            PLAY,
            (60, "pause", 60.0),
            (60, "ended", 60.0, {"playing_time": 60_000}),
            (70, "playing", 0.0),
            (80, "heartbeat", 10.0, {"playing_time": 70_000}),
            (80, "moveaway", 10.0),
        ),
        outcome="completed",
        watch=70,
        more={"openqoe_views_completed_total": 1},
    ),
    Playback(
        "a second source in the same view",
        (
            (0, "viewstart"),
            (0, "playing", 0.0),
            (10, "heartbeat", 10.0, {"playing_time": 10_000}),
            (12, "viewstart"),
            (13, "playing", 0.0),
            (13, "stall_start", 0.0),
            (15, "stall_end", 0.0, {"stall_duration": 2_000}),
            (25, "heartbeat", 10.0, {"playing_time": 20_000}),
            (25, "moveaway", 10.0),
        ),
        watch=12 + 10,
        media=20,
        more={"openqoe_rebuffer_events_total": 1},
    ),
    Playback(
        "totals that fall, repeat and jump",
        (
            PLAY,
            (10, "heartbeat", 10.0, {"playing_time": 10_000}),
            (20, "heartbeat", 20.0, {"playing_time": 5_000}),
            (30, "heartbeat", 30.0, {"playing_time": 30_000}),
            (30, "quartile", 30.0, {"playing_time": 30_000, "quartile": 25}),
            (40, "heartbeat", 40.0, {"playing_time": 9_000_000}),
            (50, "heartbeat", 50.0, {"playing_time": 50_000}),
            (50, "moveaway", 50.0),
        ),
        watch=50,
        media=50,
        more={"openqoe_implausible_totals_total": 1},
    ),
    Playback(
        "a total that jumps and goes on from there counts from there",
        (
            PLAY,
            (10, "heartbeat", 10.0, {"playing_time": 10_000}),
            (20, "heartbeat", 20.0, {"playing_time": 9_000_000}),
            (30, "heartbeat", 30.0, {"playing_time": 9_010_000}),
            (30, "moveaway", 30.0),
        ),
        watch=30,
        media=20,
    ),
    Playback(
        "first seen after 10 h, by a worker without its state",
        (
            (0, "heartbeat", 36_000.0, {"playing_time": 36_000_000}),
            (10, "heartbeat", 36_010.0, {"playing_time": 36_010_000}),
            (10, "moveaway", 36_010.0),
        ),
        startup=None,
        watch=10,
        media=10,
        more={"openqoe_views_started_total": 0},
    ),
    Playback(
        "resumes after 25 h of sleep, forgotten meanwhile",
        (
            (0, "playing", 36_000.0, {"video_startup_time": 126_000_000}),
            (10, "heartbeat", 36_010.0, {"playing_time": 36_010_000}),
            (20, "heartbeat", 36_020.0, {"playing_time": 36_020_000}),
            (20, "moveaway", 36_020.0),
        ),
        watch=20,
        media=10,
    ),
    Playback(
        "a hidden tab that reports once a minute",
        (
            PLAY,
            (5, "moveaway", 5.0),
            *beats(60, 600, step=60),
            (601, "moveback", 601.0),
            (602, "pause", 602.0, {"playing_time": 602_000}),
        ),
        watch=602,
    ),
    Playback(
        "a clock that is 4 min ahead",
        (PLAY, *beats(10, 30), (31, "moveaway", 31.0)),
        watch=31,
        clock=240_000,
    ),
    Playback(
        "a clock that is an hour ahead",
        (PLAY, *beats(10, 30), (31, "moveaway", 31.0)),
        watch=31,
        clock=3_600_000,
    ),
    Playback(
        "a clock that is 2 h behind",
        (PLAY, *beats(10, 30), (31, "moveaway", 31.0)),
        watch=31,
        clock=-7_200_000,
    ),
    Playback(
        "waits again at once after the first frame: that is rebuffering",
        (
            PLAY,
            (0, "stall_start", 0.0),
            (2, "stall_end", 0.0, {"stall_duration": 2_000}),
            (2.1, "stall_start", 0.08),
            (5.1, "stall_end", 0.08, {"stall_duration": 3_000}),
            (15.1, "playbackvolumechange", 10.08),
            (25.1, "heartbeat", 20.08, {"playing_time": 20_080}),
            (25.1, "moveaway", 20.08),
        ),
        startup=2,
        rebuffer=3,
        watch=23.1,
        media=20.08,
        more={"openqoe_startup_wait_seconds": 2},
    ),
    Playback(
        "a stall that ends twice: the picture moved before the second end",
        (
            PLAY,
            *beats(10, 20),
            (25, "stallstart", 25.0),
            (30, "stallend", 25.0, {"stall_duration": 5_000}),
            (33, "stallend", 28.0, {"stall_duration": 8_000}),
            (40, "heartbeat", 35.0, {"playing_time": 35_000}),
            (40, "moveaway", 35.0),
        ),
        rebuffer=5,
        watch=40,
        player="html5",
        more={"openqoe_rebuffer_events_total": 1},
    ),
    Playback(
        "pauses in a seek: the wait of the seek ends with the resumption",
        (
            PLAY,
            *beats(10, 20),
            (20, "stall_start", 300.0),
            (21, "pause", 300.0, {"playing_time": 20_000}),
            (24, "seek", 300.0, {"to": 300_000, "seek_latency": 4_000}),
            (60, "playing", 300.0),
            (60.02, "stall_end", 300.0, {"stall_duration": 40_000}),
            (70, "heartbeat", 310.0, {"playing_time": 30_000}),
            (70, "moveaway", 310.0),
        ),
        watch=30,
        more={"openqoe_rebuffer_events_total": 1, "openqoe_seek_latency_seconds_sum": 4},
    ),
    Playback(
        "seeks to what is buffered, and leaves: the media before the seek count",
        (
            PLAY,
            *beats(10, 10),
            (16, "seek", 100.0, {"to": 100_000, "seek_latency": 10}),
            (18, "moveaway", 102.0),
        ),
        watch=17.99,
        player="shaka",
    ),
    Playback(
        "loops: it has reached its end",
        (
            PLAY,
            *beats(10, 50),
            (60, "stall_start", 0.0),
            (60.02, "seek", 0.0, {"to": 0, "seek_latency": 20}),
            (60.02, "stall_end", 0.0, {"stall_duration": 20}),
            (65.02, "moveaway", 5.0),
        ),
        watch=65,
        video={"duration": 60},
        more={"openqoe_completion_rate_sum": 1},
    ),
    Playback(
        "laptop closed for 3 h in a seek: its latency is unknown",
        (
            PLAY,
            *beats(10, 20),
            (22, "stall_start", 300.0),
            (10_822, "seek", 300.0, {"to": 300_000, "seek_latency": 10_800_000}),
            (10_822, "stall_end", 300.0, {"stall_duration": 10_800_000}),
            (10_832, "heartbeat", 310.0, {"playing_time": 32_000}),
            (10_832, "moveaway", 310.0),
        ),
        watch=32,
        more={"openqoe_seeks_total": 1, "openqoe_seek_latency_seconds_count": 0},
    ),
    Playback(
        "an error of hls.js in a pause does not fail the view",
        (
            PLAY,
            *beats(10, 20),
            (25, "pause", 25.0, {"playing_time": 25_000}),
            (
                30,
                "error",
                25.0,
                {"error_code": "-1", "error_context": {"error_details": "fragLoadError"}},
            ),
            (35, "moveaway", 25.0),
        ),
        watch=25,
        more={"openqoe_errors_total": 1},
    ),
    Playback(
        "html5 pauses itself when it fails",
        (
            PLAY,
            *beats(10, 10),
            (15, "error", 15.0, {"error_code": "3"}),
            (15.003, "pause", 15.0, {"playing_time": 15_000}),
        ),
        outcome="playback_failure",
        watch=15,
        player="html5",
        more={"openqoe_pause_events_total": 0},
    ),
    Playback(
        "a page in the back/forward cache for 10 min: the picture stood still",
        (
            PLAY,
            *beats(10, 20),
            (25, "moveaway", 25.0),
            (625, "moveback", 25.0),
            (635, "heartbeat", 35.0, {"playing_time": 35_000}),
            (636, "moveaway", 36.0),
        ),
        watch=36,
    ),
    Playback(
        "hidden before the first frame for 5 min, an exit by then, and plays on return",
        (
            PLAY,
            (0, "stall_start", 0.0),
            (2, "moveaway", 0.0),
            (300, "moveback", 0.0),
            (301, "stall_end", 0.0),
            *beats(311, 591, 301),
            (601, "moveaway", 300.0),
        ),
        outcome="exit_before_start",
        startup=None,
        watch=300,
    ),
    Playback(
        "a playback rate of 0 instead of a pause",
        (
            PLAY,
            *beats(10, 10),
            (15, "playbackratechange", 15.0, {"playback_rate": 0}),
            *((t, "heartbeat", 15.0, {"playing_time": 15_000}) for t in (20, 30, 40)),
            (45, "playbackratechange", 15.0, {"playback_rate": 1}),
            (50, "heartbeat", 20.0, {"playing_time": 20_000}),
            (52, "moveaway", 22.0),
        ),
        watch=22,
        player="html5",
    ),
    Playback(
        "an end that the player reports counts more than the duration that the page gives",
        (
            PLAY,
            *beats(10, 50),
            (60, "ended", 60.0, {"playing_time": 60_000, "completion_rate": 1}),
        ),
        outcome="completed",
        watch=60,
        video={"duration": 500},
        more={"openqoe_completion_rate_sum": 1},
    ),
    Playback(
        "a film of 3 h in s: its position lies beyond 10.8 s",
        ((0, "viewstart"), PLAY, *beats(10, 100), (108, "moveaway", 108.0)),
        watch=108,
        video={"duration": 10_800},
        more={"openqoe_completion_rate_sum": 0.01},
    ),
    Playback(
        "an advertisement of 20 s in ms",
        (
            (0, "viewstart"),
            PLAY,
            (5, "quartile", 5.0, {"quartile": 25, "playing_time": 5_000}),
            (8, "moveaway", 8.0),
        ),
        watch=8,
        video={"duration": 20_000},
        more={"openqoe_completion_rate_sum": 0.4},
    ),
    Playback(
        "html5 reports a stalled download while the picture moves",
        (
            PLAY,
            *beats(10, 10),
            (11, "stallstart", 11.0),
            *beats(20, 190),
            (190, "stallend", 190.0, {"stall_duration": 179_000}),
            (191, "moveaway", 191.0),
        ),
        watch=191,
        player="html5",
    ),
)


@pytest.mark.parametrize("batch_s", [0, 5], ids=["single events", "batches of 5 s"])
@pytest.mark.parametrize("playback", PLAYBACKS, ids=str)
def test_playback_has_its_truth(playback: Playback, batch_s: float) -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    post_lines(rig, playback, batch_s)
    rig.pass_time(36 * MINUTE)
    outcomes = 0 if playback.outcome is None else 1
    assert rig.total("openqoe_view_outcomes_total") == outcomes
    if playback.outcome is not None:
        assert rig.total("openqoe_view_outcomes_total", outcome=playback.outcome) == 1
    assert rig.total("openqoe_video_startup_seconds_count") == (playback.startup is not None)
    assert rig.total("openqoe_video_startup_seconds_sum") == pytest.approx(playback.startup or 0)
    assert rig.total("openqoe_rebuffer_duration_seconds_sum", cause="rebuffer") == pytest.approx(
        playback.rebuffer
    )
    assert rig.total("openqoe_watch_time_seconds") == pytest.approx(playback.watch)
    media = playback.watch - playback.rebuffer if playback.media is None else playback.media
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(media)
    for name, value in playback.more.items():
        assert rig.total(name) == pytest.approx(value), name


@pytest.mark.parametrize(
    "lines",
    [
        next(one.lines for one in PLAYBACKS if "only by the wait" in one.case),
        ((0, "playing", 0.0), (9, "ended", 9.0), (80, "playing", 0.0), (89, "heartbeat", 9.0)),
        ((0, "playing", 0.0), (9, "stallstart", 90.0), (20, "seek", 90.0, {"to": 90_000})),
        ((0, "playing", 0.0), (9, "stallstart", 9.0), (22, "seek", 9.0, {"to": 9_000})),
    ],
    ids=["wait in a pause", "goes on after its end", "seek after a stall", "late seek"],
)
def test_flush_interval_changes_no_count(lines: tuple[Line, ...]) -> None:
    counts = []
    for interval in ("1", "300"):
        rig = Rig(OPENQOE_FLUSH_INTERVAL=interval, OPENQOE_VIEW_TIMEOUT="400")
        post_lines(rig, Playback("", lines, player="dashjs"), 5.0)
        rig.pass_time(12 * MINUTE)
        newest = ((labels, values[-1][1]) for labels, values in rig.receiver.samples.items())
        counts.append(
            sum_counters((one, value) for one, value in newest if isinstance(value, float))
        )
    assert counts[0] == counts[1]


def post_lines(rig: Rig, playback: Playback, batch_s: float) -> None:
    """Posts events when they happen, those of some seconds in one batch: of 5 from the SDK."""
    lines = sorted(playback.lines, key=lambda line: line[0])
    while lines:
        due = lines[0][0] + batch_s
        batch = [line for line in lines if line[0] <= due]
        lines = lines[len(batch) :]
        last = NOW + round(batch[-1][0] * 1000)
        if last > rig.now:
            rig.pass_time(last - rig.now)
        rig.post(*(event_of(playback, line) for line in batch))


def event_of(playback: Playback, line: Line) -> dict[str, Any]:
    second, event_type, *rest = line
    position = rest[0] if rest else None
    data = rest[1] if len(rest) > 1 else {}
    made = player_event(
        second + playback.clock / 1000, event_type, position, player=playback.player, **data
    )
    return {**made, "video": {"id": "film", **playback.video}}


def test_clock_that_jumps_ahead_in_a_stall_adds_nothing() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(player_event(0, "playing", 0.0))
    rig.pass_time(10_000)
    rig.post(player_event(10, "heartbeat", 10.0, playing_time=10_000))
    rig.pass_time(5_000)
    rig.post(player_event(15, "stall_start", 15.0))
    rig.pass_time(2_000)
    rig.post(player_event(257, "stall_end", 15.0, stall_duration=242_000))
    rig.pass_time(10_000)
    rig.post(player_event(267, "heartbeat", 25.0, playing_time=25_000))
    rig.pass_time(HOUR)
    seconds = rig.total("openqoe_rebuffer_duration_seconds_sum", cause="rebuffer")
    assert seconds == pytest.approx(2.0)
    assert rig.total("openqoe_watch_time_seconds") == pytest.approx(27.0)


@pytest.mark.parametrize("set_back", [120, 3_600])
@pytest.mark.parametrize(
    ("stop", "resume", "rebuffer"), [("pause", "playing", 0.0), ("stall_start", "stall_end", 3.0)]
)
def test_clock_that_is_set_back_loses_nothing(
    set_back: int, stop: str, resume: str, rebuffer: float
) -> None:
    """The first running total that arrives after it shows it."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="5")
    rig.post(player_event(0, "playing", 0.0))
    for second, made in (
        (10, heartbeats(10, 10)),
        (15, [player_event(15, stop, 15.0)]),
        (18, [player_event(18 - set_back, resume, 15.0)]),
        (28, [player_event(28 - set_back, "heartbeat", 25.0, playing_time=25_000)]),
        (38, [player_event(38 - set_back, "heartbeat", 35.0, playing_time=35_000)]),
        (43, [player_event(43 - set_back, "moveaway", 40.0)]),
    ):
        rig.pass_time(NOW + second * 1000 - rig.now)
        rig.post(*made)
    rig.pass_time(HOUR)
    seconds = rig.total("openqoe_rebuffer_duration_seconds_sum", cause="rebuffer")
    assert seconds == pytest.approx(rebuffer)
    assert rig.total("openqoe_watch_time_seconds") == pytest.approx(40.0 + rebuffer)
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(40.0)


def test_batches_delayed_by_an_outage_are_no_jump_of_the_clock() -> None:
    """The first ones arrive a minute late, the later ones sooner and sooner."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.now = NOW + 60_000
    for second in range(0, 60, 10):
        rig.post(player_event(second, "heartbeat", float(second), playing_time=second * 1000))
    for second in range(60, 120, 10):
        rig.now = max(rig.now, NOW + second * 1000)
        rig.post(player_event(second, "heartbeat", float(second), playing_time=second * 1000))
    rig.pass_time(HOUR)
    assert rig.total("openqoe_watch_time_seconds") == pytest.approx(110.0)


def test_events_that_arrive_after_the_time_out_count_as_in_time() -> None:
    """The SDK sends what its queue holds with the next page."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(player_event(0, "playing", 0.0), *heartbeats(10, 40))
    rig.pass_time(HOUR)
    rig.post(player_event(45, "pause", 45.0, playing_time=45_000))
    rig.pass_time(HOUR)
    assert rig.total("openqoe_watch_time_seconds") == 45.0
    assert rig.total("openqoe_playing_time_seconds") == 45.0


def test_late_total_adds_nothing_to_the_position_that_came_before_it() -> None:
    """The beacon of a page that closes overtakes a batch that is sent again."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(player_event(0, "playing", 0.0), *heartbeats(10, 40))
    rig.pass_time(60_000)
    rig.post(player_event(60, "moveaway", 60.0))
    rig.pass_time(5 * MINUTE)
    rig.post(*heartbeats(50, 50))
    rig.pass_time(HOUR)
    assert rig.total("openqoe_playing_time_seconds") == 60.0


@pytest.mark.parametrize("copies", [1, 2])
def test_signal_of_the_time_of_the_latest_one_counts_though_it_arrives_late(copies: int) -> None:
    """hls.js with CMCD starts and plays in one ms, and posts each state by itself."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="5")
    rig.post_cmcd(cmcd_record(0, "e=ps,sn=0,sta=s"))
    rig.pass_time(30_000)
    for _ in range(copies):
        rig.post_cmcd(cmcd_record(0, "e=ps,sn=1,sta=p"))
    rig.post_cmcd(cmcd_record(30, "e=t,sn=2,sta=p"))
    rig.pass_time(HOUR)
    assert rig.total("openqoe_video_startup_seconds_count") == 1
    assert rig.total("openqoe_video_startup_seconds_sum") == 0
    assert rig.total("openqoe_watch_time_seconds") == 30


def test_view_that_ends_with_its_first_frame_has_no_score_of_quality() -> None:
    """Sums of times that are not exact are no time played."""
    rig = Rig()
    size: dict[str, Any] = {
        "bitrate_kb": 720,
        "resolution": {"width": 640, "height": 360},
        "video_width": 640,
        "video_height": 360,
        "player_width": 1280,
        "player_height": 720,
    }
    rig.post(
        player_event(252.915, "playing", 0.0),
        player_event(252.918, "stallstart", 0.0),
        player_event(253.002, "qualitychange", 0.0, **size),
        player_event(253.069, "stallend", 0.0),
    )
    rig.pass_time(HOUR)
    assert rig.total("openqoe_view_score_count", part="startup") == 1
    assert rig.total("openqoe_view_score_count", part="quality") == 0


def test_difference_of_times_is_not_moved_across_the_bound_of_a_bucket() -> None:
    """1.23 - 1.13 is more than 0.1 in floating point."""
    rig = Rig()
    rig.post(
        player_event(0, "playerready", player_startup_time=1_130),
        player_event(0.1, "canplay", video_startup_time=1_230),
    )
    rig.flush()
    assert rig.total("openqoe_reported_startup_seconds_bucket", le="0.1") == 1


def test_fault_in_one_view_costs_the_flush_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = StateMachine.apply

    def break_one(machine: StateMachine, number: int) -> None:
        if machine._view.key.view_id == "broken":
            raise ZeroDivisionError
        apply(machine, number)

    monkeypatch.setattr(StateMachine, "apply", break_one)
    rig = Rig()
    for view in ("broken", "view-1"):
        rig.post(
            player_event(0, "playing", 0.0, view=view),
            player_event(10, "heartbeat", 10.0, view=view, playing_time=10_000),
        )
    rig.pass_time(HOUR)
    assert rig.total("openqoe_watch_time_seconds") == 10
    assert rig.total("openqoe_events_total") == 4
    assert {notice.event for notice in rig.notices} == {"view could not be evaluated"}


def test_bit_rate_of_a_heartbeat_counts_however_late_it_arrives() -> None:
    rig = Rig()
    rig.post(player_event(30, "heartbeat", 30.0, bitrate=3_000_000))
    rig.pass_time(60_000)
    rig.post(player_event(20, "heartbeat", 20.0, bitrate=1_000_000))
    rig.flush()
    assert rig.total("openqoe_playing_bitrate_bps_count") == 2
    assert rig.total("openqoe_playing_bitrate_bps_sum") == 4_000_000


def heartbeats(begin: int, end: int) -> list[dict[str, Any]]:
    return [
        player_event(t, "heartbeat", float(t), playing_time=t * 1000)
        for t in range(begin, end + 1, 10)
    ]


def test_total_of_40_days_has_no_limit() -> None:
    """Some players run for months."""
    day = 86_400_000
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(player_event(0, "heartbeat", 10.0, playing_time=40 * day))
    rig.pass_time(10_000)
    rig.post(player_event(10, "heartbeat", 20.0, playing_time=40 * day + 10_000))
    rig.pass_time(HOUR)
    assert rig.total("openqoe_playing_time_seconds") == 10.0


def test_completion_of_views_that_leave_early_is_in_the_mean() -> None:
    """Nine of ten viewers leave at 7 %: the mean is 0.163, not 1."""
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    for number in range(9):
        rig.post(
            *(
                {**one, "video": {"id": "film", "duration": 100_000}}
                for one in (
                    player_event(0, "playing", 0.0, view=f"v{number}"),
                    player_event(7, "moveaway", 7.0, view=f"v{number}"),
                )
            )
        )
    rig.post(
        *(
            {**one, "video": {"id": "film", "duration": 100_000}}
            for one in (
                player_event(0, "playing", 0.0, view="whole"),
                player_event(100, "ended", 100.0, view="whole", completion_rate=1.0),
            )
        )
    )
    rig.pass_time(HOUR)
    assert rig.total("openqoe_completion_rate_count") == 10
    assert rig.total("openqoe_completion_rate_sum") / 10 == pytest.approx(0.163)


def test_advertisement_with_an_id_of_its_own_is_a_view_of_its_own() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    rig.post(
        player_event(0, "playing", 0.0, video="ad"),
        player_event(15, "ended", 15.0, video="ad", playing_time=15_000),
        player_event(15, "playing", 0.0),
        player_event(25, "heartbeat", 10.0, playing_time=10_000),
        player_event(25, "moveaway", 10.0),
    )
    rig.pass_time(HOUR)
    assert rig.total("openqoe_view_outcomes_total", outcome="completed") == 1
    assert rig.total("openqoe_view_outcomes_total", outcome="stopped") == 1
    assert rig.total("openqoe_watch_time_seconds") == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("records", "watch"),
    [
        (
            ((0, "s"), (1, "p"), (21, "e"), (25, "s"), (27, "p"), (37, "a")),
            20 + 10,
        ),
        (((0, "s"), (1, "p"), (11, "f"), (14, "s"), (15, "p"), (25, "a")), 10 + 10),
        (((0, "s"), (1, "p"), (11, "p,nr"), (21, "p,nr"), (31, "p"), (41, "a")), 10 + 10),
    ],
    ids=["plays again after the end", "plays again after a failure", "not rendered"],
)
def test_cmcd_player_counts_as_playing_while_it_says_so(
    records: tuple[tuple[int, str], ...], watch: float
) -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    for number, (second, state) in enumerate(records):
        rig.pass_time(NOW + second * 1000 - rig.now)
        rig.post_cmcd(cmcd_record(second, f"e=ps,sn={number},sta={state}"))
    rig.pass_time(HOUR)
    assert rig.total("openqoe_watch_time_seconds") == pytest.approx(watch)
    assert rig.total("openqoe_video_startup_seconds_sum") == pytest.approx(1.0)


STARTUPS = "openqoe_video_startup_seconds_count"


@pytest.mark.parametrize(
    ("records", "truth"),
    [
        pytest.param(
            (
                (0, "ps,sta=s"),
                (1, "ps,sta=p,pt=0"),
                (11, "ps,sta=r,pr=0,pt=10000"),
                (14, "t,sta=r,pr=0,pt=10500"),
                (16, "ps,sta=p,pt=10500"),
                (26, "ps,sta=a,pt=20500"),
            ),
            {
                "openqoe_rebuffer_duration_seconds_sum": 5,
                "openqoe_watch_time_seconds": 25,
                "openqoe_view_outcomes_total": 1,
            },
            id="a rate of 0 in a stall",
        ),
        pytest.param(
            (
                (0, "ps,sta=s"),
                (1, "ps,sta=p"),
                (11, "pr,sta=p,pr=0"),
                (21, "t,sta=p,pr=0"),
                (31, "pr,sta=p"),
                (41, "ps,sta=a"),
            ),
            {"openqoe_watch_time_seconds": 20, "openqoe_playing_time_seconds": 20},
            id="a rate of 0 says that it does not play",
        ),
        pytest.param(
            (
                (0, "ps,sta=s"),
                (1, "ps,sta=p"),
                (11, "ps,sta=a"),
                (15, "ps,sta=k"),
                (15.3, "ps,sta=a"),
                (20, "ps,sta=p"),
                (30, "ps,sta=a"),
            ),
            {
                "openqoe_pause_events_total": 2,
                "openqoe_seek_latency_seconds_sum": 0.3,
                "openqoe_watch_time_seconds": 20,
            },
            id="a seek in a pause leads back into the same pause",
        ),
        pytest.param(
            (
                (0, "ps,sta=s"),
                (1, "ps,sta=p"),
                (11, "ps,sta=k"),
                (15, "ps,sta=p"),
                (15, "ps,sta=k"),
                (18, "ps,sta=p"),
                (28, "ps,sta=a"),
            ),
            {
                "openqoe_seeks_total": 2,
                "openqoe_seek_latency_seconds_sum": 7,
                "openqoe_watch_time_seconds": 20,
            },
            id="a seek that begins in the ms in which another one ends",
        ),
        pytest.param(
            ((0, "ps,sta=s"), (1, "ps,sta=p"), (11, "ps,sta=e"), (12, "ps,sta=a")),
            {"openqoe_pause_events_total": 0, "openqoe_watch_time_seconds": 10},
            id="paused after the end",
        ),
        pytest.param(
            (
                (0, "ps,sta=s"),
                (1, "ps,sta=p"),
                (21, "ps,sta=e"),
                (25, "ps,sta=s"),
                (31, "ps,sta=p"),
                (51, "ps,sta=e"),
            ),
            {STARTUPS: 1, "openqoe_view_score_sum": 100 * 8 / 9},
            id="the score of the start-up is that of the first one",
        ),
        pytest.param(
            ((0, "ps,sta=s"), (1_200, "ps,sta=p,msd=1200000"), (1_210, "ps,sta=a")),
            {STARTUPS: 1, "openqoe_video_startup_seconds_sum": 90},
            id="a sleep of 20 min in the start",
        ),
        pytest.param(
            ((0, "ps,sta=s"), (10_800, "ps,sta=p"), (10_810, "ps,sta=a")),
            {STARTUPS: 0, "openqoe_watch_time_seconds": 10},
            id="a first frame after the time-out has no start-up time",
        ),
        pytest.param(
            ((0, "t,sta=p"), (10, "t,sta=p"), (20, "t,sta=p")),
            {STARTUPS: 0, "openqoe_watch_time_seconds": 20},
            id="first seen while it plays",
        ),
    ],
)
def test_cmcd_playback_has_its_truth(
    records: tuple[tuple[float, str], ...], truth: dict[str, float]
) -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="300")
    for number, (second, keys) in enumerate(records):
        rig.pass_time(NOW + round(second * 1000) - rig.now)
        rig.post_cmcd(cmcd_record(second, f"sn={number},e={keys}"))
    rig.pass_time(HOUR)
    assert not rig.notices
    for name, value in truth.items():
        labels = {"part": "startup"} if name.startswith("openqoe_view_score") else {}
        if name.startswith("openqoe_rebuffer"):
            labels = {"cause": "rebuffer"}
        assert rig.total(name, **labels) == pytest.approx(value), name
