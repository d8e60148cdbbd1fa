"""The measures of quality of experience: counts, and ratios of counts.

A ratio with denominator 0 (no view, no second watched) is None, not 0. ``docs/dashboard.md``
defines all measures.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .counter_increases import Increase, Label
from .quantiles import quantile

STARTED: Final = "openqoe_views_started_total"
COMPLETED: Final = "openqoe_views_completed_total"
PLAYED: Final = "openqoe_playing_time_seconds"
WATCHED: Final = "openqoe_watch_time_seconds"
OUTCOMES: Final = "openqoe_view_outcomes_total"
SCORE_SUM: Final = "openqoe_view_score_sum"
SCORE_COUNT: Final = "openqoe_view_score_count"
STALLS: Final = "openqoe_rebuffer_events_total"
STALLED: Final = "openqoe_rebuffer_duration_seconds_sum"
ERRORS: Final = "openqoe_errors_total"
STARTUP: Final = "openqoe_video_startup_seconds_bucket"
EVENTS: Final = "openqoe_events_total"
QUARTILES: Final = "openqoe_quartile_reached_total"
CONCURRENT: Final = "openqoe_concurrent_views_current"
BITRATE: Final = "openqoe_bitrate_bps_bucket"
FINE_BITRATE: Final = "openqoe_playing_bitrate_bps_bucket"
RESOLUTION: Final = "openqoe_rendition_playing_seconds_total"

MEASURED: Final = (
    *(STARTED, COMPLETED, PLAYED, WATCHED, STALLS, STALLED, ERRORS, STARTUP),
    *(OUTCOMES, SCORE_SUM, SCORE_COUNT),
)
"""The metrics that ``tally`` needs."""

BY: Final = ("cause", "le", "outcome", "part")
"""The labels by which ``tally`` needs them grouped, in this order."""

REBUFFER: Final = "rebuffer"
"""The cause of stalls that count as rebuffering by CTA-2066: neither start-up nor seek."""

NO_ATTEMPTS: Final = frozenset({"bounce", "unknown"})
"""Outcomes that count for neither side of a ratio: left within a second, or unknown."""

SHOWN: Final = ("completed", "stopped", "playback_failure")
"""Outcomes of views that showed a frame."""

WHOLE: Final = "all"
"""The part of the score that is the score."""

HOUR: Final = 3600


@dataclass(slots=True)
class Measures:
    """The measures of a group of views.

    Attributes:
        views: Views started.
        completed: Views that reached the end.
        played: Seconds of media played.
        watched: Seconds watched: playing and rebuffering.
        outcomes: Ended views by outcome.
        scored, points: Views with a score, and the sum of their scores.
        rebuffers: Stalls during playback.
        rebuffered: Seconds of these stalls.
        errors: Errors.
        startup: Start-up times by ``le``, for every bound.
    """

    startup: dict[float, float]
    outcomes: dict[str, float] = field(default_factory=dict)
    views: float = 0.0
    completed: float = 0.0
    played: float = 0.0
    watched: float = 0.0
    scored: float = 0.0
    points: float = 0.0
    rebuffers: float = 0.0
    rebuffered: float = 0.0
    errors: float = 0.0

    def add(self, name: str, labels: Sequence[Label], amount: float) -> None:
        """Add an increase of one of the metrics above.

        Args:
            name: The metric.
            labels: Its labels by ``BY``.
            amount: The increase.
        """
        cause, le, outcome, part = labels[: len(BY)]
        if name == STARTED:
            self.views += amount
        elif name == COMPLETED:
            self.completed += amount
        elif name == PLAYED:
            self.played += amount
        elif name == WATCHED:
            self.watched += amount
        elif name == OUTCOMES:
            self.outcomes[str(outcome)] = self.outcomes.get(str(outcome), 0.0) + amount
        elif name == SCORE_SUM and part == WHOLE:
            self.points += amount
        elif name == SCORE_COUNT and part == WHOLE:
            self.scored += amount
        elif name == ERRORS:
            self.errors += amount
        elif name == STARTUP and isinstance(le, float):
            self.startup[le] = self.startup.get(le, 0.0) + amount
        elif name == STALLS and cause == REBUFFER:
            self.rebuffers += amount
        elif name == STALLED and cause == REBUFFER:
            self.rebuffered += amount

    @property
    def rebuffering_ratio(self) -> float | None:
        """Time rebuffering of the time watched."""
        return ratio(self.rebuffered, self.watched)

    @property
    def rebuffers_per_hour(self) -> float | None:
        """Stalls per hour watched."""
        return ratio(self.rebuffers * HOUR, self.watched)

    @property
    def attempts_ended(self) -> float:
        """Ended attempts to play, without bounces."""
        return sum(n for outcome, n in self.outcomes.items() if outcome not in NO_ATTEMPTS)

    @property
    def exit_before_start_ratio(self) -> float | None:
        """Ended attempts without a first frame and without a failure, of all."""
        return ratio(self.outcomes.get("exit_before_start", 0.0), self.attempts_ended)

    @property
    def start_failure_ratio(self) -> float | None:
        """Ended attempts that failed before the first frame, of all."""
        return ratio(self.outcomes.get("start_failure", 0.0), self.attempts_ended)

    @property
    def playback_failure_ratio(self) -> float | None:
        """Ended views that failed after the first frame, of all that showed one."""
        shown = sum(self.outcomes.get(outcome, 0.0) for outcome in SHOWN)
        return ratio(self.outcomes.get("playback_failure", 0.0), shown)

    @property
    def score(self) -> float | None:
        """Mean score of the ended views."""
        return ratio(self.points, self.scored)

    def document(self) -> dict[str, Any]:
        """All measures, for a JSON answer."""
        return {
            "views_started": self.views,
            "views_completed": self.completed,
            "playing_seconds": self.played,
            "watch_seconds": self.watched,
            "outcomes": dict(sorted(self.outcomes.items())),
            "exit_before_start_ratio": self.exit_before_start_ratio,
            "start_failure_ratio": self.start_failure_ratio,
            "playback_failure_ratio": self.playback_failure_ratio,
            "score": self.score,
            "startup_seconds": {
                "count": max(self.startup.values(), default=0.0),
                "p50": quantile(0.5, self.startup),
                "p95": quantile(0.95, self.startup),
                "p99": quantile(0.99, self.startup),
            },
            "rebuffer_events": self.rebuffers,
            "rebuffer_seconds": self.rebuffered,
            "rebuffering_ratio": self.rebuffering_ratio,
            "rebuffers_per_hour": self.rebuffers_per_hour,
            "errors": self.errors,
            "errors_per_view": ratio(self.errors, self.views),
        }


def ratio(part: float, whole: float) -> float | None:
    """A quotient; None if the denominator is 0."""
    return part / whole if whole > 0 else None


def tally(
    found: Iterable[Increase],
    startup_bounds: Iterable[float],
    keys: Sequence[Hashable],
    key: int | None = None,
) -> dict[Hashable, Measures]:
    """Sum increases into measures.

    Args:
        found: Increases of ``MEASURED`` by ``BY``, and by more labels after these.
        startup_bounds: The bounds of ``STARTUP``.
        keys: Groups that exist even without increases.
        key: Which of the labels is the group; None to group by step.
    """
    empty = dict.fromkeys(startup_bounds, 0.0)
    groups: dict[Hashable, Measures] = {name: Measures({**empty}) for name in keys}
    for increase in found:
        group = increase.step if key is None else increase.labels[key]
        if group not in groups:
            groups[group] = Measures({**empty})
        groups[group].add(increase.name, increase.labels, increase.amount)
    return groups
