"""Builders of LogQL over the entries that the worker sends to Loki.

An entry has few stream labels (organisation, player, environment, instance, ``event_type``); its
other labels and its ids are structured metadata, and its line is the event's own JSON. A label
filter after the selector finds both, so queries also work if ``OPENQOE_LOG_LABELS`` makes more
of them stream labels.
"""

STREAM_FILTERS = ("org_id", "player_id", "env")
"""Stream labels that have a variable."""

METADATA_FILTERS = ("player_name", "device_category", "network_country")
"""Labels in structured metadata that have a variable."""

IDS = ("view_id", "session_id", "viewer_id", "video_id")
"""Ids in structured metadata that have a variable."""

ERRORS = 'event_type="error"'
STALLS = 'event_type=~"stall_?start|waitstart"'
SOME = 'event_type=~"$event_type"'

PAST_START = ' | json position="playback_time" | position="" or position >= 500'
"""Drops events within the first 500 ms of a video, as ``core/qoe/stalls.py`` classifies waits as
start-up. Events without a position remain."""

SECONDS = '{{{{printf "%.1f" (divf .{} 1000)}}}} s'
"""Template of a label in ms."""


def lines(events: str) -> str:
    """The log lines of some events, by the dashboard's variables.

    Args:
        events: A matcher of event_type. It must not match the empty string, since Loki requires
            one such matcher.
    """
    selector = ", ".join((events, *(f'{name}=~"${name}"' for name in STREAM_FILTERS)))
    filters = " ".join(f'| {name}=~"${name}"' for name in (*METADATA_FILTERS, *IDS))
    return f"{{{selector}}} {filters}"


def count(events: str, *, by: str, over: str) -> str:
    """The number of log lines by a label.

    Args:
        by: A label with few values. A query of more than 500 series fails (Loki's
            ``max_query_series``), also inside of ``topk``, which receives all of them.
    """
    return f"sum by ({by}) (count_over_time({lines(events)} [{over}]))"


def keep(*names: str) -> str:
    """Reduces lines to some labels and event_type, since only these are of interest."""
    return f" | line_format `{{{{.view_id}}}}` | keep event_type, {', '.join(names)}"
