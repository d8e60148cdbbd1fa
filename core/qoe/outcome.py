"""What holds once a view, at its end: outcome, completion, rebuffering, score.

Outcomes follow the definitions of CTA-2066 and Mux: an attempt that ends before its first frame
without a fatal error is an exit, with one a failure; an exit within a second is a bounce and counts
for neither side of a ratio.
"""

from math import exp, sqrt
from typing import Final

from .observation import NO_EVENT, Observation
from .playback_state import Mark, Playback
from .view import View
from .vocabulary import ObservationKind

BOUNCE: Final = 1.0
"""s of waiting below which an exit before the first frame is a bounce."""

ERROR_IS_LAST: Final = 10_000
"""ms before a view's last event within which an error of unknown weight has ended it."""

MAX_COMPLETION: Final = 1.1
"""Ratio of position to duration above which the duration is in another unit than assumed."""

DURATION_IN_MS: Final = 10_000
"""A duration from which on it is more likely ms than s: 10 s, not 2.8 h."""

MAX_DURATION_S: Final = 86_400
"""s above which a duration is not taken for s."""

MAX_UNIT_DOUBT: Final = 0.1
"""Share of the expected position below which the duration is in another unit than assumed."""


def outcome(playback: Playback) -> str | None:
    """Returns how a view has ended; None if play was never requested."""
    if not playback.has(Mark.REQUESTED):
        return "unknown" if playback.has(Mark.ACTIVE) else None
    if playback.has(Mark.ENDED):
        return "completed"
    failed = has_failed(playback)
    if playback.has(Mark.SHOWN):
        return "playback_failure" if failed else "stopped"
    if failed:
        return "start_failure"
    return "bounce" if playback.starting_s < BOUNCE else "exit_before_start"


def has_failed(playback: Playback) -> bool:
    """Whether a view ended with an error, and without progress after it."""
    if playback.error_at is None or playback.applied_until is None:
        return False
    return playback.error_is_fatal or playback.applied_until - playback.error_at <= ERROR_IS_LAST


def completion(playback: Playback, reported: float | None) -> float | None:
    """Returns the fraction of the video that a view reached; a live video has none.

    It is the furthest position by the duration that the page knows. If the player has reported
    more, at the end or by a quartile, that duration is wrong, or positions are missing.
    """
    if playback.has(Mark.LIVE) or not playback.has(Mark.SHOWN | Mark.ENDED):
        return None
    known = max(reported or 0.0, playback.quartile / 100)
    duration = duration_s(playback)
    ratio = playback.furthest / duration if duration else None
    if ratio is None or ratio > MAX_COMPLETION:
        return known or reported
    return min(max(ratio, known), 1.0)


def duration_s(playback: Playback) -> float | None:
    """Returns the duration of the video in s.

    Pages send s or ms, and the SDK passes on either. From 10,000 on it is taken for ms, else for s,
    unless only the other unit fits what was reached.
    """
    duration = playback.duration
    if duration is None:
        return None
    units = (duration, duration / 1000)
    likely, other = reversed(units) if duration >= DURATION_IN_MS else units
    if other <= MAX_DURATION_S and not _fits(playback, likely) and _fits(playback, other):
        return other
    return likely


def _fits(playback: Playback, duration: float) -> bool:
    """Whether a duration (s) agrees with the positions and quartiles that were reported."""
    if playback.furthest <= 0:
        return True
    ratio = playback.furthest / duration
    reached = 1.0 if playback.has(Mark.ENDED) else playback.quartile / 100
    return reached * MAX_UNIT_DOUBT <= ratio <= MAX_COMPLETION


def end_observations(view: View, reported_completion: float | None = None) -> list[Observation]:
    """Returns the observations that hold once a view, and marks them as made."""
    playback = view.playback
    if playback.has(Mark.OBSERVED):
        return []
    how = outcome(playback)
    if how is None:
        return []
    playback.marks |= Mark.OBSERVED
    out = [Observation(ObservationKind.OUTCOME, NO_EVENT, view, None, how)]
    reached = completion(playback, reported_completion)
    if reached is not None:
        out.append(Observation(ObservationKind.COMPLETION, NO_EVENT, view, reached))
    if playback.has(Mark.SHOWN):
        out.append(
            Observation(ObservationKind.VIEW_REBUFFER_TIME, NO_EVENT, view, playback.rebuffering_s)
        )
    for part, points in scores(playback, how).items():
        out.append(Observation(ObservationKind.VIEW_SCORE, NO_EVENT, view, points, part))
    return out


def scores(playback: Playback, how: str) -> dict[str, float]:
    """Returns the parts of a view's score that are known, each from 0 to 100.

    The parts have the formulas that Mux publishes. ``all`` is our own: the mean of the parts known,
    times success.
    """
    success = SUCCESS.get(how)
    if success is None:
        return {}
    parts: dict[str, float] = {}
    if playback.has(Mark.SHOWN):
        if playback.startup_s is not None:
            parts["startup"] = 100 * 8 / (8 + playback.startup_s)
        watched = playback.playing_s + playback.rebuffering_s
        share = playback.rebuffering_s / watched if watched else 0.0
        frequency = 100 / sqrt(1 + (playback.rebuffers / 2) ** 2)
        parts["smoothness"] = (frequency + 100 * exp(-10 * share)) / 2
        if playback.scale_s:
            mean = playback.upscale_s / playback.scale_s
            parts["quality"] = 100 * exp(-0.33 * (0.15 * playback.max_upscale + 0.85 * mean))
    overall = success * (sum(parts.values()) / len(parts) / 100 if parts else 1.0)
    return {**parts, "success": success, "all": overall}


SUCCESS: Final = {
    "completed": 100.0,
    "stopped": 100.0,
    "exit_before_start": 50.0,
    "start_failure": 0.0,
    "playback_failure": 0.0,
}
"""Playback success score of Mux; none for a bounce, nor if the source does not report states."""
