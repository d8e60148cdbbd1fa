"""One view: its states, bit rate, buffer and events, from Loki."""

from boards import logql, variables
from boards.board import Row, board
from boards.events import SUMMARY
from boards.panels import log_lines, log_states, log_value

ONE = '{event_type=~".+"} | view_id="$view_id"'
"""The events of the view. Loki needs a matcher that is not empty."""

STATES = {
    "viewstart": ("loading", "gray"),
    "manifestload": ("loading", "gray"),
    "playing": ("playing", "green"),
    "heartbeat": ("playing", "green"),
    "stall_start": ("stalled", "red"),
    "stallstart": ("stalled", "red"),
    "waitstart": ("stalled", "red"),
    "stall_end": ("playing", "green"),
    "stallend": ("playing", "green"),
    "seek": ("playing", "green"),
    "pause": ("paused", "blue"),
    "ended": ("ended", "purple"),
    "error": ("error", "dark-red"),
    "moveaway": ("hidden", "yellow"),
    "playbackdetached": ("left", "gray"),
}
"""State and colour by the latest event."""


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    return board(
        "view",
        "One view",
        "One playback, from its events in Loki. Enter a view id, or follow a link from `Views and "
        "events`.",
        [
            variables.source(),
            variables.log_source(),
            variables.text("view_id", "View", ""),
        ],
        [
            Row(
                "Course",
                [
                    log_states(
                        "State by the latest event",
                        "Each event sets the state until the next one, as reported: a wait at the "
                        "start or after a seek is shown as stalled, too. Other events are not "
                        "shown. Metrics tell these apart.",
                        f'{{event_type=~"{"|".join(STATES)}"}} | view_id="$view_id"'
                        + logql.keep("view_id"),
                        STATES,
                    ),
                    log_value(
                        "Bit rate",
                        "Bit rate as reported. dash.js reports kbit/s in the second generation, so "
                        "values below 100,000 are kbit/s.",
                        f'{ONE} | json bitrate="data.bitrate" | bitrate!="" | unwrap bitrate',
                        "bps",
                    ),
                    log_value(
                        "Buffer",
                        "Length of the buffer as reported in heartbeats, if the player does.",
                        f'{ONE} | json buffer="data.buffer_length" | buffer!="" | unwrap buffer',
                        "ms",
                    ),
                ],
            ),
            Row(
                "Events",
                [
                    log_lines(
                        "Events in order",
                        "A summary line per event, oldest first.",
                        f"{ONE}{SUMMARY}",
                        ascending=True,
                    ),
                    log_lines("Events as received", "The JSON of each event, newest first.", ONE),
                ],
            ),
        ],
        time="now-24h",
        runbooks=runbooks,
    )
