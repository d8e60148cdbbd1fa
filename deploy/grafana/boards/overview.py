"""Overview: the key quality metrics, overall and by organisation, country, device, player."""

from boards import variables, views
from boards.board import Row, board
from boards.panels import Limits, number
from boards.promql import Scope


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope(views.matchers())
    return board(
        "overview",
        "Overview",
        "Start-up, failures, rebuffering and completion; by organisation, country, device, player.",
        [variables.source(), *variables.view_labels(), variables.further_filters()],
        [
            Row(
                "Current values and selected time range",
                [
                    views.concurrent(scope),
                    views.started(scope),
                    views.watched_number(scope),
                    views.startup_number(scope, 0.5, "Startup, median"),
                    views.startup_number(scope, 0.95, "Startup, 95 %"),
                    number(
                        "Alerts",
                        "Firing alerts of OpenQoE (rules in deploy/prometheus). Runbooks: "
                        "`docs/runbooks/`.",
                        'count(ALERTS{alertname=~"OpenQoE.+",alertstate="firing"}) or vector(0)',
                        limits=Limits(1, 2),
                        decimals=0,
                    ),
                    views.exits_number(scope),
                    views.start_failures_number(scope),
                    views.playback_failures_number(scope),
                    views.rebuffering_number(scope),
                    views.completion_number(scope),
                    views.score_number(scope),
                ],
            ),
            Row(
                "Over time",
                [
                    views.concurrent_graph(scope),
                    views.starts_graph(scope),
                    views.startup_graph(scope),
                    views.rebuffering_graph(scope),
                    views.errors_graph(scope),
                    views.bitrate_graph(scope),
                    views.outcomes_graph(scope),
                    views.scores_graph(scope),
                ],
            ),
            Row(
                "Where",
                [
                    views.by_label(scope, "org_id", "Organisation"),
                    views.by_label(scope, "network_country", "Country"),
                    views.by_label(scope, "device_category", "Device"),
                    views.by_label(scope, "player_name", "Player software"),
                ],
            ),
            Row("Videos", views.worst_videos(scope)),
        ],
        runbooks=runbooks,
    )
