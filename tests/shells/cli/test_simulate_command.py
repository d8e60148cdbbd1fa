"""``openqoe simulate`` against a running worker."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.http_double import HttpDouble, ReceivedRequest, Reply
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import free_port, wait_until
from tests.support.simulated_viewers import UNLIMITED_LABELS, assert_counted
from tests.support.worker_process import WorkerProcess

OPENQOE = (sys.executable, "-m", "openqoe.shells")


@pytest.fixture(scope="module")
def prometheus() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble() as double:
        yield double


def simulate(*arguments: str, status: int = 0) -> tuple[str, str]:
    """Output and errors of the command."""
    settings = {**os.environ, "API_KEY": "secret"}
    ended = fork_server.run((*OPENQOE, "simulate", *arguments), settings)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout, ended.stderr


class FlakyWorker(HttpDouble):
    """Is overloaded for the first two batches, then accepts all but one."""

    refuses = 0
    batches = 0

    def respond(self, request: ReceivedRequest) -> Reply:
        if request.path == "/health":
            return Reply(200, b"{}")
        self.batches += 1
        if self.batches <= 2:
            return Reply(503, b'{"message":"Overloaded \\u001b[31m"}')
        if self.batches == 5 and self.refuses:
            return Reply(400, b'{"message":"Validation \\u001b[31mfailed"}')
        return Reply(202, b'{"success":true,"events_received":1}')


def test_worker_counts_exactly_the_truth(prometheus: RemoteWriteDouble, tmp_path: Path) -> None:
    settings = {
        **UNLIMITED_LABELS,
        "API_KEY": "secret",
        "PROMETHEUS_URL": f"{prometheus.url}/api/v1/write",
        "OPENQOE_FLUSH_INTERVAL": "60",
    }
    truth = tmp_path / "truth.json"
    with WorkerProcess(settings) as worker:
        output, _ = simulate(
            *("--url", worker.url, "--viewers", "30", "--speed", "0", "--duration", "6m"),
            *("--world", "large", "--truth", str(truth)),
        )
        worker.stop_and_deliver()
    written = json.loads(truth.read_text())
    assert written["world"] == "large"
    assert written["exact"]
    assert f"{written['events']:,} events in {written['batches']:,} batches accepted" in output
    assert "openqoe_views_started_total" in output
    assert "\x1b" not in output
    assert_counted(
        {
            name: {tuple(sorted(one["labels"].items())): one["value"] for one in series}
            for name, series in written["metrics"].items()
        },
        [
            (dict(labels), samples[-1][1])
            for labels, samples in prometheus.samples.items()
            if isinstance(samples[-1][1], float)
        ],
    )


def test_batches_are_retried_while_the_worker_is_overloaded() -> None:
    with FlakyWorker() as worker:
        output, _ = simulate(
            "--url", worker.url, "--viewers", "5", "--speed", "0", "--duration=40s"
        )
    assert "2 retries" in output
    assert "given up" not in output


def test_refused_batch_is_reported_and_exits_with_1() -> None:
    class Refusing(FlakyWorker):
        refuses = 1

    with Refusing() as worker:
        output, errors = simulate(
            *("--url", worker.url, "--viewers", "5", "--speed", "0", "--duration", "40s"), status=1
        )
    assert "1 batches refused" in output
    assert "Not exact" in output
    assert "not accepted: 400 Validation \\x1b[31mfailed" in errors


def test_wrong_key_stops_the_simulation() -> None:
    with WorkerProcess({"API_KEY": "other"}) as worker:
        _, errors = simulate("--url", worker.url, "--speed", "0", "--duration", "1m", status=1)
    assert "the worker answers 401 Unauthorized" in errors


def test_interrupted_simulation_prints_its_counts() -> None:
    with WorkerProcess({"API_KEY": "secret"}) as worker:
        running = subprocess.Popen(
            [*OPENQOE, "simulate", "--url", worker.url, "--viewers", "900"],
            env={**os.environ, "API_KEY": "secret"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        accepted = "openqoe_worker_events_accepted_total"
        wait_until(lambda: worker.read_metric(accepted) > 5, 30, "events")
        running.send_signal(signal.SIGINT)
        output, errors = running.communicate(timeout=30)
        assert running.returncode == 0, errors
        assert f"{worker.read_metric(accepted):,.0f} events in" in output.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--speed", "10"], "needs --duration or --history"),
        (["--speed", "0.5", "--duration", "1m"], "cannot be slowed down"),
        (["--history", "30h"], "23h"),
        (["--history", "1h", "--speed", "1"], "would never reach the present"),
        (["--duration", "soon"], "is not a duration"),
        (["--incident", "flood"], "kind must be one of"),
        (["--url", "ftp://x"], "is not an http or https URL"),
        (["--truth", "/nowhere/at/all.json"], "cannot write"),
    ],
)
def test_invalid_argument_combination_exits_with_2(arguments: list[str], said: str) -> None:
    assert said in simulate(*arguments, status=2)[1].replace("\n", " ")


def test_unreachable_worker_is_reported() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    _, errors = simulate("--url", url, "--patience", "0.5", status=1)
    assert f"no answer from {url}" in errors
