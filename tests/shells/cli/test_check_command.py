"""``openqoe check`` against working receivers and against each kind of fault."""

import json
import os
import ssl
import sys
import tracemalloc
from collections import deque
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import trustme

from openqoe.core.metrics.registry import Registry
from openqoe.core.qoe.catalogue import METRICS
from openqoe.core.qoe.labeller import METRIC_LABELS
from openqoe.core.sinks.series_exporter import SeriesExporter
from openqoe.shells.cli.host_checks import SERIES_BYTES, file_system
from tests.support import fork_server
from tests.support.http_double import HttpDouble, ReceivedRequest, Reply
from tests.support.loki_double import LokiDouble
from tests.support.prometheus_server import Prometheus
from tests.support.redis_server import PASSWORD, Redis
from tests.support.services import free_port
from tests.support.worker_process import WorkerProcess, serve

SECRET = "correct-horse-battery"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data"


def check(home: Path, *arguments: str, status: int = 0, **settings: str) -> list[dict[str, Any]]:
    """The findings of the command."""
    text = said(home, "--json", *arguments, status=status, **settings)
    findings: list[dict[str, Any]] = json.loads(text)["findings"]
    return findings


def said(home: Path, *arguments: str, status: int = 0, **settings: str) -> str:
    """The output of the command, which must contain no secret."""
    environment = {
        **os.environ,
        "OPENQOE_DATA_DIR": str(home),
        "OPENQOE_DURABILITY": "normal",
        "API_KEY": SECRET,
        **settings,
    }
    command = (sys.executable, "-m", "openqoe.shells", "check", *arguments)
    ended = fork_server.run(command, environment)
    assert SECRET not in ended.stdout + ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def of(findings: list[dict[str, Any]], subject: str) -> list[tuple[str, str]]:
    """Level, and text with advice, of the findings about a subject."""
    return [
        (one["level"], f"{one['text']} {one['advice']}")
        for one in findings
        if subject in one["subject"]
    ]


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with Prometheus() as server:
        yield server


def test_check_with_working_servers_finds_no_failure(home: Path, prometheus: Prometheus) -> None:
    with LokiDouble(basic_auth=("me", SECRET)) as loki, Redis() as redis:
        findings = check(
            home,
            PROMETHEUS_URL=prometheus.write_url,
            LOKI_URL=loki.push_url,
            LOKI_USERNAME="me",
            LOKI_PASSWORD=SECRET,
            OPENQOE_KV_URL=redis.url,
        )
        assert {one["level"] for one in findings} <= {"ok", "warn"}
        for subject in ("metrics: prometheus", "logs: loki", "shared store: Redis"):
            assert [level for level, _ in of(findings, subject)] == ["ok"]
        assert loki.entries() == []
    assert prometheus.series('{__name__=~"openqoe.*"}') == []
    prometheus.assert_nothing_rejected()
    assert not home.exists()


def test_prometheus_without_receiver_fails_with_advice(home: Path, prometheus: Prometheus) -> None:
    url = f"{prometheus.url}/api/v1/wrong"
    ((level, text),) = of(check(home, status=1, PROMETHEUS_URL=url), "metrics: prometheus")
    assert level == "fail"
    assert "it accepts no requests at /api/v1/wrong" in text
    assert "--web.enable-remote-write-receiver" in text


def test_wrong_credentials_and_unreachable_server_fail(home: Path) -> None:
    port = free_port()
    with LokiDouble(basic_auth=("me", "other")) as loki:
        findings = check(
            home,
            status=1,
            MIMIR_URL=f"http://127.0.0.1:{port}/api/v1/push",
            LOKI_URL=loki.push_url,
            LOKI_USERNAME="me",
            LOKI_PASSWORD=SECRET,
        )
    ((_, mimir),) = of(findings, "metrics: mimir")
    assert f"cannot reach 127.0.0.1:{port}" in mimir
    assert "no process listens there" in mimir
    ((_, loki_said),) = of(findings, "logs: loki")
    assert "answers 401" in loki_said
    assert "check LOKI_USERNAME and LOKI_PASSWORD" in loki_said


class PageServer(HttpDouble):
    """Answers everything with a page."""

    def respond(self, request: ReceivedRequest) -> Reply:
        return Reply(200, b"<html>welcome</html>", {"Content-Type": "text/html"})


def test_server_that_accepts_anything_fails(home: Path) -> None:
    with PageServer() as server:
        findings = check(
            home,
            status=1,
            MIMIR_URL=f"{server.url}/ready",
            LOKI_URL=f"{server.url}/loki/api/v1/push",
        )
    for subject in ("metrics: mimir", "logs: loki"):
        ((level, text),) = of(findings, subject)
        assert level == "fail"
        assert "accepts anything" in text


class EscapingServer(HttpDouble):
    """Answers with escape sequences and with the credentials of the request."""

    def respond(self, request: ReceivedRequest) -> Reply:
        words = f"\x1b[31mno\n{request.headers.get('authorization')} {SECRET}"
        return Reply(403, words.encode(), {"Date": "Thu, 01 Jan 2015 00:00:00 GMT"})


def test_answer_of_a_server_is_escaped_and_redacted(home: Path) -> None:
    with EscapingServer() as server:
        text = said(
            home,
            status=1,
            PROMETHEUS_URL=f"{server.url}/api/v1/write",
            PROMETHEUS_USERNAME="me",
            PROMETHEUS_PASSWORD=SECRET,
        )
    assert "[31mno" in text
    assert "do not allow writing" in text
    assert "[redacted]" in text


def test_untrusted_certificate_fails(home: Path, tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    certificate = trustme.CA().issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    pem.write_bytes(certificate.private_key_pem.bytes() + chain)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"https://127.0.0.1:{server.server_port}/api/v1/write"
        ((level, text),) = of(check(home, status=1, PROMETHEUS_URL=url), "metrics: prometheus")
        assert level == "fail"
        assert "certificate is not trusted" in text
        server.shutdown()
        thread.join()


def test_all_invalid_settings_are_reported_at_once(home: Path) -> None:
    findings = check(
        home, status=1, PROMETHEUS_URL="nonsense", OPENQOE_FLUSH_INTERVAL="often", LOKI_USERNAME="x"
    )
    assert of(findings, "PROMETHEUS_URL")[0][0] == "fail"
    assert of(findings, "OPENQOE_FLUSH_INTERVAL")[0][0] == "fail"


def test_settings_are_read_from_the_env_file(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "openqoe.env"
    file.write_text("OPENQOE_FLUSH_INTERVAL=5\nOPENQOE_FLUSH_INTERVALL=5\n")
    words = [text for _, text in of(check(home, "--env-file", str(file)), "settings")]
    assert any("OPENQOE_FLUSH_INTERVALL" in text for text in words)
    assert "cannot read" in said(home, "--env-file", str(tmp_path / "no"), status=2)


def test_data_directory_that_is_a_file_fails(home: Path) -> None:
    home.write_text("")
    ((level, text),) = of(check(home, status=1), "data directory")
    assert level == "fail"
    assert "is not a directory" in text


def test_slots_of_the_data_directory_are_reported(home: Path) -> None:
    settings = {
        "OPENQOE_DATA_DIR": str(home),
        "LOKI_URL": f"http://127.0.0.1:{free_port()}/loki/api/v1/push",
    }
    with WorkerProcess(settings) as worker:
        ((level, text),) = of(check(home), "slot 0")
        assert (level, text.split(",")[0]) == ("ok", "in use")
        assert worker.stop() == 0
    ((level, _),) = of(check(home), "slot 0")
    assert level in ("ok", "warn")


def test_read_only_replica_fails(home: Path) -> None:
    with Redis() as primary, Redis() as replica:
        replica.command("CONFIG", "SET", "masterauth", PASSWORD)
        replica.command("REPLICAOF", "127.0.0.1", str(primary.port))
        ((level, text),) = of(check(home, status=1, OPENQOE_KV_URL=replica.url), "Redis")
    assert level == "fail"
    assert "it is a read-only replica" in text


def test_redis_with_eviction_warns_and_unusable_redis_fails(home: Path) -> None:
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with Redis("127.0.0.1", *options) as redis:
        findings = of(check(home, OPENQOE_KV_URL=redis.url), "shared store")
        assert [level for level, _ in findings] == ["ok", "warn"]
        assert "maxmemory-policy is allkeys-lru" in findings[1][1]
        wrong = f"redis://:wrong@127.0.0.1:{redis.port}/0"
        ((level, text),) = of(check(home, status=1, OPENQOE_KV_URL=wrong), "Redis")
        assert level == "fail"
        assert "check user and password" in text
    ((level, text),) = of(check(home, status=1, OPENQOE_KV_URL=redis.url), "Redis")
    assert level == "fail"
    assert "is it running" in text


def test_file_system_is_that_of_the_longest_mount_point(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nserver:/x /mnt/far\\040away nfs4 rw 0 0\n")
    assert file_system(Path("/mnt/far away/openqoe"), mounts) == "nfs4"
    assert file_system(Path("/mnt/far"), mounts) == "ext4"
    assert file_system(Path("/"), tmp_path / "none") == ""


def test_estimated_memory_of_a_series_is_within_a_factor_of_two() -> None:
    tracemalloc.start()
    try:
        registry = Registry(100_000)
        for number in range(100):
            labels = tuple((name, f"{name}-{number}") for name in sorted(METRIC_LABELS))
            for metric in METRICS:
                registry.find_or_create(metric, labels)
        deque(SeriesExporter(registry, "host-0", None).export_series(1_000_000), maxlen=0)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.5 < used / registry.size / SERIES_BYTES < 2


# CMCD targets


def check_target(home: Path, url: str, *arguments: str, status: int = 0) -> list[tuple[str, str]]:
    return of(check(home, "--cmcd", url, *arguments, status=status), "CMCD target")


@pytest.fixture(scope="module")
def cmcd_worker() -> Iterator[WorkerProcess]:
    settings = {"API_KEY": SECRET, "CORS_ALLOWED_ORIGINS": "https://watch.example"}
    with WorkerProcess(settings, command=serve) as worker:
        yield worker


GOOD_QUERY = f"api_key={SECRET}&org_id=acme&player_id=web&player_name=hlsjs&env=prod"


def test_complete_cmcd_target_is_ok(home: Path, cmcd_worker: WorkerProcess) -> None:
    url = f"{cmcd_worker.url}/v1/cmcd?{GOOD_QUERY}"
    findings = check_target(home, url, "--origin", "https://watch.example")
    assert [level for level, _ in findings] == ["ok"] * 3
    assert "org_id=acme" in findings[0][1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (GOOD_QUERY.replace("org_id", "orgid"), "no org_id"),
        (GOOD_QUERY.replace("org_id", "orgid"), "ignores orgid"),
        (GOOD_QUERY.replace("player_id=web&", ""), "no player_id"),
        (GOOD_QUERY.replace("&player_name=hlsjs", ""), "no player_name"),
    ],
)
def test_incomplete_cmcd_target_is_warned_of(
    query: str, words: str, home: Path, cmcd_worker: WorkerProcess
) -> None:
    findings = check_target(home, f"{cmcd_worker.url}/v1/cmcd?{query}")
    assert any(level == "warn" and words in text for level, text in findings)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (f"/v1/events?{GOOD_QUERY}", "does not end in /cmcd"),
        ("/v1/cmcd?org_id=acme&player_id=web", "answered 401"),
        (f"/x/y/cmcd?{GOOD_QUERY}", "answered 404"),
    ],
)
def test_unusable_cmcd_target_fails(
    path: str, words: str, home: Path, cmcd_worker: WorkerProcess
) -> None:
    findings = check_target(home, cmcd_worker.url + path, status=1)
    assert any(level == "fail" and words in text for level, text in findings)


def test_cmcd_target_of_forbidden_origin_fails(home: Path, cmcd_worker: WorkerProcess) -> None:
    url = f"{cmcd_worker.url}/v1/cmcd?{GOOD_QUERY}"
    findings = check_target(home, url, "--origin", "https://other.example", status=1)
    assert any(level == "fail" and "may not send" in text for level, text in findings)


@pytest.mark.parametrize("url", ["qoe.example/v1/cmcd", "ftp://x/cmcd"])
def test_cmcd_target_that_is_no_url_fails(url: str, home: Path) -> None:
    assert check_target(home, url, status=1)[0][0] == "fail"


def test_cmcd_target_of_stopped_worker_fails(home: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/cmcd?{GOOD_QUERY}"
    assert ("fail", "cannot reach") in [
        (one, two[:12]) for one, two in check_target(home, url, status=1)
    ]
