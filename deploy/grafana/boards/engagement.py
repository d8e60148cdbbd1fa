"""Engagement: most watched videos, audiences, playing time and completion."""

from boards import promql, variables, views
from boards.board import Row, board
from boards.panels import Column, graph, number, rows, spread
from boards.promql import RANGE, Scope


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope(views.matchers())

    def per_view(name: str, *, over: str = RANGE) -> str:
        return promql.ratio(
            scope.rate(name, over=over), scope.rate("openqoe_views_started_total", over=over)
        )

    return board(
        "engagement",
        "Engagement",
        "Most watched videos, audiences, playing time and completion.",
        [variables.source(), *variables.view_labels(), variables.further_filters()],
        [
            Row(
                "Selected time range",
                [
                    views.started(scope),
                    views.watched_number(scope),
                    number(
                        "Watch time per view",
                        "Time watched (playing and rebuffering) per started view.",
                        per_view("openqoe_watch_time_seconds"),
                        unit="dtdurations",
                        decimals=1,
                    ),
                    views.completion_number(scope),
                    number(
                        "Pauses per view",
                        "Pauses per started view, without those right before the end.",
                        per_view("openqoe_pause_events_total"),
                        decimals=2,
                    ),
                    number(
                        "Seeks per view",
                        "Seeks per started view.",
                        per_view("openqoe_seeks_total"),
                        decimals=2,
                    ),
                ],
            ),
            Row(
                "Completion",
                [
                    views.funnel(scope),
                    spread(
                        "Fraction of the video reached",
                        "Number of views that ended in each range.",
                        scope.rate("openqoe_completion_rate_bucket", by="le"),
                        unit="percentunit",
                    ),
                ],
            ),
            Row(
                "Over time",
                [
                    views.starts_graph(scope),
                    graph(
                        "Players loaded, and asked to play, per minute",
                        "Views whose player was loaded, and those that a viewer or autoplay asked "
                        "to play. A page that only shows a poster is among the former.",
                        [
                            (f"60 * {scope.rate('openqoe_views_loaded_total')}", "loaded"),
                            (f"60 * {scope.rate('openqoe_views_started_total')}", "asked to play"),
                        ],
                    ),
                    graph(
                        "Average watching views",
                        "Seconds watched per second: the average number of views that play or "
                        "rebuffer.",
                        [
                            (
                                scope.rate("openqoe_watch_time_seconds", by="device_category"),
                                "{{device_category}}",
                            )
                        ],
                        stacked=True,
                    ),
                    graph(
                        "Pauses and seeks per view",
                        "Pauses and seeks per started view.",
                        [
                            (per_view("openqoe_pause_events_total", over=promql.STEP), "pauses"),
                            (per_view("openqoe_seeks_total", over=promql.STEP), "seeks"),
                        ],
                    ),
                    graph(
                        "Stalls per view, as counted by players",
                        "Mean of `rebuffer_count` at the end of a view. It includes start-up and "
                        "seeks, so it is not comparable with rebufferings.",
                        [(scope.mean("openqoe_rebuffer_count"), "mean")],
                    ),
                ],
            ),
            Row(
                "Videos and audiences",
                [
                    rows(
                        "Most watched",
                        "The 20 videos with the most media time played.",
                        [("video_id", "Video")],
                        [
                            Column(
                                "Playing time",
                                "topk(20, "
                                + scope.increase("openqoe_playing_time_seconds", by="video_id")
                                + ")",
                                "dtdurations",
                                decimals=1,
                            )
                        ],
                        link=views.VIDEO_LINK,
                    ),
                    views.by_label(scope, "network_country", "Country"),
                    views.by_label(scope, "app_version", "App version"),
                    views.by_label(scope, "browser_family", "Browser"),
                    views.by_label(scope, "os_family", "Operating system"),
                    views.by_label(scope, "player_id", "Player"),
                ],
            ),
        ],
        time="now-24h",
        refresh="5m",
        runbooks=runbooks,
    )
