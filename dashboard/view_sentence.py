"""What happened in a view, as one sentence for people."""

from collections.abc import Mapping
from typing import Any, Final

_WHILE: Final = {
    "starting": "while it was starting",
    "rebuffering": "while stalling",
    "paused": "while paused",
    "seeking": "while seeking",
    "failed": "after an error",
}

_MINUTE: Final = 60_000


def sentence(row: Mapping[str, Any], last_state: str) -> str:
    """Returns a sentence like "Waited 4.2 s, watched 12 min of 45 min, stalled 3 times for 18 s,
    left while stalling."

    Args:
        row: The view.
        last_state: The state in which its latest event left it.
    """
    parts = []
    outcome, shown = row["outcome"], row["shown_at"] is not None or row["watch_ms"] > 0
    waited = row["startup_ms"] if row["startup_ms"] is not None else row["waited_ms"]
    if shown and waited:
        parts.append(f"waited {duration(waited)}")
    elif not shown and row["waited_ms"]:
        parts.append(f"waited {duration(row['waited_ms'])} without a picture")
    if row["watch_ms"]:
        watched = f"watched {duration(row['watch_ms'])}"
        whole = row["duration_ms"]
        if whole and not row["is_live"] and whole >= row["watch_ms"]:
            watched += f" of {duration(whole)}"
        parts.append(watched)
    if row["rebuffers"]:
        parts.append(f"stalled {_times(row['rebuffers'])} for {duration(row['rebuffer_ms'])}")
    if row["errors"]:
        named = f" ({row['error_code']})" if row["error_code"] else ""
        parts.append(f"had {row['errors']} {'error' if row['errors'] == 1 else 'errors'}{named}")
    parts.append(_end(outcome, last_state))
    text = ", ".join(parts)
    return text[0].upper() + text[1:] + "."


def duration(ms: float) -> str:
    """A duration in the unit that fits: 850 ms, 4.2 s, 12 min, 1 h 5 min."""
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 9_950:
        return f"{ms / 1000:.1f} s"
    if round(ms / 1000) < 60:
        return f"{ms / 1000:.0f} s"
    minutes = round(ms / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _end(outcome: str | None, last_state: str) -> str:
    match outcome:
        case None:
            return f"is {last_state} now"
        case "completed":
            return "reached the end"
        case "start_failure":
            return "failed to start"
        case "playback_failure":
            return "ended with the error"
        case "exit_before_start" | "bounce":
            return "left before it started"
    return f"left {_WHILE[last_state]}" if last_state in _WHILE else "left"
