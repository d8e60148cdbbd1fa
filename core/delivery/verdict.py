"""What a destination's answer means: one table, and Retry-After.

Everything that depends on an HTTP status is in ``RULES``; the first row that fits decides.
There are five outcomes:

    delivered   the destination has it
    rejected    the destination kept what was good of it; sending it again would not help
    dropped     the destination refuses it as a whole and would refuse it again
    split       it is too large for one request
    retried     the destination cannot take it now

Only the last keeps a payload at the head of its queue, so nothing that a destination will
never take (a poison payload) can block what waits behind it. The text of an answer is for
people and decides nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Literal

from ..effects import HttpResult, NetworkFailure

PayloadKind = Literal["metrics", "logs"]
DeliveryOutcome = Literal["delivered", "rejected", "dropped", "split", "retried"]

MAX_RETRY_AFTER = 5 * 60 * 1000
"""What a destination asks for beyond this is not believed (ms)."""

ANY_KIND: tuple[PayloadKind, ...] = ("metrics", "logs")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the statuses ``first`` to ``last`` mean, for some kinds of destination.

    Attributes:
        reason: As a label of metrics; "{status}" stands for the status.
    """

    first: int
    last: int
    kinds: tuple[PayloadKind, ...]
    outcome: DeliveryOutcome
    reason: str


RULES = (
    # Loki says so when ingestion is blocked by its configuration: a 2xx without success.
    Rule(260, 260, ("logs",), "dropped", "ingestion_blocked"),
    Rule(200, 299, ANY_KIND, "delivered", ""),
    # The URL is wrong. Following would hand the credentials to whoever is there.
    Rule(300, 399, ANY_KIND, "dropped", "redirect"),
    # Mimir, Prometheus and Loki skip the samples or entries that are bad and keep the rest.
    Rule(400, 400, ANY_KIND, "rejected", "bad_request"),
    Rule(401, 401, ANY_KIND, "dropped", "unauthorized"),
    Rule(403, 403, ANY_KIND, "dropped", "unauthorized"),
    Rule(413, 413, ANY_KIND, "split", "too_large"),
    Rule(429, 429, ANY_KIND, "retried", "rate_limited"),
    Rule(400, 499, ANY_KIND, "dropped", "http_{status}"),
    # Mimir's other form of 429.
    Rule(529, 529, ANY_KIND, "retried", "rate_limited"),
    Rule(500, 599, ANY_KIND, "retried", "server_error"),
)
# 101, 999: no answer to what was asked, and nothing against the payload.
DEFAULT_RULE = Rule(0, 999, ANY_KIND, "retried", "unexpected_status")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to become of a payload, and why.

    Attributes:
        outcome: One of the five.
        reason: As a label of metrics; "" if delivered.
        status: The HTTP status, None if no answer came.
        retry_after: The least time to wait that the destination asked for (ms).
    """

    outcome: DeliveryOutcome
    reason: str
    status: int | None = None
    retry_after: int | None = None


def judge_answer(kind: PayloadKind, result: HttpResult | NetworkFailure, now: int) -> Verdict:
    """Say what an answer, or that none came, means for the payload that was sent."""
    if isinstance(result, NetworkFailure):
        return Verdict("retried", "network")
    status = result.status
    fitting = (r for r in RULES if r.first <= status <= r.last and kind in r.kinds)
    rule = next(fitting, DEFAULT_RULE)
    wait = parse_retry_after(result.headers, now) if rule.outcome == "retried" else None
    return Verdict(rule.outcome, rule.reason.format(status=status), status, wait)


def parse_retry_after(headers: Mapping[str, str], now: int) -> int | None:
    """How long a response asks to wait, in ms; None if it does not or makes no sense.

    Both forms of RFC 9110 are known, a number of seconds and a date. A date is compared
    with ``now``; one that has passed asks for nothing.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch("[0-9]+", text):
        # Python refuses to convert thousands of digits; ten of them are too many already.
        wait = int(text) * 1000 if len(text) < 10 else MAX_RETRY_AFTER
    else:
        date = parse_http_date(text)
        if date is None or date < now:
            return None
        wait = date - now
    return min(wait, MAX_RETRY_AFTER)


def parse_http_date(text: str) -> int | None:
    """An HTTP date, in any of its three forms, as ms since the epoch."""
    try:
        fields = parsedate_tz(text)
        if fields is None:
            return None
        year, month, day, hour, minute, second = fields[:6]
        date = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # looks like a date, but is garbage
    return (int(date.timestamp()) - (fields[9] or 0)) * 1000
