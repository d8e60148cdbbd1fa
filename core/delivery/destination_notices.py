"""Log lines about a destination: one per change, not one per answer.

There are two kinds of change. *Availability*: a line when the destination becomes unavailable
(requests fail and are retried), and another when it is available again. For ten minutes after that,
a failure gives a line only if it lasts for a minute: a destination that fails every other request
would fill the log. A wrong route, wrong credentials or a wrong configuration is an error, once for
each status. *Losses*: a line for the first loss of each reason. Further losses for the reason are
only counted, until the destination has accepted a whole payload since and the reason has been quiet
for ten minutes. Without the quiet period, a destination that refuses one payload per flush and
accepts the next would fill the log.
"""

from ..config.destinations import Destination
from ..effects import Notice
from .verdict import Verdict

QUIET_PERIOD = 10 * 60 * 1000
"""ms without a further line of the same kind."""

MAX_UNREPORTED = 60_000
"""ms that a failure may last without a line in the quiet period."""

LATE_SAMPLES = (
    "destination rejects samples from an outage, so increases are missing; "
    "set its out_of_order_time_window to OPENQOE_OUTBOX_MAX_AGE"
)

Fields = tuple[tuple[str, str | int | float], ...]


class DestinationNotices:
    """Decides which events of one destination are logged.

    Each method reports an event and returns the notice to log, if any.
    """

    def __init__(self, destination: Destination) -> None:
        # A query could contain a token; the path is enough to identify a wrong URL.
        url = destination.url.partition("?")[0]
        self._identity: Fields = (("destination", destination.name), ("url", url))
        self._away_since: int | None = None
        self._is_reported = False  # that it is away
        self._back_at: int | None = None  # when that was reported last
        self._last_loss: dict[tuple[str, int | None], int] = {}
        self._recovered_since: set[tuple[str, int | None]] = set()

    def report_retry(
        self, verdict: Verdict, error_text: str, now: int, *, wait: int, payloads: int
    ) -> tuple[Notice, ...]:
        """Reports an attempt that will be repeated after ``wait`` ms."""
        if verdict.reason == "rate_limited":
            # A backlog drains against it, with a refusal for each payload or two.
            if not self._is_news((verdict.reason, None), now):
                return ()
            fields = (*_reason_fields(verdict, error_text), ("waiting_payloads", payloads))
            return (Notice("warning", "destination limits the rate", (*self._identity, *fields)),)
        if verdict.concerns_route:
            if not self._is_news((verdict.reason, verdict.status), now):
                return ()
        elif self._is_reported:
            return ()
        if self._away_since is None:
            self._away_since = now
        is_quiet = self._back_at is not None and 0 <= now - self._back_at < QUIET_PERIOD
        if is_quiet and not verdict.concerns_route and now - self._away_since < MAX_UNREPORTED:
            return ()
        self._is_reported = True
        fields = (
            *_reason_fields(verdict, error_text),
            ("retry_in_seconds", round(wait / 1000, 1)),
            ("waiting_payloads", payloads),
        )
        if verdict.concerns_route:
            event = "destination refuses requests; check its URL, credentials and configuration"
            return (Notice("error", event, (*self._identity, *fields)),)
        return (Notice("warning", "destination unavailable; retrying", (*self._identity, *fields)),)

    def report_accepted(self, now: int, *, whole: bool, payloads: int) -> tuple[Notice, ...]:
        """Reports a payload that was accepted, wholly or in part."""
        if whole:
            self._recovered_since.update(self._last_loss)
        if self._away_since is None:
            return ()
        away = max(0, now - self._away_since)
        self._away_since = None
        if not self._is_reported:
            return ()
        self._is_reported, self._back_at = False, now
        fields = (("away_seconds", round(away / 1000, 1)), ("waiting_payloads", payloads))
        return (Notice("info", "destination available again", (*self._identity, *fields)),)

    def report_refusal(
        self, verdict: Verdict, error_text: str, now: int, *, items: int
    ) -> tuple[Notice, ...]:
        """Reports a payload that was refused, wholly (dropped) or in part (rejected)."""
        if not self._is_news((verdict.reason, verdict.status), now):
            return ()
        fields = (*self._identity, *_reason_fields(verdict, error_text), ("items", items))
        if verdict.reason == "late_samples":
            return (Notice("error", LATE_SAMPLES, fields),)
        event = "payload dropped"
        if verdict.outcome == "rejected":
            event = "destination rejected part of a payload"
        return (Notice("warning", event, fields),)

    def report_overflow(self, now: int, *, items: int, max_bytes: int) -> tuple[Notice, ...]:
        """Reports items that were dropped because the queue is full."""
        if not items or not self._is_news(("queue_full", None), now):
            return ()
        fields = (("reason", "queue_full"), ("items", items), ("max_bytes", max_bytes))
        return (Notice("warning", "queue full; oldest items dropped", (*self._identity, *fields)),)

    def _is_news(self, reason: tuple[str, int | None], now: int) -> bool:
        last = self._last_loss.get(reason)
        news = last is None or (reason in self._recovered_since and now - last >= QUIET_PERIOD)
        self._last_loss[reason] = now
        self._recovered_since.discard(reason)
        return news


def _reason_fields(verdict: Verdict, error_text: str) -> Fields:
    status: Fields = () if verdict.status is None else (("status", verdict.status),)
    return ("reason", verdict.reason), *status, ("answer", error_text)
