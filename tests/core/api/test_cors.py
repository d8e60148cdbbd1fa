"""CORS headers, which every response needs.

Without them a browser reports a network failure, and the SDK sends the batch again and again.
"""

import pytest

from openqoe.core.config.declaration import SettingsError
from openqoe.core.worker import Worker
from tests.core.api.worker_client import Answer, ask, make_worker
from tests.support.event_builders import batch, event

PAGE = "https://page.example"
SHOP = "https://shop.example:8443"

ALLOWED = {
    "Access-Control-Allow-Origin": PAGE,
    "Access-Control-Allow-Credentials": "true",
    "Vary": "Origin",
}
NOT_ALLOWED = {"Vary": "Origin"}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Content-Encoding, Authorization, X-API-Key, "
    "X-API-Token, X-SDK-Version, Idempotency-Key",
    "Access-Control-Max-Age": "86400",
}


def cross_origin(answer: Answer) -> dict[str, str]:
    return {
        name: value
        for name, value in answer.headers.items()
        if name.startswith("Access-Control") or name == "Vary"
    }


EVERY_ANSWER = [
    ("POST", "/v1/events", batch(event()), 202),
    ("POST", "/v1/events", batch(event(), 1), 207),
    ("POST", "/v1/events", batch(1), 400),
    ("POST", "/v1/events", b"", 400),
    ("GET", "/health", b"", 200),
    ("HEAD", "/health", b"", 200),
    ("GET", "/ready", b"", 200),
    ("GET", "/nowhere", b"", 404),
    ("DELETE", "/events", b"", 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), EVERY_ANSWER)
def test_every_response_echoes_the_origin(method: str, path: str, body: bytes, status: int) -> None:
    worker = make_worker()
    answer = ask(worker, path, method=method, headers={"origin": PAGE}, body=body)
    assert answer.status == status
    assert cross_origin(answer) == ALLOWED


@pytest.mark.parametrize("status", [400, 408, 413, 431, 500, 501, 503])
def test_refusal_echoes_the_origin(status: int) -> None:
    response = make_worker().refuse(status, "What was wrong", {"origin": PAGE})
    answer = Answer.of(response)
    assert answer.status == status
    assert answer.json == {"success": False, "message": "What was wrong"}
    assert cross_origin(answer) == ALLOWED
    assert cross_origin(Answer.of(make_worker().refuse(status, "", {}))) == NOT_ALLOWED


def test_401_echoes_the_origin() -> None:
    worker = make_worker(API_KEY="k")
    answer = ask(worker, "/events", method="POST", headers={"origin": PAGE})
    assert (answer.status, cross_origin(answer)) == (401, ALLOWED)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/stats",
        "/v1/stats?dimension=env",
        "/stats?dimension=none",
        "/metrics",
        "/v2/metrics",
        "/admin/erase",
    ],
)
@pytest.mark.parametrize("key", ["", "k", "wrong"])
def test_reports_are_neither_cross_origin_nor_cached(path: str, key: str, method: str) -> None:
    worker = make_worker(OPENQOE_READ_KEY="k")
    headers = {"origin": PAGE, "x-api-key": key}
    path, _, query = path.partition("?")
    answer = ask(worker, path, method=method, query=query, headers=headers)
    assert cross_origin(answer) == {}
    assert answer.headers["Cache-Control"] == "no-store"


def test_draining_worker_echoes_the_origin() -> None:
    worker = make_worker()
    worker.drain()
    answer = ask(worker, "/ready", headers={"origin": PAGE})
    assert (answer.status, cross_origin(answer)) == (503, ALLOWED)


@pytest.mark.parametrize("path", ["/v1/events", "/v2/stats", "/nowhere", "*", "/", ""])
@pytest.mark.parametrize("keys", [{}, {"API_KEY": "k"}])
def test_preflight_needs_no_key_on_any_path(path: str, keys: dict[str, str]) -> None:
    asked = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-sdk-version",
    }
    answer = ask(make_worker(**keys), path, method="OPTIONS", headers=asked)
    assert answer == Answer(204, PREFLIGHT | ALLOWED, b"")


@pytest.mark.parametrize(
    ("allowed", "origin", "headers"),
    [
        (None, PAGE, ALLOWED),
        (None, "null", ALLOWED | {"Access-Control-Allow-Origin": "null"}),
        (None, None, NOT_ALLOWED),
        ("*", PAGE, ALLOWED),
        (f"{SHOP}, {PAGE}", PAGE, ALLOWED),
        (f"{PAGE},*", SHOP, ALLOWED | {"Access-Control-Allow-Origin": SHOP}),
        (PAGE, SHOP, NOT_ALLOWED),
        (PAGE, None, NOT_ALLOWED),
        (PAGE, "null", NOT_ALLOWED),
        (PAGE, "http://page.example", NOT_ALLOWED),
        (PAGE, PAGE + ".evil.example", NOT_ALLOWED),
        (PAGE, "https://sub.page.example", NOT_ALLOWED),
        (PAGE, f"{PAGE}, {SHOP}", NOT_ALLOWED),
    ],
)
def test_allowed_origins_decide_the_headers(
    allowed: str | None, origin: str | None, headers: dict[str, str]
) -> None:
    worker: Worker = make_worker(**({} if allowed is None else {"CORS_ALLOWED_ORIGINS": allowed}))
    sent = {} if origin is None else {"origin": origin}
    assert cross_origin(ask(worker, headers=sent)) == headers
    preflight = ask(worker, "/events", method="OPTIONS", headers=sent)
    assert preflight.headers == PREFLIGHT | headers


AGENTS = "traceparent, sentry-trace,baggage, x-datadog-trace-id, newrelic , X-Requested-With"


@pytest.mark.parametrize(
    ("requested", "added"),
    [
        (AGENTS, ", " + ", ".join(name.strip() for name in AGENTS.split(","))),
        ("idempotency-key, traceparent, traceparent", ", traceparent"),
        ("a b", ""),
        ("a,\x00", ""),
        ("a" * 3_000, ""),
        ("", ""),
    ],
)
def test_preflight_allows_requested_headers_to_allowed_origin(requested: str, added: str) -> None:
    sent = {"origin": PAGE, "access-control-request-headers": requested}
    for allowed, expected in ((PAGE, added), (SHOP, "")):
        worker = make_worker(CORS_ALLOWED_ORIGINS=allowed)
        answer = ask(worker, "/events", method="OPTIONS", headers=sent)
        name = "Access-Control-Allow-Headers"
        assert answer.headers[name] == PREFLIGHT[name] + expected


@pytest.mark.parametrize(
    ("allowed", "origin", "is_allowed"),
    [
        ("https://page.example/", PAGE, True),
        ("HTTPS://Page.Example", PAGE, True),
        ("https://page.example:443", PAGE, True),
        ("http://page.example:80/", "http://page.example", True),
        ("https://page.example:8443", PAGE, False),
        ('"https://page.example"', PAGE, True),
        (f"'{SHOP}' '{PAGE}'", PAGE, True),
        (f" {SHOP} {PAGE} ", PAGE, True),
        ("https://*.page.example", "https://a.page.example", True),
        ("https://*.page.example", "https://a.b.page.example", True),
        ("https://*.page.example", PAGE, False),
        ("https://*.page.example", "https://.page.example", False),
        ("https://*.page.example", "http://a.page.example", False),
        ("https://*.page.example", "https://evil.example/.page.example", False),
        ("https://*.page.example", "https://a.page.example.evil.example", False),
        ("https://*.b.example,https://*.a.b.example", "https://x.a.b.example", True),
        ("https://*.page.example:8443", "https://a.page.example:8443", True),
        ("http://localhost:3000", "http://localhost:3000", True),
        ("capacitor://localhost", "capacitor://localhost", True),
        ("http://[::1]:3000", "http://[::1]:3000", True),
        ("null", "null", True),
    ],
)
def test_origins_are_accepted_as_people_write_them(
    allowed: str, origin: str, is_allowed: bool
) -> None:
    worker = make_worker(CORS_ALLOWED_ORIGINS=allowed)
    answer = ask(worker, headers={"origin": origin})
    assert ("Access-Control-Allow-Origin" in answer.headers) is is_allowed


@pytest.mark.parametrize(
    ("allowed", "advice"),
    [
        ("page.example", "needs a scheme"),
        ("https://page.example/player", "no path"),
        ("https://a*.page.example", "wildcard"),
        ("https://*", "wildcard"),
        ("*.page.example", "needs a scheme"),
        ("https://bücher.example", "Punycode"),
        ("https://user@page.example", "write https://"),
        ('["https://page.example"]', "write"),
        ('""', "no value"),
    ],
)
def test_value_that_is_no_origin_is_refused_at_start(allowed: str, advice: str) -> None:
    with pytest.raises(SettingsError, match=advice) as caught:
        make_worker(CORS_ALLOWED_ORIGINS=f"{PAGE},{allowed}" if "value" not in advice else allowed)
    assert "CORS_ALLOWED_ORIGINS" in str(caught.value)
