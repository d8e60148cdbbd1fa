"""Quality and delivery: bit rates, quality changes, stalls and their causes, buffers."""

from boards import promql, variables, views
from boards.board import Row, board
from boards.panels import bars, graph, number, spread
from boards.promql import RANGE, STEP, Scope


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope(views.matchers())
    switches = promql.ratio(
        scope.rate("openqoe_quality_changes_total", over=RANGE),
        scope.rate("openqoe_watch_time_seconds", over=RANGE),
    )
    return board(
        "quality",
        "Quality and delivery",
        "Bit rates, quality changes, stalls and their causes. The SDKs do not report the CDN: "
        "compare countries, players and videos instead.",
        [variables.source(), *variables.view_labels(), variables.further_filters()],
        [
            Row(
                "Selected time range",
                [
                    number(
                        "Bit rate",
                        "Bit rate weighted by the time for which each rendition was played "
                        "(CTA-2066: average bit rate).",
                        promql.weighted_bitrate(scope, over=RANGE),
                        unit="bps",
                        decimals=2,
                        alert="OpenQoEBitrateCollapse",
                    ),
                    number(
                        "Quality changes per hour watched",
                        "Changes of the rendition (CTA-2066: bit rate switches).",
                        f"3600 * {switches}",
                        decimals=1,
                    ),
                    views.rebuffering_number(scope),
                    number(
                        "Rebufferings per hour watched",
                        "Interruptions of playback per hour watched.",
                        promql.rebuffering_frequency(scope, over=RANGE),
                        decimals=2,
                        alert="OpenQoERebuffering",
                    ),
                    number(
                        "Rebuffering duration, 95 %",
                        "The 95th percentile: one rebuffering in twenty is longer.",
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
                        "Dropped frames",
                        "Fraction of the expected frames (frame rate x time played) that the "
                        "device could not render in time, where the frame rate is known.",
                        promql.ratio(
                            scope.rate("openqoe_expected_frames_dropped_total", over=RANGE),
                            scope.rate("openqoe_frames_expected_total", over=RANGE),
                        ),
                        unit="percentunit",
                        decimals=2,
                    ),
                ],
            ),
            Row(
                "Picture",
                [
                    views.bitrate_graph(scope),
                    spread(
                        "Bit rates",
                        "Number of reports in each bit rate range.",
                        scope.rate("openqoe_playing_bitrate_bps_bucket", by="le"),
                        unit="bps",
                    ),
                    graph(
                        "Bit rate, percentiles and mean of reports",
                        "Median and 95th percentile of the reports of players at the start, at "
                        "changes and every 10 s, exact to the bucket; and their mean, which the "
                        "worker before this one averaged.",
                        [
                            (scope.quantile(0.5, "openqoe_playing_bitrate_bps"), "median"),
                            (scope.quantile(0.95, "openqoe_playing_bitrate_bps"), "95 %"),
                            (scope.mean("openqoe_bitrate_bps"), "mean"),
                        ],
                        unit="bps",
                    ),
                    graph(
                        "Time played, by resolution",
                        "Fractions of the time played by the standard resolution of the rendition.",
                        [
                            (
                                scope.rate(
                                    "openqoe_rendition_playing_seconds_total", by="resolution"
                                ),
                                "{{resolution}}",
                            )
                        ],
                        share=True,
                    ),
                    graph(
                        "Upscaling and downscaling",
                        "By how much the picture is enlarged and reduced on the screen, weighted "
                        "by the time played (Mux: upscale and downscale percentage). Second SDK "
                        "generation of hls.js and dash.js.",
                        [
                            (
                                promql.ratio(
                                    scope.rate(f"openqoe_{name}_seconds_total"),
                                    scope.rate("openqoe_scale_known_seconds_total"),
                                ),
                                legend,
                            )
                            for name, legend in (("upscale", "enlarged"), ("downscale", "reduced"))
                        ],
                        unit="percentunit",
                    ),
                    graph(
                        "Renditions shown",
                        "Fractions of the played renditions by standard resolution. Counted when "
                        "a rendition starts to play.",
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
                        "Changes up, down, or to the same bit rate.",
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
                        "Means of the latest flush windows: at heartbeats (every 10 s of playback) "
                        "and before and after changes. A larger difference means larger changes.",
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
                        "The reason for a change, if the player reports it.",
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
                        "All stalls. Only `rebuffer` is rebuffering (CTA-2066); `startup` belongs "
                        "to the startup time, `seek` to the seek latency.",
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
                        "Stall duration, 95 %, by cause",
                        "The 95th percentile: one stall in twenty is longer.",
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
                        "Rebuffering of a view",
                        "Time that ended views rebuffered in all: mean and 95th percentile.",
                        [
                            (scope.mean("openqoe_view_rebuffer_seconds"), "mean"),
                            (scope.quantile(0.95, "openqoe_view_rebuffer_seconds"), "95 %"),
                        ],
                        unit="s",
                        alert="OpenQoERebuffering",
                    ),
                    graph(
                        "Buffer ahead",
                        "Buffered media as reported by players: median and 10th percentile.",
                        _median_and(0.1, scope, "openqoe_buffer_length_seconds"),
                        unit="s",
                        alert="OpenQoERebuffering",
                    ),
                    graph(
                        "Seek latency",
                        "Time from a seek until playback resumes.",
                        _median_and(0.95, scope, "openqoe_seek_latency_seconds"),
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
                        "Number of views that showed a frame in each range.",
                        scope.rate("openqoe_video_startup_seconds_bucket", by="le"),
                        unit="s",
                    ),
                    graph(
                        "Player startup and page load, 95 %",
                        "Time from navigation until the player is ready, and until the page is "
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
                        "Wait of an attempt",
                        "Time that viewers waited for the first frame, until it came or they left, "
                        "per play request.",
                        [
                            (
                                promql.ratio(
                                    scope.rate("openqoe_startup_wait_seconds"),
                                    scope.rate("openqoe_views_started_total"),
                                ),
                                "mean",
                            )
                        ],
                        unit="s",
                        alert="OpenQoEExitsBeforeStart",
                    ),
                    graph(
                        "Page, player and video together, 95 %",
                        "Aggregate start-up (Mux): load of page and player and the wait for the "
                        "first frame. The viewer's time to click is not in it.",
                        [(scope.quantile(0.95, "openqoe_aggregate_startup_seconds"), "together")],
                        unit="s",
                    ),
                    graph(
                        "Startup as the SDK reports it, median",
                        "Not the viewer's wait: `playing` ends at the play request, so it has the "
                        "viewer's time to click; `canplay` begins when the player was ready.",
                        [
                            (
                                scope.quantile(0.5, "openqoe_reported_startup_seconds", by="field"),
                                "{{field}}",
                            )
                        ],
                        unit="s",
                    ),
                    graph(
                        "Running totals ignored",
                        "Increases of a player's totals that cannot be: a fault of the player or "
                        "of a client's clock.",
                        [
                            (
                                scope.increase("openqoe_implausible_totals_total", over=STEP)
                                + " or vector(0)",
                                "ignored",
                            )
                        ],
                    ),
                    graph(
                        "Dropped frames per minute",
                        "Frames that the device could not render in time.",
                        [(f"60 * {scope.rate('openqoe_dropped_frames_total')}", "frames")],
                    ),
                ],
            ),
            Row(
                "Requests and latency (CMCD)",
                [
                    graph(
                        "Media requests per minute",
                        "Requests for media and manifests by class of the status code (`none`: no "
                        "answer), of players that report CMCD with the event `rr`.",
                        [
                            (
                                "60 * "
                                + scope.rate("openqoe_media_requests_total", by="code_class"),
                                "{{code_class}}",
                            )
                        ],
                        stacked=True,
                    ),
                    graph(
                        "Time of media requests",
                        "Time to the first and the last byte: median and 95th percentile.",
                        [
                            (
                                scope.quantile(0.5, "openqoe_media_request_ttfb_seconds"),
                                "first byte, median",
                            ),
                            (
                                scope.quantile(0.95, "openqoe_media_request_ttfb_seconds"),
                                "first byte, 95 %",
                            ),
                            (
                                scope.quantile(0.5, "openqoe_media_request_duration_seconds"),
                                "last byte, median",
                            ),
                            (
                                scope.quantile(0.95, "openqoe_media_request_duration_seconds"),
                                "last byte, 95 %",
                            ),
                        ],
                        unit="s",
                    ),
                    graph(
                        "Throughput",
                        "Throughput as players measure it: median and 10th percentile.",
                        _median_and(0.1, scope, "openqoe_throughput_bps"),
                        unit="bps",
                    ),
                    graph(
                        "Live latency",
                        "Time by which live streams are behind their source: median and 95th "
                        "percentile.",
                        _median_and(0.95, scope, "openqoe_live_latency_seconds"),
                        unit="s",
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


def _median_and(quantile: float, scope: Scope, metric: str) -> list[tuple[str, str]]:
    """Queries of the median of a histogram and of another quantile, with their names."""
    return [
        (scope.quantile(0.5, metric), "median"),
        (scope.quantile(quantile, metric), f"{quantile * 100:.0f} %"),
    ]
