"""Live: concurrent views, joins, stalls and errors."""

from boards import variables, views
from boards.board import Row, board
from boards.panels import Column, graph, number, rows
from boards.promql import Scope


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope(views.matchers('content_type="live"', without="content_type"))
    concurrent = scope.sum("openqoe_concurrent_views_current")
    by_video = scope.sum("openqoe_concurrent_views_current", by="video_id")
    return board(
        "live",
        "Live",
        "Views whose content_type is `live`. The page must send it (video.content_type, "
        "video.stream_type or CMCD's st); the SDKs do not detect it.",
        [
            variables.source(),
            *variables.view_labels(without=("content_type",)),
            variables.further_filters(),
        ],
        [
            Row(
                "Now",
                [
                    views.concurrent(scope),
                    number(
                        "Peak of concurrent views",
                        "Maximum of concurrent views in the selected time range, evaluated every "
                        "minute.",
                        f"max_over_time(({concurrent})[$__range:1m])",
                        decimals=0,
                    ),
                    views.started(scope),
                    views.startup_number(scope, 0.95, "Joining, 95 %"),
                    views.rebuffering_number(scope),
                    views.exits_number(scope),
                    views.start_failures_number(scope),
                    views.playback_failures_number(scope),
                    views.errors_number(scope),
                    views.score_number(scope),
                ],
            ),
            Row(
                "Audience",
                [
                    views.concurrent_graph(scope, by="video_id", legend="{{video_id}}"),
                    graph(
                        "Joins per minute",
                        "Started views.",
                        [(f"60 * {scope.rate('openqoe_views_started_total')}", "joins")],
                        alert="OpenQoETrafficGone",
                    ),
                    views.concurrent_graph(
                        scope, by="network_country", legend="{{network_country}}"
                    ),
                    views.concurrent_graph(
                        scope, by="device_category", legend="{{device_category}}"
                    ),
                ],
            ),
            Row(
                "Experience",
                [
                    views.startup_graph(scope),
                    views.rebuffering_graph(scope),
                    views.rebuffering_frequency_graph(scope),
                    views.errors_graph(scope),
                    views.bitrate_graph(scope),
                    graph(
                        "Buffer ahead",
                        "Buffered media as reported by players: median and 10th percentile. A low "
                        "buffer precedes a stall.",
                        [
                            (scope.quantile(0.5, "openqoe_buffer_length_seconds"), "median"),
                            (scope.quantile(0.1, "openqoe_buffer_length_seconds"), "10 %"),
                        ],
                        unit="s",
                        alert="OpenQoERebuffering",
                    ),
                ],
            ),
            Row(
                "Channels",
                [
                    rows(
                        "Watched now",
                        "The 20 channels with the most concurrent views.",
                        [("video_id", "Channel")],
                        [Column("Views", f"topk(20, {by_video})", decimals=0)],
                        width=8,
                    ),
                    views.by_label(scope, "video_id", "Channel", width=16),
                ],
            ),
        ],
        time="now-1h",
        refresh="30s",
        runbooks=runbooks,
    )
