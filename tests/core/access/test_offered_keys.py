"""API keys: their places in a request, and the endpoints that require one."""

import pytest

from openqoe.core.access.api_key import Scope
from openqoe.core.access.key_ring import Grant, KeyRing, Refusal
from openqoe.core.config.worker_config import Config
from openqoe.core.http.messages import Request
from tests.core.api.worker_client import Answer, ask, make_worker
from tests.support.event_builders import batch, event

BODY = batch(event())
NO_KEY: dict[str, str] = {}


def ask_events(keys: str, headers: dict[str, str], query: str = "") -> Answer:
    worker = make_worker(API_KEY=keys)
    return ask(worker, "/events", method="POST", query=query, headers=headers, body=BODY)


@pytest.mark.parametrize("key", ["old", "new+/= 1"])
@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer   {} "),
        ("authorization", "{}"),
        ("x-api-key", "{}"),
        ("x-api-key", " {} "),
        ("x-api-token", "{}"),
    ],
)
def test_key_in_a_header_is_accepted(key: str, header: str, form: str) -> None:
    answer = ask_events("old, new+/= 1", {header: form.format(key)})
    assert answer.status == 202


@pytest.mark.parametrize(
    "query",
    [
        "api_key=K%2F1",
        "a=b&api_key=K/1",
        "api_key=K/1&a=b",
        "api_key=x&api_key=K/1",
        "api_key=K%2f1",
    ],
)
def test_key_in_the_query_is_accepted(query: str) -> None:
    assert ask_events("K/1", NO_KEY, query).status == 202


def test_other_credentials_do_not_hide_the_key() -> None:
    headers = {"authorization": "Basic of-a-proxy", "x-api-key": "right"}
    assert ask_events("right", headers).status == 202
    assert ask_events("right", {"x-api-key": "wrong"}, "api_key=right").status == 202


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        (NO_KEY, ""),
        ({"authorization": ""}, ""),
        ({"authorization": "Bearer"}, ""),
        ({"authorization": "Bearer "}, ""),
        ({"authorization": "Bearer wrong"}, ""),
        ({"authorization": "Basic right"}, ""),
        ({"authorization": "right,other"}, ""),
        ({"x-api-key": "RIGHT"}, ""),
        ({"x-api-key": "righ"}, ""),
        ({"x-api-key": "right1"}, ""),
        ({"x-api-token": ""}, ""),
        ({"x-api-key": "r\udcffght"}, ""),
        ({"cookie": "api_key=right"}, ""),
        (NO_KEY, "api_key="),
        (NO_KEY, "api_key=wrong"),
        (NO_KEY, "API_KEY=right"),
        (NO_KEY, "xapi_key=right"),
        (NO_KEY, "api_key=%ff%fe"),
        (NO_KEY, "api_key=right&" * 200),
    ],
)
def test_request_without_valid_key_is_401(headers: dict[str, str], query: str) -> None:
    answer = ask_events("right, other", headers, query)
    assert answer.status == 401
    assert answer.json == {"success": False, "message": "Unauthorized: Invalid or missing API key"}
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="OpenQoE"'


@pytest.mark.parametrize(
    ("method", "path", "open_status", "closed_status"),
    [
        ("POST", "/v1/events", 202, 401),
        ("GET", "/stats", 200, 401),
        ("HEAD", "/v2/stats", 200, 401),
        ("GET", "/health", 200, 200),
        ("GET", "/ready", 200, 200),
        ("GET", "/metrics", 200, 200),
        ("OPTIONS", "/events", 204, 204),
        ("GET", "/nowhere", 404, 404),
        ("PUT", "/events", 405, 405),
    ],
)
def test_endpoints_that_require_a_key(
    method: str, path: str, open_status: int, closed_status: int
) -> None:
    for keys, status in ((NO_KEY, open_status), ({"API_KEY": "k"}, closed_status)):
        assert ask(make_worker(**keys), path, method=method, body=BODY).status == status


def test_body_is_not_validated_without_a_key() -> None:
    worker = make_worker(API_KEY="k")
    assert ask(worker, "/events", method="POST", body=b"not json").status == 401


@pytest.mark.parametrize("sent", ["schlüssel", "schlüssel".encode().decode("latin-1")])
def test_non_ascii_key_is_accepted_in_utf8_and_latin1(sent: str) -> None:
    request = Request("POST", "/events", headers={"x-api-key": sent})
    right, wrong = (KeyRing(Config(api_keys=(key,))) for key in ("schlüssel", "schlussel"))
    assert isinstance(right.authorize(request, Scope.INGEST), Grant)
    assert wrong.authorize(request, Scope.INGEST) is Refusal.KEY
