"""Interprets a destination's answer: a table of status codes, and Retry-After.

Everything that depends on an HTTP status is in ``STATUS_RULES``; the first matching row decides.
There are five outcomes:

    delivered   the destination has stored the payload
    rejected    the destination stored the valid part; sending the payload again would not help
    dropped     the destination refuses the whole payload and would refuse it again
    split       the payload is too large for one request
    retried     the destination cannot store it now

A status that concerns the payload drops or splits it. One that concerns the route, the credentials
or the configuration keeps it: the queue retries slowly until they are corrected. The text of an
answer is for people and decides nothing, with two exceptions. An error that names a sample or a
series (``SAMPLE_ERROR``, ``SERIES_ERROR``) shows that the destination read the request, so the
route is right, and that it needs another setting if the sample came too late (``LATE_SAMPLE``).
And a web page (``PAGE``) shows that the route is wrong, whatever its status.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_tz
from typing import Literal

from ..effects import HttpResult, NetworkFailure, PayloadKind

DeliveryOutcome = Literal["delivered", "rejected", "dropped", "split", "retried"]

MAX_RETRY_AFTER = 5 * 60 * 1000
"""Maximum wait in ms; a longer Retry-After is capped."""

ANY_KIND: tuple[PayloadKind, ...] = ("metrics", "logs", "views", "batches")


@dataclass(frozen=True, slots=True)
class StatusRule:
    """The outcome of the statuses ``first`` to ``last`` for some kinds of payload.

    Attributes:
        reason: A label value of metrics; "{status}" stands for the status.
        concerns_route: Whether the status concerns the URL, the credentials or the configuration
            instead of the payload, so that no other payload would be accepted either.
    """

    first: int
    last: int
    kinds: tuple[PayloadKind, ...]
    outcome: DeliveryOutcome
    reason: str
    concerns_route: bool = False


STATUS_RULES = (
    # Loki's status while its configuration blocks ingestion: a 2xx without success.
    StatusRule(260, 260, ("logs",), "retried", "ingestion_blocked", concerns_route=True),
    StatusRule(200, 299, ANY_KIND, "delivered", ""),
    # The URL is wrong. Following the redirect would send the credentials to another host.
    StatusRule(300, 399, ANY_KIND, "retried", "redirect", concerns_route=True),
    # Mimir, Prometheus and Loki skip invalid samples or entries and store the rest. But a request
    # that cannot be read at all has the same status, so the queue examines it.
    StatusRule(400, 400, ANY_KIND, "rejected", "bad_request"),
    StatusRule(401, 401, ANY_KIND, "retried", "unauthorized", concerns_route=True),
    StatusRule(403, 403, ANY_KIND, "retried", "unauthorized", concerns_route=True),
    StatusRule(402, 407, ANY_KIND, "retried", "http_{status}", concerns_route=True),
    # Of a proxy, or of a destination that was not ready.
    StatusRule(408, 408, ANY_KIND, "retried", "http_{status}"),
    # Thanos: a sample that it has already, or an older one; the others are stored.
    StatusRule(409, 409, ANY_KIND, "rejected", "conflict"),
    StatusRule(410, 410, ANY_KIND, "retried", "http_{status}", concerns_route=True),
    StatusRule(413, 413, ANY_KIND, "split", "too_large"),
    StatusRule(421, 421, ANY_KIND, "retried", "http_{status}", concerns_route=True),
    StatusRule(425, 425, ANY_KIND, "retried", "http_{status}"),
    StatusRule(431, 431, ANY_KIND, "retried", "http_{status}", concerns_route=True),
    StatusRule(499, 499, ANY_KIND, "retried", "http_{status}"),
    StatusRule(429, 429, ANY_KIND, "retried", "rate_limited"),
    StatusRule(400, 499, ANY_KIND, "dropped", "http_{status}"),
    # Mimir's other form of 429.
    StatusRule(529, 529, ANY_KIND, "retried", "rate_limited"),
    StatusRule(500, 599, ANY_KIND, "retried", "server_error"),
)
# 101, 999: not an answer to the request, and not a fault of the payload.
DEFAULT_RULE = StatusRule(0, 999, ANY_KIND, "retried", "unexpected_status")


SAMPLE_ERROR = re.compile(
    rb"out[ -]of[ -](?:order|bounds)|too[ -](?:old|far)|duplicate[ -](?:sample|timestamp)"
)
"""The errors of Prometheus, Mimir and Cortex for a sample that they have already or cannot store.

A payload that is sent again after a restart, because the answer to it was lost, gets one of them.
"""

SERIES_ERROR = re.compile(
    rb"per-(?:user|metric|labelset) series limit"
    rb"|err-mimir-(?:max-series|max-label|label|series|metric|missing-metric|duplicate-label)"
)
"""The errors of Mimir and Cortex for single series. Both store the others, also if Cortex answers
429 because of its limit of series, and every further payload with such a series has that answer."""

PAGE = re.compile(rb"\s*<(?:!doctype html|html)\b", re.IGNORECASE)
"""A web page: the answer of another server, or of another path, to any request."""

LATE_SAMPLE = re.compile(
    rb"out[ -]of[ -]bounds|too[ -]old|too[ -]far[ -](?:in|behind)[ -](?:the )?past"
)
"""Those of a sample that is too far behind the newest one of any series: by an hour, unless the
destination's ``out_of_order_time_window`` is longer."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The consequence of an answer for a payload.

    Attributes:
        outcome: One of the five.
        reason: A label value of metrics; "" if delivered.
        status: The HTTP status, None without an answer.
        retry_after: The minimum wait that the destination requested (ms).
        concerns_route: Whether the route, the credentials or the configuration must be corrected.
    """

    outcome: DeliveryOutcome
    reason: str
    status: int | None = None
    retry_after: int | None = None
    concerns_route: bool = False


def judge_answer(kind: PayloadKind, result: HttpResult | NetworkFailure, now: int) -> Verdict:
    """Decides the outcome of a payload from its answer or a network failure."""
    if isinstance(result, NetworkFailure):
        return Verdict("retried", "network")
    status = result.status
    fitting = (r for r in STATUS_RULES if r.first <= status <= r.last and kind in r.kinds)
    rule = next(fitting, DEFAULT_RULE)
    if rule.outcome == "delivered" and PAGE.match(result.body):
        return Verdict("retried", "web_page", status, concerns_route=True)
    if kind == "metrics" and status in (400, 429) and SERIES_ERROR.search(result.body):
        return Verdict("rejected", "series_refused", status)
    if rule.outcome == "rejected" and kind == "metrics":
        if LATE_SAMPLE.search(result.body):
            return Verdict("rejected", "late_samples", status)
        if rule.reason == "bad_request" and SAMPLE_ERROR.search(result.body):
            return Verdict("rejected", "bad_samples", status)
    wait = parse_retry_after(result.headers, now) if rule.outcome == "retried" else None
    reason = rule.reason.format(status=status)
    return Verdict(rule.outcome, reason, status, wait, rule.concerns_route)


def parse_retry_after(headers: Mapping[str, str], now: int) -> int | None:
    """The wait that a response requests, in ms; None if it requests none or is malformed.

    Both forms of RFC 9110 are supported, a number of seconds and a date. A date is compared
    with ``now``; a past one requests no wait.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch("[0-9]+", text):
        # Python refuses to convert thousands of digits; ten already exceed the maximum.
        wait = int(text) * 1000 if len(text) < 10 else MAX_RETRY_AFTER
    else:
        date = parse_http_date(text)
        if date is None or date < now:
            return None
        wait = date - now
    return min(wait, MAX_RETRY_AFTER)


def parse_http_date(text: str) -> int | None:
    """Parses an HTTP date, in any of its three forms, into ms since the epoch."""
    try:
        fields = parsedate_tz(text)
        if fields is None:
            return None
        year, month, day, hour, minute, second = fields[:6]
        date = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None  # resembles a date, but is malformed
    return (int(date.timestamp()) - (fields[9] or 0)) * 1000
