"""A worker that both writes to Prometheus and is scraped, with the configuration of deploy/.

Health metrics then arrive twice and must count once. Prometheus evaluates every rule.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import rule_files
from tests.support.event_builders import batch, event
from tests.support.prometheus_server import Prometheus
from tests.support.services import free_port, require, wait_until
from tests.support.worker_process import WorkerProcess, serve

BATCHES = 6


def configuration(folder: Path, port: int) -> str:
    """The configuration of `prometheus-scrape.yml` with seconds instead of minutes."""
    for path in rule_files.FILES:
        text = path.read_text(encoding="utf-8").replace("interval: 1m", "interval: 1s")
        (folder / path.name).write_text(text, encoding="utf-8")
    given = yaml.safe_load(
        (rule_files.FOLDER / "prometheus-scrape.yml").read_text(encoding="utf-8")
    )
    del given["global"]
    given["rule_files"] = [str(folder / "*.yml")]
    (job,) = given["scrape_configs"]
    job["scrape_interval"] = job["scrape_timeout"] = "1s"
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    return "  evaluation_interval: 1s\n" + yaml.safe_dump(given)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Prometheus]:
    require("prometheus")
    folder = tmp_path_factory.mktemp("rules")
    with Prometheus(config=configuration(folder, port)) as server:
        yield server


@pytest.fixture(scope="module")
def worker(prometheus: Prometheus, port: int) -> Iterator[WorkerProcess]:
    settings = {
        "PROMETHEUS_URL": prometheus.write_url,
        "OPENQOE_FLUSH_INTERVAL": "0.5",
        "OPENQOE_INSTANCE": "w",
    }
    # The port is chosen first, since each needs the address of the other.
    process = WorkerProcess(settings, command=lambda _: serve(port))
    process.port, process.url = port, f"http://127.0.0.1:{port}"
    with process as worker:
        now = int(time.time() * 1000)
        for number in range(BATCHES):
            good = event("viewstart", at=now + number, view_id=f"v-{number}")
            status, _ = worker.post(batch(good, event(at=0)))
            assert status == 207
            time.sleep(0.4)
        yield worker


def refused(prometheus: Prometheus, expr: str) -> float | None:
    return prometheus.value(expr.format("openqoe_worker_events_rejected_total"))


def test_health_metrics_sent_and_scraped_are_counted_once(
    prometheus: Prometheus, worker: WorkerProcess
) -> None:
    wait_until(lambda: refused(prometheus, "sum({})") == 2 * BATCHES, 15, "both ways")
    assert prometheus.value('up{job="openqoe-worker"}') == 1
    assert refused(prometheus, "max without (job) (sum by (job) ({}))") == BATCHES
    assert refused(prometheus, 'sum({}{{job=~"()"}})') == BATCHES  # the dashboard's choices
    assert refused(prometheus, 'sum({}{{job=~".+"}})') == BATCHES


def test_prometheus_evaluates_every_rule(prometheus: Prometheus, worker: WorkerProcess) -> None:
    names = [rule.get("alert") or rule["record"] for rule in rule_files.rules()]

    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in loaded(prometheus))

    wait_until(evaluated, 15, "the first evaluation of all rules")
    assert sorted(rule["name"] for rule in loaded(prometheus)) == sorted(names)
    for rule in loaded(prometheus):
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]


def test_unreachable_worker_fires_alert(prometheus: Prometheus, worker: WorkerProcess) -> None:
    def pending() -> bool:
        return any(
            rule["name"] == "OpenQoEWorkerDown" and rule["state"] == "pending"
            for rule in loaded(prometheus)
        )

    assert not pending()
    worker.stop()
    wait_until(pending, 15, "the alert")


def loaded(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The rules that Prometheus has loaded."""
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/rules", timeout=10) as answer:
        groups = json.load(answer)["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]
