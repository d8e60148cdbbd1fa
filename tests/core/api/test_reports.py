"""Routes, /health, /ready, /stats and /metrics."""

from typing import Any

import pytest

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS
from openqoe.core.http.messages import Request
from openqoe.core.metrics import health_metrics
from openqoe.core.version import VERSION
from tests.core.api.worker_client import ask, counter_value, make_worker, send
from tests.support import exposition_parser
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle

# Routes


@pytest.mark.parametrize(
    ("path", "route"),
    [
        (prefix + path + slash, route)
        for path, route in (
            ("/events", "events"),
            ("/health", "health"),
            ("/ready", "ready"),
            ("/stats", "stats"),
            ("/metrics", "metrics"),
        )
        for prefix in ("", "/v1", "/v2")
        for slash in ("", "/")
    ],
)
def test_path_with_any_version_has_its_route(path: str, route: str) -> None:
    method = "POST" if route == "events" else "GET"
    worker = make_worker()
    handled = handle(worker, Request(method, path, body=post(event()).body), NOW)
    assert handled.response.status in (200, 202)
    assert (
        counter_value(worker, "requests_total", route=route, status=str(handled.response.status))
        == 1
    )


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/v1",
        "/v1/",
        "/v3/events",
        "/v1/v2/events",
        "/event",
        "/eventsx",
        "/Events",
        "/events/1",
        "//events",
        "/v1events",
        "/%65vents",
        "/events?x",
        "*",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "BREW"])
def test_unknown_path_is_404(path: str, method: str) -> None:
    worker = make_worker()
    answer = ask(worker, path, method=method)
    assert answer.status == 404
    assert answer.json == {"success": False, "message": "Not found"}
    assert counter_value(worker, "requests_total", route="none", status="404") == 1


@pytest.mark.parametrize(
    ("path", "methods", "allow"),
    [
        ("/events", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "post"], "POST, OPTIONS"),
        ("/health", ["POST", "PUT", "DELETE", "BREW"], "GET, HEAD, OPTIONS"),
        ("/ready", ["POST"], "GET, HEAD, OPTIONS"),
        ("/v1/stats", ["POST"], "GET, HEAD, OPTIONS"),
        ("/metrics", ["POST"], "GET, HEAD, OPTIONS"),
    ],
)
def test_unsupported_method_is_405(path: str, methods: list[str], allow: str) -> None:
    for method in methods:
        answer = ask(make_worker(), path, method=method)
        assert answer.status == 405
        assert answer.headers["Allow"] == allow
        assert answer.json == {"success": False, "message": "Method not allowed"}


@pytest.mark.parametrize("path", ["/health", "/ready", "/stats", "/metrics", "/v2/health"])
def test_head_response_equals_get(path: str) -> None:
    """The server omits the body and needs its length."""
    answer = ask(make_worker(), path, method="HEAD")
    assert answer.status == 200
    assert answer == ask(make_worker(), path)


# /health and /ready


def test_health_response() -> None:
    answer = ask(make_worker(), "/health", now=NOW + 5)
    assert answer.status == 200
    assert answer.json == {
        "status": "healthy",
        "timestamp": NOW + 5,
        "service": "openqoe-worker",
        "version": VERSION,
    }
    assert answer.headers == {"Content-Type": "application/json", "Vary": "Origin"}


def test_ready_response() -> None:
    answer = ask(make_worker(), "/ready")
    assert (answer.status, answer.json) == (200, {"status": "ready"})


@pytest.mark.parametrize("end", ["drain", "close"])
def test_stopping_worker_is_healthy_but_not_ready(end: str) -> None:
    worker = make_worker()
    if end == "drain":
        worker.drain()
    else:
        worker.close(NOW)
    answer = ask(worker, "/ready")
    assert (answer.status, answer.json) == (503, {"success": False, "message": "Draining"})
    assert answer.headers["Retry-After"] == "5"
    assert ask(worker, "/health").status == 200
    assert send(worker, post(event())).status == 202  # late batches are not lost


# /stats


def test_stats_of_a_new_worker() -> None:
    answer = ask(make_worker(), "/stats")
    assert answer.status == 200
    assert answer.json == {
        "cardinality_limits": {
            name: {"action": limit.action, "max_cardinality": limit.max_cardinality}
            | ({"bucket_size": limit.bucket_size} if limit.action == "bucket" else {})
            for name, limit in DEFAULT_LIMITS.items()
        },
        "worker_version": VERSION,
        "instance": "test-0",
        "cardinality": dict.fromkeys(DEFAULT_LIMITS, 0),
        "series": {"live": 0, "overflowed": 0},
        "views": 0,
        "refused": {},
        "storage_failure": None,
        "shared_store": None,
        "flush_interval_ms": {"configured": 15_000, "current": 15_000},
        "destinations": [],
    }


def test_stats_after_a_batch() -> None:
    limits = '{"env":{"max_cardinality":1}}'
    worker = make_worker(LOKI_URL="http://l/push", CARDINALITY_LIMITS=limits)
    send(worker, post(event(env="a"), event(env="b", view_id="view-2")))
    stats = ask(worker, "/stats").json
    assert stats["cardinality_limits"]["env"] == {"action": "allow", "max_cardinality": 1}
    assert stats["cardinality"]["env"] == 1
    assert stats["cardinality"]["org_id"] == 1
    assert stats["series"]["live"] > 0
    assert stats["views"] == 2
    assert [
        (one["destination"], one["state"], one["payloads"]) for one in stats["destinations"]
    ] == [("loki", "ok", 0)]
    worker.close(NOW)
    (loki,) = ask(worker, "/stats", now=NOW + 1500).json["destinations"]
    assert (loki["payloads"], loki["items"], loki["oldest_age"]) == (1, 2, 1500)


def test_stats_have_no_secrets() -> None:
    worker = make_worker(
        LOKI_URL="http://l/push", LOKI_USERNAME="me", LOKI_PASSWORD="hush", API_KEY="hush"
    )
    body = ask(worker, "/stats", headers={"x-api-key": "hush"}).body
    assert b"hush" not in body
    assert b"Basic" not in body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("dimension=app_name", {"dimension": "app_name", "cardinality": 2, "values": ["b", "a"]}),
        (
            "dimension=app%5Fname&x=y",
            {"dimension": "app_name", "cardinality": 2, "values": ["b", "a"]},
        ),
        (
            "dimension=org_id&dimension=env",
            {"dimension": "env", "cardinality": 1, "values": ["prod"]},
        ),
        ("dimension=video_title", {"dimension": "video_title", "cardinality": 0, "values": []}),
        ("dimension=view_id", {"dimension": "view_id", "cardinality": 0, "values": []}),
    ],
)
def test_stats_of_one_dimension(query: str, expected: dict[str, Any]) -> None:
    worker = make_worker()
    send(worker, post(event(app_name="b"), event(at=NOW + 1, app_name="a")))
    answer = ask(worker, "/stats", query=query)
    assert (answer.status, answer.json) == (200, expected)


def test_stats_list_100_values_at_most() -> None:
    worker = make_worker()
    send(worker, post(*[event(app_version=f"1.{n}", at=NOW + n) for n in range(150)]))
    answer = ask(worker, "/stats", query="dimension=app_version").json
    assert answer["cardinality"] == 150
    assert answer["values"] == [f"1.{n}" for n in range(100)]


@pytest.mark.parametrize("query", ["dimension=mood", "dimension=%ff", "dimension=env%00"])
def test_unknown_dimension_is_400_with_the_known_ones(query: str) -> None:
    answer = ask(make_worker(), "/stats", query=query)
    assert answer.status == 400
    assert answer.json["success"] is False
    assert answer.json["message"] == "Unknown dimension: there are " + ", ".join(DEFAULT_LIMITS)


@pytest.mark.parametrize("query", ["", "dimension=", "dimensions=env", "&&=", "%zz"])
def test_stats_ignore_other_queries(query: str) -> None:
    assert "worker_version" in ask(make_worker(), "/stats", query=query).json


# /metrics


def test_metrics_are_well_formed_and_described() -> None:
    worker = make_worker(PROMETHEUS_URL="http://p/write", LOKI_URL="http://l/push")
    nasty = 'two\nlines, a "quote" and a \\'
    send(worker, post(event("error", env=nasty, data={"error_code": nasty}), event(at=0)))
    for path in ("/health", "/nowhere", "/stats"):
        handle(worker, Request("GET", path), NOW)
    worker.close(NOW)
    answer = ask(worker, "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = exposition_parser.parse(answer.body.decode())
    assert list(families) == sorted(families)
    described = {metric.name: metric for metric in health_metrics.METRICS}
    for name, family in families.items():
        assert (family.type, family.help) == (
            described[name].type.name.lower(),
            described[name].help,
        )


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("build_info", {"version": VERSION}, 1),
        ("requests_total", {"route": "events", "status": "202"}, 2),
        ("requests_total", {"route": "none", "status": "404"}, 1),
        ("requests_total", {"route": "preflight", "status": "204"}, 1),
        ("requests_total", {"route": "none", "status": "413"}, 1),
        ("events_accepted_total", {}, 3),
        ("views_live", {}, 3),
        ("cardinality", {"dimension": "env"}, 2),
        ("cardinality_folded_total", {"dimension": "env"}, 1),
        ("cardinality_folded_total", {"dimension": "org_id"}, 0),
        ("governance_faults_total", {}, 0),
        ("queue_length", {"destination": "loki"}, 1),
        ("queue_age_seconds", {"destination": "loki"}, 2),
        ("series_overflowed_total", {}, 0),
    ],
)
def test_metrics_have_the_values_of_the_worker(
    name: str, labels: dict[str, str], value: float
) -> None:
    limits = '{"env":{"max_cardinality":2}}'
    worker = make_worker(LOKI_URL="http://l/push", CARDINALITY_LIMITS=limits)
    send(worker, post(event(env="a"), event(env="b", view_id="b", at=NOW + 1)))
    send(worker, post(event(env="c", view_id="c")))
    ask(worker, "/nowhere")
    ask(worker, "/events", method="OPTIONS")
    worker.refuse(413, "Too large", {})
    worker.close(NOW)
    assert counter_value(worker, name, NOW + 2_000, **labels) == value


def test_request_duration_is_a_histogram() -> None:
    worker = make_worker()
    for waited in (0, 3, 3, 9_000):
        handle(worker, Request("GET", "/health", last_byte_at=NOW - waited), NOW)
    families = exposition_parser.parse(ask(worker, "/metrics").body.decode())
    samples = families["openqoe_worker_request_duration_seconds"].samples
    name, route = "openqoe_worker_request_duration_seconds", ("route", "health")

    def bucket(bound: str) -> float:
        return samples[f"{name}_bucket", frozenset({route, ("le", bound)})]

    assert [bucket(bound) for bound in ("0.0005", "0.0025", "0.005", "2.5", "+Inf")] == [
        1,
        1,
        3,
        3,
        4,
    ]
    assert samples[f"{name}_sum", frozenset({route})] == pytest.approx(9.006)
