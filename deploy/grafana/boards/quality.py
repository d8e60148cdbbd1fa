"""Quality and delivery: the picture, its changes, stalls and their causes, the buffer."""

from boards import promql, variables, views
from boards.board import Row, board
from boards.panels import bars, graph, number, spread
from boards.promql import RANGE, STEP, Scope


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope(views.matchers())
    switches = promql.ratio(
        scope.rate("openqoe_quality_changes_total", over=RANGE),
        scope.rate("openqoe_playing_time_seconds", over=RANGE),
    )
    return board(
        "quality",
        "Quality and delivery",
        "The picture that viewers get, how steadily it comes, and why it stalls. The SDKs do not "
        "tell the CDN: compare countries, players and videos.",
        [variables.source(), *variables.view_labels(), variables.further_filters()],
        [
            Row(
                "In this time",
                [
                    number(
                        "Bit rate",
                        "Mean bit rate of the renditions that played (CTA-2066: average bit "
                        "rate), over what players reported.",
                        scope.mean("openqoe_bitrate_bps", over=RANGE),
                        unit="bps",
                        decimals=2,
                        alert="OpenQoEBitrateCollapse",
                    ),
                    number(
                        "Quality changes per hour played",
                        "How often the rendition changed (CTA-2066: bit rate switches).",
                        f"3600 * {switches}",
                        decimals=1,
                    ),
                    views.rebuffering_number(scope),
                    number(
                        "Rebufferings per hour played",
                        "How often a viewer was interrupted.",
                        promql.rebuffering_frequency(scope, over=RANGE),
                        decimals=2,
                        alert="OpenQoERebuffering",
                    ),
                    number(
                        "Length of a rebuffering, 95 %",
                        "What one rebuffering in twenty exceeds.",
                        scope.quantile(
                            0.95,
                            "openqoe_rebuffer_duration_seconds",
                            promql.REBUFFERING,
                            over=RANGE,
                        ),
                        unit="s",
                        decimals=2,
                    ),
                    number(
                        "Dropped frames per minute played",
                        "Frames that devices could not show in time.",
                        "60 * "
                        + promql.ratio(
                            scope.rate("openqoe_dropped_frames_total", over=RANGE),
                            scope.rate("openqoe_playing_time_seconds", over=RANGE),
                        ),
                        decimals=1,
                    ),
                ],
            ),
            Row(
                "Picture",
                [
                    views.bitrate_graph(scope),
                    spread(
                        "Bit rates",
                        "How often each range of bit rates was reported.",
                        scope.rate("openqoe_bitrate_bps_bucket", by="le"),
                        unit="bps",
                    ),
                    graph(
                        "Resolutions",
                        "Shares of the renditions that players showed, by the standard resolution "
                        "that their height reaches. Counted when a rendition begins to play.",
                        [
                            (
                                scope.rate("openqoe_resolution_total", by="resolution"),
                                "{{resolution}}",
                            )
                        ],
                        share=True,
                    ),
                    graph(
                        "Quality changes per minute",
                        "Up, down, or to the same bit rate.",
                        [
                            (
                                "60 * "
                                + scope.rate(
                                    "openqoe_quality_changes_total", by="change_direction"
                                ),
                                "{{change_direction}}",
                            )
                        ],
                    ),
                    graph(
                        "Bit rate at heartbeats, before and after changes",
                        "Means over the series' latest windows: at heartbeats, every 10 s of "
                        "playing, and around changes; further apart means larger jumps.",
                        [
                            (
                                f"avg({scope.series('openqoe_heartbeat_bitrate_bps')})",
                                "heartbeats",
                            ),
                            (
                                f"avg({scope.series('openqoe_quality_change_old_bitrate_bps')})",
                                "before",
                            ),
                            (
                                f"avg({scope.series('openqoe_quality_change_bitrate_bps')})",
                                "after",
                            ),
                        ],
                        unit="bps",
                    ),
                    bars(
                        "Quality changes, by trigger",
                        "What made the player change: where players tell it.",
                        [
                            (
                                scope.increase("openqoe_quality_changes_total", by="trigger"),
                                "{{trigger}}",
                            )
                        ],
                    ),
                ],
            ),
            Row(
                "Stalls",
                [
                    graph(
                        "Stalls per minute, by cause",
                        "All waits of players. Only `rebuffer` is rebuffering (CTA-2066); "
                        "`startup` belongs to the startup time, `seek` to the seek.",
                        [
                            (
                                f"60 * {scope.rate('openqoe_rebuffer_events_total', by='cause')}",
                                "{{cause}}",
                            )
                        ],
                        stacked=True,
                        alert="OpenQoERebuffering",
                    ),
                    graph(
                        "Length of stalls, 95 %, by cause",
                        "What one stall in twenty exceeds.",
                        [
                            (
                                scope.quantile(
                                    0.95, "openqoe_rebuffer_duration_seconds", by="cause"
                                ),
                                "{{cause}}",
                            )
                        ],
                        unit="s",
                    ),
                    views.rebuffering_graph(scope),
                    views.rebuffering_frequency_graph(scope),
                    graph(
                        "Buffer ahead",
                        "Media that players had buffered when they reported it: half of them had "
                        "more than the upper line, one in ten less than the lower.",
                        [
                            (scope.quantile(0.5, "openqoe_buffer_length_seconds"), "median"),
                            (scope.quantile(0.1, "openqoe_buffer_length_seconds"), "10 %"),
                        ],
                        unit="s",
                        alert="OpenQoERebuffering",
                    ),
                    graph(
                        "Seek latency",
                        "From a seek until the picture is there.",
                        [
                            (scope.quantile(0.5, "openqoe_seek_latency_seconds"), "median"),
                            (scope.quantile(0.95, "openqoe_seek_latency_seconds"), "95 %"),
                        ],
                        unit="s",
                    ),
                ],
            ),
            Row(
                "Before the start",
                [
                    views.startup_graph(scope),
                    spread(
                        "Startup times",
                        "How many views began in each range.",
                        scope.rate("openqoe_video_startup_seconds_bucket", by="le"),
                        unit="s",
                    ),
                    graph(
                        "Player startup and page load, 95 %",
                        "From navigation until the player was ready, and until the page had "
                        "loaded.",
                        [
                            (
                                scope.quantile(0.95, "openqoe_player_startup_seconds", over=STEP),
                                "player",
                            ),
                            (scope.quantile(0.95, "openqoe_page_load_seconds"), "page"),
                        ],
                        unit="s",
                    ),
                    graph(
                        "Dropped frames per minute",
                        "Frames that devices could not show in time.",
                        [(f"60 * {scope.rate('openqoe_dropped_frames_total')}", "frames")],
                    ),
                ],
            ),
            Row(
                "Compared",
                [
                    views.rebuffering_graph(
                        scope, by="network_country", legend="{{network_country}}"
                    ),
                    views.rebuffering_graph(scope, by="player_name", legend="{{player_name}}"),
                    views.bitrate_graph(scope, by="network_country", legend="{{network_country}}"),
                    views.bitrate_graph(scope, by="device_category", legend="{{device_category}}"),
                ],
            ),
        ],
        runbooks=runbooks,
    )
