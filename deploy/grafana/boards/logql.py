"""Builders of LogQL over the streams that the worker sends to Loki.

Stream labels are those of ``core/qoe/labeller.py`` and ``event_type``; the ids of views, sessions,
viewers and videos are structured metadata; the line is the event's own JSON.
"""

FILTERS = ("org_id", "player_id", "env", "player_name", "device_category", "network_country")
"""Stream labels that have a variable."""

IDS = ("view_id", "session_id", "viewer_id", "video_id")
"""Structured metadata that has a variable."""

ERRORS = 'event_type="error"'
STALLS = 'event_type=~"stall_?start|waitstart"'
SOME = 'event_type=~"$event_type"'


def lines(events: str) -> str:
    """The log lines of some events, by the dashboard's variables.

    Args:
        events: A matcher of event_type. It must not match the empty string, since Loki requires
            one such matcher.
    """
    labels = ", ".join((events, *(f'{name}=~"${name}"' for name in FILTERS)))
    ids = " ".join(f'| {name}=~"${name}"' for name in IDS)
    return f"{{{labels}}} {ids}"


def count(events: str, *, by: str, over: str, parse: str = "") -> str:
    """The number of log lines by labels."""
    return f"sum by ({by}) (count_over_time({lines(events)}{parse} [{over}]))"
