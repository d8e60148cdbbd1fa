"""What the operator is told about a destination: one line for each change, not each answer.

Two things change. The *road* to the destination: open, or away (nothing gets through and is
retried); each change is one line. And *losses*: the first loss for a reason is one line,
further ones for the same reason are only counted, until the destination has taken a whole
payload since and the reason has been quiet for ten minutes. Without the quiet time, a
destination that refuses one payload of each flush and takes the next would fill the log.
"""

from ..config.destinations import Destination
from ..effects import Notice
from .verdict import Verdict

LOSS_QUIET_PERIOD = 10 * 60 * 1000

Fields = tuple[tuple[str, str | int | float], ...]


class DestinationNotices:
    """Decides which lines about one destination are news.

    The methods tell it what happened and return what is to be logged: a notice, or nothing.
    """

    def __init__(self, destination: Destination) -> None:
        # A query could hold a token; the path is enough to find a wrong URL.
        url = destination.url.partition("?")[0]
        self._identity: Fields = (("destination", destination.name), ("url", url))
        self._away_since: int | None = None
        self._last_loss: dict[tuple[str, int | None], int] = {}
        self._recovered_since: set[tuple[str, int | None]] = set()

    def report_retry(
        self, verdict: Verdict, error_text: str, now: int, *, wait: int, payloads: int
    ) -> tuple[Notice, ...]:
        """An attempt must be repeated after ``wait`` ms."""
        if self._away_since is not None:
            return ()
        self._away_since = now
        fields = (
            *_reason_fields(verdict, error_text),
            ("retry_in_seconds", round(wait / 1000, 1)),
            ("waiting_payloads", payloads),
        )
        return (Notice("warning", "destination is failing", (*self._identity, *fields)),)

    def report_accepted(self, now: int, *, whole: bool, payloads: int) -> tuple[Notice, ...]:
        """The destination took a payload, the whole of it or only the good part."""
        if whole:
            self._recovered_since.update(self._last_loss)
        if self._away_since is None:
            return ()
        away = max(0, now - self._away_since)
        self._away_since = None
        fields = (("away_seconds", round(away / 1000, 1)), ("waiting_payloads", payloads))
        return (Notice("info", "destination works again", (*self._identity, *fields)),)

    def report_refusal(
        self, verdict: Verdict, error_text: str, now: int, *, items: int
    ) -> tuple[Notice, ...]:
        """The destination refused a payload, in whole (dropped) or in part (rejected)."""
        if not self._is_news((verdict.reason, verdict.status), now):
            return ()
        fields = (*_reason_fields(verdict, error_text), ("items", items))
        event = (
            "destination rejected part of a payload"
            if verdict.outcome == "rejected"
            else "payload dropped"
        )
        return (Notice("warning", event, (*self._identity, *fields)),)

    def report_overflow(self, now: int, *, items: int, max_bytes: int) -> tuple[Notice, ...]:
        """The oldest items had to make room in a full queue."""
        if not items or not self._is_news(("queue_full", None), now):
            return ()
        fields = (("reason", "queue_full"), ("items", items), ("max_bytes", max_bytes))
        return (Notice("warning", "queue is full, oldest dropped", (*self._identity, *fields)),)

    def _is_news(self, reason: tuple[str, int | None], now: int) -> bool:
        last = self._last_loss.get(reason)
        news = last is None or (reason in self._recovered_since and now - last >= LOSS_QUIET_PERIOD)
        self._last_loss[reason] = now
        self._recovered_since.discard(reason)
        return news


def _reason_fields(verdict: Verdict, error_text: str) -> Fields:
    status: Fields = () if verdict.status is None else (("status", verdict.status),)
    return ("reason", verdict.reason), *status, ("answer", error_text)
