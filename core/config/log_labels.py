"""Labels of log entries: which of them name the stream, and which are structured metadata."""

from typing import Final

LOG_LABELS: Final = (
    "org_id",
    "player_id",
    "event_type",
    "env",
    "instance",
    "app_name",
    "app_version",
    "device_category",
    "os_family",
    "browser_family",
    "player_name",
    "network_country",
    "content_type",
)
"""Labels of a log entry. Each one is a stream label or structured metadata. The ids of videos,
views, sessions and viewers are too many for labels, so they are always structured metadata."""

STREAM_LABELS: Final = ("org_id", "player_id", "event_type", "env", "instance")
"""Default stream labels. Loki limits the number of streams, and each combination of values is one.
The instance gives each worker an order of its own: Loki rejects entries that are an hour behind
the newest of their stream."""
