"""Views and events: the event log, filtered down to a single view."""

from boards import logql, variables
from boards.board import Row, board
from boards.panels import graph, log_graph, log_lines, log_rows
from boards.promql import Scope

VIEW_LINK = "/d/openqoe-events?${__url_time_range}&var-view_id=${__value.text}"

SUMMARY = (
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
    filters = (*logql.STREAM_FILTERS, *logql.METADATA_FILTERS)
    scope = Scope(",".join(f'{name}=~"${name}"' for name in (*filters, "event_type")))
    return board(
        "events",
        "Views and events",
        "All received events, from Loki. Select a view, a session or a viewer to read its events "
        "in order. `.*` matches all.",
        [
            variables.source(),
            variables.log_source(),
            *(variables.log_label(name, variables.TITLES[name]) for name in logql.STREAM_FILTERS),
            # Loki lists no values of structured metadata.
            *(
                variables.metric_label(
                    name,
                    variables.TITLES[name],
                    "openqoe_views_started_total",
                    narrowed=logql.STREAM_FILTERS,
                )
                for name in logql.METADATA_FILTERS
            ),
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
                        "Number of events of each type in Loki.",
                        logql.count(logql.SOME, by="event_type", over="$__auto"),
                        "{{event_type}}",
                        width=12,
                    ),
                    graph(
                        "Events counted per minute, by type",
                        "The same from metrics, not filtered by view, session or viewer. Events "
                        "that are missing in the log were not delivered.",
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
                "Views with problems",
                [
                    log_rows(
                        "Views with most errors",
                        "Select a view to read its events.",
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
                        "All stalls that players reported, start-up and seeks included. Select a "
                        "view to read its events.",
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
                        "Error messages of players. hls.js sends -1 as the code and the cause in "
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
                "Event log",
                [
                    log_lines(
                        "Events in order",
                        "A summary line per event, oldest first.",
                        f"{logql.lines(logql.SOME)} |= `$search`{SUMMARY}",
                        ascending=True,
                    ),
                    log_lines(
                        "Events as received",
                        "The JSON of each event, newest first.",
                        f"{logql.lines(logql.SOME)} |= `$search`",
                    ),
                ],
            ),
        ],
        time="now-1h",
        runbooks=runbooks,
    )
