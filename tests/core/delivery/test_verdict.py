"""The outcome of each answer, by status and kind of payload; Retry-After."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.delivery.verdict import (
    MAX_RETRY_AFTER,
    DeliveryOutcome,
    Verdict,
    judge_answer,
    parse_retry_after,
)
from openqoe.core.effects import HttpResult, NetworkFailure, PayloadKind

NOW = 784_111_777_000  # Sun, 06 Nov 1994 08:49:37 GMT

# status, outcome and reason for metrics, outcome and reason for logs (None: the same)
TABLE: list[tuple[int, tuple[DeliveryOutcome, str], tuple[DeliveryOutcome, str] | None]] = [
    (200, ("delivered", ""), None),
    (202, ("delivered", ""), None),
    (204, ("delivered", ""), None),
    (260, ("delivered", ""), ("retried", "ingestion_blocked")),
    (299, ("delivered", ""), None),
    (301, ("retried", "redirect"), None),
    (302, ("retried", "redirect"), None),
    (304, ("retried", "redirect"), None),
    (307, ("retried", "redirect"), None),
    (308, ("retried", "redirect"), None),
    (400, ("rejected", "bad_request"), None),
    (401, ("retried", "unauthorized"), None),
    (403, ("retried", "unauthorized"), None),
    (404, ("retried", "http_404"), None),
    (405, ("retried", "http_405"), None),
    (408, ("retried", "http_408"), None),
    (409, ("rejected", "conflict"), None),
    (410, ("retried", "http_410"), None),
    (425, ("retried", "http_425"), None),
    (431, ("retried", "http_431"), None),
    (413, ("split", "too_large"), None),
    (415, ("dropped", "http_415"), None),
    (422, ("dropped", "http_422"), None),
    (429, ("retried", "rate_limited"), None),
    (499, ("retried", "http_499"), None),
    (500, ("retried", "server_error"), None),
    (501, ("retried", "server_error"), None),
    (502, ("retried", "server_error"), None),
    (503, ("retried", "server_error"), None),
    (504, ("retried", "server_error"), None),
    (529, ("retried", "rate_limited"), None),
    (599, ("retried", "server_error"), None),
    (0, ("retried", "unexpected_status"), None),
    (101, ("retried", "unexpected_status"), None),
    (999, ("retried", "unexpected_status"), None),
]


@pytest.mark.parametrize(("status", "metrics", "logs"), TABLE)
def test_status_decides_outcome_and_reason(
    status: int, metrics: tuple[DeliveryOutcome, str], logs: tuple[DeliveryOutcome, str] | None
) -> None:
    for kind, (outcome, reason) in (("metrics", metrics), ("logs", logs or metrics)):
        verdict = judge_answer(kind, HttpResult(status), NOW)  # type: ignore[arg-type]
        assert (verdict.outcome, verdict.reason, verdict.status) == (outcome, reason, status)


@pytest.mark.parametrize("status", [301, 307, 308, 401, 403, 404, 405, 407, 410, 421, 431])
def test_status_of_route_or_credentials_keeps_payload(status: int) -> None:
    verdict = judge_answer("metrics", HttpResult(status), NOW)
    assert (verdict.outcome, verdict.concerns_route) == ("retried", True)


@pytest.mark.parametrize("status", [408, 425, 429, 499, 500, 503, 529])
def test_transient_status_is_no_fault_of_route(status: int) -> None:
    verdict = judge_answer("metrics", HttpResult(status), NOW)
    assert (verdict.outcome, verdict.concerns_route) == ("retried", False)


@pytest.mark.parametrize("kind", ["metrics", "logs"])
@pytest.mark.parametrize("body", [b"<html><body>Sign in", b"\n<!DOCTYPE html>\n<html>"])
def test_web_page_is_no_success(kind: PayloadKind, body: bytes) -> None:
    verdict = judge_answer(kind, HttpResult(200, {}, body), NOW)
    assert verdict == Verdict("retried", "web_page", 200, concerns_route=True)
    for other in (b"", b"{}", b"ok <html>"):
        assert judge_answer(kind, HttpResult(200, {}, other), NOW).outcome == "delivered"


@pytest.mark.parametrize("status", [400, 429])
@pytest.mark.parametrize(
    "answer",
    [
        b"per-user series limit of 5 exceeded (err-mimir-max-series-per-user)",
        b"per-metric series limit of 5 exceeded, please contact administrator to raise it",
        b"received a series whose label value length exceeds the limit "
        b"(err-mimir-label-value-too-long)",
    ],
)
def test_error_of_single_series_rejects_them_and_blocks_no_others(
    status: int, answer: bytes
) -> None:
    """Mimir and Cortex have stored the other series of the request."""
    verdict = judge_answer("metrics", HttpResult(status, {}, answer), NOW)
    assert verdict == Verdict("rejected", "series_refused", status)
    limited = b"ingestion rate limit (5) exceeded (err-mimir-tenant-max-ingestion-rate)"
    assert judge_answer("metrics", HttpResult(429, {}, limited), NOW).outcome == "retried"


@pytest.mark.parametrize("kind", ["metrics", "logs"])
def test_network_failure_is_retried(kind: PayloadKind) -> None:
    assert judge_answer(kind, NetworkFailure("refused"), NOW) == Verdict("retried", "network")


@pytest.mark.parametrize("kind", ["metrics", "logs"])
def test_every_status_has_a_verdict(kind: PayloadKind) -> None:
    for status in range(-1, 1001):
        verdict = judge_answer(kind, HttpResult(status), NOW)
        assert (verdict.reason == "") == (verdict.outcome == "delivered")


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("0", 0),
        ("7", 7_000),
        (" 7 ", 7_000),
        ("007", 7_000),
        ("300", 300_000),
        ("301", MAX_RETRY_AFTER),
        ("9" * 5000, MAX_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:50:07 GMT", 30_000),  # IMF-fixdate
        ("Sunday, 06-Nov-94 08:50:07 GMT", 30_000),  # RFC 850
        ("Sun Nov  6 08:50:07 1994", 30_000),  # asctime
        ("Sun, 06 Nov 1994 09:50:07 +0100", 30_000),
        ("Mon, 07 Nov 1994 08:49:37 GMT", MAX_RETRY_AFTER),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER),
        ("Sun, 06 Nov 1994 08:49:36 GMT", None),  # past
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Sun, 99 Nov 1994 99:99:99 GMT", None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1e3", None),
        ("٣", None),
        ("²", None),
        ("soon", None),
        ("5, 10", None),
        ("\x00", None),
    ],
)
def test_retry_after_is_parsed_in_both_forms(text: str, wait: int | None) -> None:
    assert parse_retry_after({"retry-after": text}, NOW) == wait


def test_retry_after_applies_only_to_retried_outcome() -> None:
    headers = {"retry-after": "9"}
    for status in (429, 529, 503, 500):
        assert judge_answer("logs", HttpResult(status, headers), NOW).retry_after == 9_000
    for status in (204, 400, 409, 413, 415):
        assert judge_answer("logs", HttpResult(status, headers), NOW).retry_after is None


@given(text=st.text() | st.text("0123456789:+-, GMTSunNov"), now=st.integers(0, 2**53))
def test_any_retry_after_text_is_parsed_without_error(text: str, now: int) -> None:
    wait = parse_retry_after({"retry-after": text}, now)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER
