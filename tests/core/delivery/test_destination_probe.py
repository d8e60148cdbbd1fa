"""Diagnosis of a destination's settings by its answer to a request without data."""

import pytest

from openqoe.core.config.destinations import Destination
from openqoe.core.config.worker_config import Config
from openqoe.core.delivery.destination_probe import (
    build_probe,
    diagnose_answer,
    is_malformed_probe_needed,
)
from openqoe.core.effects import HttpResult, NetworkFailure, PayloadKind
from tests.support.event_builders import NOW
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.rig import deliver

PASSWORD = "hunter2hunter2"

CONFIG = Config.from_environment(
    {
        "PROMETHEUS_URL": "http://metrics.test/api/v1/write",
        "PROMETHEUS_USERNAME": "me",
        "PROMETHEUS_PASSWORD": PASSWORD,
        "LOKI_URL": "http://logs.test/loki/api/v1/push",
    }
)


def destination(kind: PayloadKind) -> Destination:
    (found,) = CONFIG.metrics_destinations if kind == "metrics" else CONFIG.logs_destinations
    return found


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_probe_is_valid_and_leaves_no_data(encoding: str) -> None:
    metrics, logs = RemoteWriteDouble(), LokiDouble()
    for kind, double in (("metrics", metrics), ("logs", logs)):
        effect = build_probe(destination(kind), kind, encoding)  # type: ignore[arg-type]
        result = deliver(effect, double)
        assert result.status == (204 if kind == "metrics" else 422)
        (finding,) = diagnose_answer(destination(kind), kind, result, NOW)  # type: ignore[arg-type]
        assert finding.level == "ok"
    assert (metrics.samples, metrics.metadata, metrics.violations) == ({}, {}, [])
    assert (logs.entries(), logs.rejected) == ([], [])


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
@pytest.mark.parametrize("kind", ["metrics", "logs"])
def test_malformed_probe_is_refused_by_push_endpoints_alone(
    kind: PayloadKind, encoding: str
) -> None:
    effect = build_probe(destination(kind), kind, encoding, is_malformed=True)
    double = RemoteWriteDouble() if kind == "metrics" else LokiDouble()
    answer = deliver(effect, double)
    assert answer.status == 400
    for malformed, level in ((answer, "ok"), (HttpResult(200, {}, b"<html>"), "fail")):
        (finding,) = diagnose_answer(
            destination(kind), kind, HttpResult(200), NOW, malformed_result=malformed
        )
        assert finding.level == level
    assert "accepts anything" in finding.text
    assert "/push" in finding.advice or "/write" in finding.advice


@pytest.mark.parametrize(
    ("path", "status", "is_needed"),
    [
        ("/api/v1/write", 204, False),
        ("/api/v1/write", 200, True),
        ("/ready", 204, True),
        ("/api/v1/write", 422, False),
    ],
)
def test_malformed_probe_follows_answers_that_may_be_to_anything(
    path: str, status: int, is_needed: bool
) -> None:
    one = Destination("mimir", f"http://metrics.test{path}")
    assert is_malformed_probe_needed(one, HttpResult(status)) is is_needed


def test_probe_has_credentials_and_user_agent() -> None:
    effect = build_probe(destination("metrics"), "metrics", "protobuf")
    assert dict(effect.headers)["Authorization"].startswith("Basic ")
    assert dict(effect.headers)["User-Agent"].startswith("openqoe-worker/")


@pytest.mark.parametrize(
    ("kind", "status", "level", "expected"),
    [
        ("metrics", 204, "ok", "accepts requests"),
        ("metrics", 204, "ok", "out_of_order_time_window"),
        ("logs", 422, "ok", "accepts requests"),
        ("logs", 260, "fail", "blocked"),
        ("metrics", 301, "fail", "redirects"),
        ("metrics", 400, "fail", "OPENQOE_TENANT"),
        ("logs", 400, "fail", "OPENQOE_TENANT"),
        ("metrics", 401, "fail", "PROMETHEUS_USERNAME and PROMETHEUS_PASSWORD"),
        ("metrics", 403, "fail", "do not allow writing"),
        ("metrics", 404, "fail", "--web.enable-remote-write-receiver"),
        ("logs", 404, "fail", "/loki/api/v1/push"),
        ("logs", 405, "fail", "/loki/api/v1/push"),
        ("metrics", 415, "fail", "does not accept"),
        ("logs", 429, "warn", "limits the rate"),
        ("metrics", 503, "fail", "cannot accept"),
    ],
)
def test_each_status_gives_advice(
    kind: PayloadKind, status: int, level: str, expected: str
) -> None:
    (finding,) = diagnose_answer(destination(kind), kind, HttpResult(status, {}, b"because"), NOW)
    assert finding.level == level
    assert expected in finding.text + finding.advice
    assert level == "ok" or '"because"' in finding.text or status == 301
    assert level == "ok" or finding.advice


@pytest.mark.parametrize("target", ["https://metrics.test/api/v1/write", "/api/v1/write/"])
def test_redirect_names_its_target_without_the_query(target: str) -> None:
    result = HttpResult(308, {"location": f"{target}?token=t0k"}, b"<html>")
    (finding,) = diagnose_answer(destination("metrics"), "metrics", result, NOW)
    assert finding.text == f'metrics.test answers 308, it redirects: "Location: {target}"'
    assert finding.advice == "set the target URL: redirects are not followed"


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("Cannot connect to host x:80 ssl:default [Name or service not known]", "name"),
        (
            "Cannot connect to host x:1 ssl:default [Connect call failed ('x', 1)]",
            "no process listens",
        ),
        ("Cannot connect to host x:443 ssl:True [SSL: CERTIFICATE_VERIFY_FAILED]", "certificate"),
        ("Cannot connect to host x:80 ssl:default [[SSL] record layer failure]", "https://"),
        ("no answer within 10 s", "firewall"),
        ("something else", "network"),
    ],
)
def test_each_network_failure_gives_advice(reason: str, advice: str) -> None:
    (finding,) = diagnose_answer(destination("metrics"), "metrics", NetworkFailure(reason), NOW)
    assert finding.level == "fail"
    assert advice in finding.advice


def test_finding_contains_no_secrets_or_escapes() -> None:
    error_text = f"no \x1b[31m{PASSWORD}".encode()
    (finding,) = diagnose_answer(
        destination("metrics"), "metrics", HttpResult(401, {}, error_text), NOW
    )
    assert PASSWORD not in finding.text
    assert "\x1b" not in finding.text


@pytest.mark.parametrize(
    ("date", "levels"),
    [
        ("Thu, 09 Oct 2025 08:53:20 GMT", ["ok"]),
        ("Thu, 09 Oct 2025 08:54:20 GMT", ["ok", "warn"]),
        ("Thu, 09 Oct 2025 07:53:20 GMT", ["ok", "fail"]),
        ("some day", ["ok"]),
    ],
)
def test_clock_skew_is_diagnosed(date: str, levels: list[str]) -> None:
    result = HttpResult(204, {"date": date})
    found = diagnose_answer(destination("metrics"), "metrics", result, 1_760_000_000_000)
    assert [finding.level for finding in found] == levels


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/loki/api/v1/push", "ok"),
        ("/insert/loki/api/v1/push", "ok"),
        ("/api/prom/push", "ok"),
        ("/flush", "fail"),
        ("/ready", "fail"),
        ("/loki/api/v1/labels", "fail"),
        ("", "fail"),
    ],
)
def test_path_that_accepts_anything_is_no_push_endpoint(path: str, level: str) -> None:
    loki = Destination("loki", f"http://logs.test{path}")
    (finding,) = diagnose_answer(loki, "logs", HttpResult(204), NOW)
    assert finding.level == level
    assert level == "ok" or "/loki/api/v1/push" in finding.advice
