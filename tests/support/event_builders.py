"""Builders of player traffic: an event, a batch, a request.

By default an event comes from an hls.js player in Chrome on a desktop; a test passes only the
fields that matter to it. `OMIT` leaves a field out: `event(viewer_id=OMIT)`.
"""

import json
import time
from collections.abc import Mapping
from typing import Any, Final

from openqoe.core.http.messages import Request

NOW: Final = 1_760_000_000_000
"""ms since the epoch: 2025-10-09, 08:53:20 UTC."""

OMIT: Final = object()
"""As the value of a field: leave the field out."""

BASE: Final[Mapping[str, Any]] = {
    "org_id": "acme",
    "player_id": "web",
    "view_id": "view-1",
    "session_id": "session-1",
    "viewer_id": "viewer-1",
    "env": "prod",
    "app_name": "shop",
    "app_version": "1.2.3",
    "device": {"category": "desktop"},
    "os": {"family": "Windows", "version": "11"},
    "browser": {"family": "Chrome", "version": "141"},
    "player": {"name": "hlsjs", "version": "1.7.4", "autoplay": False},
    "network": {"country_code": "DE"},
    "video": {"id": "film", "title": "A film", "duration": 600_000},
}
"""The fields of every event besides its type and times."""


def event(event_type: str = "heartbeat", *, at: int = NOW, **fields: Any) -> dict[str, Any]:
    """An event with all required fields and the usual base labels.

    Args:
        event_type: Its type.
        at: Its event_time and viewer_time.
        **fields: Top-level fields that replace or extend those of `BASE`.
    """
    made = {
        "event_type": event_type,
        "event_time": at,
        "viewer_time": at,
        "playback_time": 0,
        **BASE,
        **fields,
    }
    return {name: value for name, value in made.items() if value is not OMIT}


def batch(*events: Any) -> bytes:
    """The body of a request with these events."""
    return json.dumps({"events": events}, separators=(",", ":")).encode()


def view_batch(first: int, count: int = 1) -> bytes:
    """A batch of the present moment in which `count` views start: v-`first` and the following."""
    now = int(time.time() * 1000)
    return batch(
        *(event("viewstart", at=now, view_id=f"v-{n}") for n in range(first, first + count))
    )


def post(
    *events: Any,
    path: str = "/v1/events",
    headers: Mapping[str, str] | None = None,
    now: int = NOW,
) -> Request:
    """A POST request with these events, as a player sends it; `headers` have lower-case names."""
    return Request(
        "POST",
        path,
        headers={"content-type": "application/json", **(headers or {})},
        body=batch(*events),
        first_byte_at=now,
    )
