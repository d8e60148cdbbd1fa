"""Events of views that started 90 s ago."""

from __future__ import annotations

import time
from typing import Any

from tests.support.event_builders import batch, event
from tests.support.worker_process import WorkerProcess

Events = list[dict[str, Any]]


def view(name: str, *, startup: int = 800, stalls: int = 0, **fields: Any) -> Events:
    """A view that waits for its first frame (ms), then plays for a minute with stalls of 1.5 s."""
    begin = round(time.time() * 1000) - 90_000

    def event_at(second: float, event_type: str, position: float, **data: Any) -> dict[str, Any]:
        return event(
            event_type,
            at=begin + round(second * 1000),
            playback_time=position * 1000,
            view_id=name,
            data=data,
            **fields,
        )

    shown = 1 + startup / 1000
    events = [
        event_at(0, "viewstart", 0),
        event_at(1, "playing", 0, bitrate=3_000_000),
        event_at(1.01, "stall_start", 0),
        event_at(shown, "stall_end", 0, stall_duration=startup - 10),
        event_at(shown + 10, "heartbeat", 10, playing_time=10_000, bitrate=3_000_000),
    ]
    stalled = 0.0
    for number in range(stalls):
        position = 15.0 + 4 * number
        second = shown + position + stalled
        stalled += 1.5
        events += [
            event_at(second, "stall_start", position),
            event_at(second + 1.5, "stall_end", position, stall_duration=1500),
        ]
    last = shown + 60 + stalled
    return [*events, event_at(last, "heartbeat", 60, playing_time=60_000, bitrate=3_000_000)]


def ended(events: Events) -> Events:
    """The events, followed by the end of the video."""
    last = events[-1]
    data = {"playing_time": last["data"]["playing_time"], "completion_rate": 1}
    return [*events, {**last, "event_type": "ended", "data": data}]


def failed(events: Events, family: str, code: str, message: str) -> Events:
    """The events, followed by an error."""
    data = {"error_family": family, "error_code": code, "error_message": message}
    return [*events, {**events[-1], "event_type": "error", "data": data}]


def post(worker: WorkerProcess, *views: Events) -> None:
    for one in views:
        assert worker.post(batch(*one))[0] == 202
