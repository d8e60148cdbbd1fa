"""Views and events: the event log, filtered down to a single view."""

from boards import logql, variables
from boards.board import Row, board
from boards.panels import MAX_LINES, graph, log_graph, log_lines, log_ranking
from boards.promql import Scope

VIEW = {"view_id": "View", "video_id": "Video", "player_name": "Player software"}
ERROR = {"message": "Message", "family": "Family", "code": "Code", "details": "Details"}

VIEW_LINK = "/d/openqoe-view?${__url_time_range}&var-view_id=${__value.text}"

SUMMARY = (
    ' | json position="playback_time", played="data.playing_time", bitrate="data.bitrate", '
    'stall="data.stall_duration", error="data.error_code", message="data.error_message"'
    " | line_format `{{.event_type}} "
    f"{{{{if .position}}}}at {logql.SECONDS.format('position')}{{{{else}}}}(no position){{{{end}}}}"
    # In `playing` it is a position, in ms or s.
    f'{{{{if and .played (ne .event_type "playing")}}}}, played {logql.SECONDS.format("played")}'
    "{{end}}"
    # dash.js reports kbit/s in the second generation; no rendition is below 100 kbit/s.
    "{{if .bitrate}}, bit rate {{if lt (float64 .bitrate) 100000.0}}"
    '{{printf "%.0f" (float64 .bitrate)}}{{else}}{{printf "%.0f" (divf .bitrate 1000)}}{{end}}'
    " kbit/s{{end}}"
    f"{{{{if .stall}}}}, stalled {logql.SECONDS.format('stall')}{{{{end}}}}"
    "{{if .error}}, error {{.error}}{{end}}{{if .message}}: {{.message}}{{end}}`"
)

LATEST = (
    f"Counts the latest {MAX_LINES:,} in the time range, because Loki fails a query that returns "
    "more than 500 views. Select a view to read its events."
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
                    log_ranking(
                        "Views with most errors",
                        f"Errors by view. {LATEST}",
                        logql.lines(logql.ERRORS) + logql.keep(*VIEW),
                        VIEW,
                        link=VIEW_LINK,
                    ),
                    log_ranking(
                        "Views with most stalls",
                        "Stalls by view, seeks included, without waits within the first half "
                        "second of the video, which are start-up. A live stream can begin at any "
                        f"position; the wait at its start is included. {LATEST}",
                        logql.lines(logql.STALLS) + logql.PAST_START + logql.keep(*VIEW),
                        VIEW,
                        link=VIEW_LINK,
                    ),
                    log_ranking(
                        "Errors by message",
                        f"Error messages of players: counts the latest {MAX_LINES:,} errors in the "
                        "time range. hls.js sends -1 as the code and the cause in the details.",
                        logql.lines(logql.ERRORS)
                        + ' | json family="data.error_family", code="data.error_code", '
                        'details="data.error_context.error_details", '
                        'message="data.error_message"' + logql.keep(*ERROR),
                        ERROR,
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
