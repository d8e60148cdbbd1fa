"""Views and events: the log of what happened, down to a single view."""

from boards import logql, variables
from boards.board import Row, board
from boards.panels import graph, log_graph, log_lines, log_rows
from boards.promql import Scope

VIEW_LINK = "/d/openqoe-events?${__url_time_range}&var-view_id=${__value.text}"

STORY = (
    ' | json position="playback_time", played="data.playing_time", bitrate="data.bitrate", '
    'stall="data.stall_duration", error="data.error_code", message="data.error_message"'
    " | line_format `{{.event_type}} at {{.position}} ms"
    "{{if .played}} played {{.played}} ms{{end}}"
    "{{if .bitrate}} bit rate {{.bitrate}}{{end}}"
    "{{if .stall}} stalled {{.stall}} ms{{end}}"
    "{{if .error}} error {{.error}} {{.message}}{{end}}`"
)


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope(",".join(f'{name}=~"${name}"' for name in (*logql.FILTERS, "event_type")))
    return board(
        "events",
        "Views and events",
        "Every event as it was received, from Loki. Choose a view, a session or a viewer to read "
        "its story. `.*` stands for all.",
        [
            variables.source(),
            variables.log_source(),
            *(variables.log_label(name, variables.TITLES[name]) for name in logql.FILTERS),
            variables.log_label("event_type", "Event", all_value=".+"),
            *(
                variables.text(name, title, ".*")
                for name, title in zip(
                    logql.IDS, ("View", "Session", "Viewer", "Video"), strict=True
                )
            ),
            variables.text("search", "Text", ""),
        ],
        [
            Row(
                "Events",
                [
                    log_graph(
                        "Events in the log, by type",
                        "How many events Loki has of each type.",
                        logql.count(logql.SOME, by="event_type", over="$__auto"),
                        "{{event_type}}",
                        width=12,
                    ),
                    graph(
                        "Events counted per minute, by type",
                        "The same as metrics, without the choice of a view, session or viewer: "
                        "what is missing in the log was not delivered.",
                        [
                            (
                                f"60 * {scope.rate('openqoe_events_total', by='event_type')}",
                                "{{event_type}}",
                            )
                        ],
                        stacked=True,
                        alert="OpenQoEDataDropped",
                    ),
                ],
            ),
            Row(
                "Where to look",
                [
                    log_rows(
                        "Views with most errors",
                        "Choose one to read its story.",
                        "topk(20, "
                        + logql.count(
                            logql.ERRORS, by="view_id, video_id, player_name", over="$__range"
                        )
                        + ")",
                        {"view_id": "View", "video_id": "Video", "player_name": "Player software"},
                        link=VIEW_LINK,
                    ),
                    log_rows(
                        "Views with most stalls",
                        "All waits that players reported, start-up and seeks included. Choose one "
                        "to read its story.",
                        "topk(20, "
                        + logql.count(
                            logql.STALLS, by="view_id, video_id, player_name", over="$__range"
                        )
                        + ")",
                        {"view_id": "View", "video_id": "Video", "player_name": "Player software"},
                        link=VIEW_LINK,
                    ),
                    log_rows(
                        "Errors by message",
                        "What players said. hls.js sends -1 as the code and names the cause in "
                        "the details.",
                        "topk(20, "
                        + logql.count(
                            logql.ERRORS,
                            by="family, code, details, message",
                            over="$__range",
                            parse=' | json family="data.error_family", code="data.error_code", '
                            'details="data.error_context.error_details", '
                            'message="data.error_message"',
                        )
                        + ")",
                        {
                            "message": "Message",
                            "family": "Family",
                            "code": "Code",
                            "details": "Details",
                        },
                        width=24,
                    ),
                ],
            ),
            Row(
                "Stories",
                [
                    log_lines(
                        "What happened, in order",
                        "One line an event, in short.",
                        f"{logql.lines(logql.SOME)} |= `$search`{STORY}",
                        ascending=True,
                    ),
                    log_lines(
                        "Events as received",
                        "The event's own JSON, newest first.",
                        f"{logql.lines(logql.SOME)} |= `$search`",
                    ),
                ],
            ),
        ],
        time="now-1h",
        runbooks=runbooks,
    )
