"""Video on demand: start-up, stalls, errors and completion."""

from boards import variables, views
from boards.board import Row, board
from boards.panels import graph
from boards.promql import Scope


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    # Without a content type from the page the SDKs send none, so all but live counts as on demand.
    scope = Scope(views.matchers('content_type!="live"', without="content_type"))
    return board(
        "vod",
        "Video on demand",
        "Views whose content_type is not `live`: start-up, stalls, errors and completion.",
        [
            variables.source(),
            *variables.view_labels(without=("content_type",)),
            variables.further_filters(),
        ],
        [
            Row(
                "Selected time range",
                [
                    views.started(scope),
                    views.watched_number(scope),
                    views.startup_number(scope, 0.95, "Startup, 95 %"),
                    views.rebuffering_number(scope),
                    views.completion_number(scope),
                    views.exits_number(scope),
                    views.start_failures_number(scope),
                    views.playback_failures_number(scope),
                    views.errors_number(scope),
                    views.score_number(scope),
                ],
            ),
            Row(
                "Completion",
                [
                    views.funnel(scope),
                    graph(
                        "Completion",
                        "Mean fraction of the video that ended views reached.",
                        [(scope.mean("openqoe_completion_rate"), "mean")],
                        unit="percentunit",
                        limits=views.COMPLETION,
                        most=1,
                        alert="OpenQoECompletionDrop",
                    ),
                ],
            ),
            Row(
                "Over time",
                [
                    views.starts_graph(scope),
                    views.startup_graph(scope),
                    views.rebuffering_graph(scope),
                    views.errors_graph(scope),
                ],
            ),
            Row(
                "Videos",
                [
                    views.by_label(scope, "video_id", "Video", link=views.VIDEO_LINK, width=24),
                    *views.worst_videos(scope),
                ],
            ),
        ],
        runbooks=runbooks,
    )
