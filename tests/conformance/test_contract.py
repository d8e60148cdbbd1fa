"""The HTTP contract in every shell and host: endpoints, errors, keys, CORS."""

import gzip
import json
import time
from collections.abc import Iterator

import pytest

from tests.support.event_builders import OMIT, batch, event
from tests.support.hosts import Host
from tests.support.worker_process import WorkerProcess

ORIGIN = "https://watch.example"
KEY = {"Authorization": "Bearer secret"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def guarded(host: Host) -> Iterator[WorkerProcess]:
    """A worker that requires a key."""
    with host.run({"API_KEY": "secret,next"}) as worker:
        yield worker


def good(view: str) -> bytes:
    return batch(event("heartbeat", at=int(time.time() * 1000), view_id=view))


def mixed() -> bytes:
    now = int(time.time() * 1000)
    return batch(event(at=now, view_id="mixed"), event(at=now, viewer_id=OMIT), event(at=1))


@pytest.mark.parametrize("prefix", ["", "/v1", "/v2"])
@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "message"),
    [
        ("POST", "/events", "good", {**JSON, **KEY}, 202, "Events accepted"),
        ("POST", "/events", "mixed", {**JSON, **KEY}, 207, "Events partially accepted"),
        ("POST", "/events", b'{"events":[{}]}', {**JSON, **KEY}, 400, "Validation failed"),
        ("POST", "/events", b"{", {**JSON, **KEY}, 400, "Invalid JSON in request body"),
        ("POST", "/events", b"", {**JSON, **KEY}, 400, "Invalid JSON in request body"),
        ("POST", "/events", "good", JSON, 401, "Unauthorized: Invalid or missing API key"),
        ("POST", "/events", b"x=1", {"Content-Type": "text/html", **KEY}, 415, "Unsupported"),
        ("POST", "/events", b"{}", {"Content-Encoding": "br", **JSON, **KEY}, 415, "Unsupported"),
        ("PUT", "/events", b"{}", {**JSON, **KEY}, 405, "Method not allowed"),
        ("GET", "/events", None, KEY, 405, "Method not allowed"),
        ("GET", "/stats", None, {}, 401, "Unauthorized: Invalid or missing API key"),
        ("GET", "/nowhere", None, {}, 404, "Not found"),
    ],
)
def test_response_follows_contract(
    guarded: WorkerProcess,
    prefix: str,
    method: str,
    path: str,
    body: str | bytes | None,
    headers: dict[str, str],
    status: int,
    message: str,
) -> None:
    if body == "good":
        body = good(f"{prefix}-{status}-{time.time_ns()}")
    elif body == "mixed":
        body = mixed()
    assert not isinstance(body, str)
    answer = guarded.request(method, prefix + path, body, {**headers, "Origin": ORIGIN})
    assert answer[0] == status
    content = json.loads(answer[2])
    assert content["message"].startswith(message)
    assert content["success"] == (status < 300)
    if path == "/stats":  # reports are not for other sites
        assert "access-control-allow-origin" not in answer[1]
    else:
        assert answer[1]["access-control-allow-origin"] == ORIGIN
        assert answer[1]["access-control-allow-credentials"] == "true"
        assert "Origin" in answer[1]["vary"]
    if status == 405:
        assert "OPTIONS" in answer[1]["allow"]
    if status == 401:
        assert answer[1]["www-authenticate"] == 'Bearer realm="OpenQoE"'


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "next"},
        {"X-API-Key": "secret"},
        {"X-API-Token": "secret"},
    ],
)
def test_api_key_is_accepted_in_each_header(
    guarded: WorkerProcess, headers: dict[str, str]
) -> None:
    body = good(f"key-{time.time_ns()}")
    assert guarded.request("POST", "/v1/events", body, {**JSON, **headers})[0] == 202


def test_beacon_with_key_in_query_and_text_body_is_accepted(guarded: WorkerProcess) -> None:
    body = gzip.compress(good(f"beacon-{time.time_ns()}"))
    headers = {"Content-Type": "text/plain;charset=UTF-8", "Content-Encoding": "gzip"}
    assert guarded.request("POST", "/v2/events?api_key=secret", body, headers)[0] == 202


@pytest.mark.parametrize("prefix", ["", "/v1", "/v2"])
@pytest.mark.parametrize(
    ("query", "content_type", "body", "status"),
    [
        ("api_key=secret", "application/cmcd", "good", 204),
        ("api_key=secret", "text/cmcd;charset=utf-8", "good", 204),
        ("api_key=secret", "application/cmcd", "gzip", 204),
        ("api_key=secret", "application/cmcd", b"e=ps,v=2", 204),
        ("api_key=secret", "application/cmcd", b"", 400),
        ("api_key=secret", "application/cmcd", b"\xff\xfe\n", 400),
        ("api_key=secret", "application/json", "good", 415),
        ("org_id=acme", "application/cmcd", "good", 401),
    ],
)
def test_cmcd_response_follows_contract(
    guarded: WorkerProcess,
    prefix: str,
    query: str,
    content_type: str,
    body: str | bytes,
    status: int,
) -> None:
    headers = {"Content-Type": content_type, "Origin": ORIGIN}
    if isinstance(body, str):
        now = time.time_ns()
        content = f'cid="a",e=ps,sid="{now}",sn=0,sta=s,ts={now // 1_000_000},v=2\n'.encode()
        if body == "gzip":
            content, headers["Content-Encoding"] = gzip.compress(content), "gzip"
        body = content
    path = f"{prefix}/cmcd?{query}&org_id=acme&player_id=web"
    answer = guarded.request("POST", path, body, headers)
    assert answer[0] == status
    assert bool(answer[2]) is (status != 204)
    assert answer[1]["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("path", ["/v1/events", "/v1/cmcd", "/v2/events", "/health", "/nowhere"])
def test_preflight_is_answered_without_key(guarded: WorkerProcess, path: str) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-sdk-version",
    }
    status, headers, body = guarded.request("OPTIONS", path, None, asked)
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == ORIGIN
    assert headers["access-control-max-age"] == "86400"
    allowed = headers["access-control-allow-headers"].lower()
    assert "x-sdk-version" in allowed
    assert "content-type" in allowed


def test_report_endpoints_describe_worker(guarded: WorkerProcess) -> None:
    status, _, body = guarded.request("GET", "/v1/health")
    health = json.loads(body)
    assert (status, health["status"], health["service"]) == (200, "healthy", "openqoe-worker")
    assert abs(health["timestamp"] - time.time() * 1000) < 5000
    assert guarded.request("GET", "/v2/ready")[0] == 200
    assert guarded.request("GET", "/metrics")[1]["content-type"].startswith("text/plain; version=0")
    stats = json.loads(guarded.request("GET", "/stats", None, KEY)[2])
    assert stats["worker_version"] == health["version"]
    assert stats["cardinality_limits"]["env"] == {"action": "allow", "max_cardinality": 10}
    body = good(f"says-{time.time_ns()}")
    assert guarded.request("POST", "/v1/events", body, {**JSON, **KEY})[0] == 202
    assert guarded.count_events()
    one = json.loads(guarded.request("GET", "/v1/stats?dimension=org_id", None, KEY)[2])
    assert one == {"dimension": "org_id", "cardinality": 1, "values": ["acme"]}


def test_head_has_headers_of_get_without_body(guarded: WorkerProcess) -> None:
    status, headers, body = guarded.request("HEAD", "/health")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0


def test_resent_batch_is_acknowledged_and_not_counted(guarded: WorkerProcess) -> None:
    body = good(f"again-{time.time_ns()}")
    before = guarded.count_events()
    for _ in range(3):
        assert guarded.request("POST", "/v1/events", body, {**JSON, **KEY})[0] == 202
    assert guarded.count_events() == before + 1
