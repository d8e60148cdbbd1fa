"""Engagement: what is watched, by whom, how long and how far."""

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
        "What is watched, where, how long and how far.",
        [variables.source(), *variables.view_labels(), variables.further_filters()],
        [
            Row(
                "In this time",
                [
                    views.started(scope),
                    views.played_number(scope),
                    number(
                        "Playing time of a view",
                        "Media time played, for each view started.",
                        per_view("openqoe_playing_time_seconds"),
                        unit="dtdurations",
                        decimals=1,
                    ),
                    views.completion_number(scope),
                    number(
                        "Pauses of a view",
                        "Pauses for each view started, without those right before the end.",
                        per_view("openqoe_pause_events_total"),
                        decimals=2,
                    ),
                    number(
                        "Seeks of a view",
                        "Seeks for each view started.",
                        per_view("openqoe_seeks_total"),
                        decimals=2,
                    ),
                ],
            ),
            Row(
                "How far viewers get",
                [
                    views.funnel(scope),
                    spread(
                        "Share of the video reached",
                        "How many views ended in each range.",
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
                        "Views playing on average",
                        "Media seconds played in a second: the concurrent views of that time, "
                        "measured by what they played.",
                        [
                            (
                                scope.rate("openqoe_playing_time_seconds", by="device_category"),
                                "{{device_category}}",
                            )
                        ],
                        stacked=True,
                    ),
                    graph(
                        "Pauses and seeks of a view",
                        "For each view started.",
                        [
                            (per_view("openqoe_pause_events_total", over=promql.STEP), "pauses"),
                            (per_view("openqoe_seeks_total", over=promql.STEP), "seeks"),
                        ],
                    ),
                    graph(
                        "Stalls of a view, as players count them",
                        "Mean of `rebuffer_count` at the end: start-up and seeks included, so "
                        "not comparable with rebufferings.",
                        [(scope.mean("openqoe_rebuffer_count"), "mean")],
                    ),
                ],
            ),
            Row(
                "What and where",
                [
                    rows(
                        "Most watched",
                        "The 20 videos with most playing time.",
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
                    views.by_label(scope, "app_version", "Version of the app"),
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
