"""The worker mounted in a Flask application, under werkzeug's server and under gunicorn."""

import json
import sys
from collections.abc import Mapping, Sequence

import pytest

from tests.examples.example_process import EXAMPLES, example_command
from tests.support.event_builders import view_batch
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble, count_started_views
from tests.support.services import wait_until
from tests.support.worker_process import Command, WorkerProcess


def gunicorn(port: int) -> Sequence[str]:
    options = ("--chdir", str(EXAMPLES), "--bind", f"127.0.0.1:{port}", "--threads", "4")
    return (sys.executable, "-m", "gunicorn", *options, "flask_app:application")


@pytest.mark.parametrize(
    "command", [example_command("flask_app"), gunicorn], ids=["werkzeug", "gunicorn"]
)
def test_worker_runs_beside_flask_application(
    command: Command,
    settings: Mapping[str, str],
    receiver: RemoteWriteDouble,
    loki: LokiDouble,
) -> None:
    with WorkerProcess(settings, command=command) as process:
        assert process.request("GET", "/")[2] == b"<h1>My application</h1>"
        assert json.loads(process.request("GET", "/health")[2]) == {"ok": True}
        status, _, body = process.request("GET", "/qoe/health")
        assert (status, json.loads(body)["service"]) == (200, "openqoe-worker")
        assert process.request("GET", "/qoe/nowhere")[0] == 404
        assert process.request("POST", "/v1/events")[0] == 404  # not the worker's path
        for first in range(0, 50, 10):
            assert process.post(view_batch(first, 10), "/qoe/v1/events")[0] == 202
        wait_until(lambda: count_started_views(receiver) == 50, description="the metrics")
        wait_until(lambda: len(loki.entries()) == 50, description="the logs")
        assert process.post(view_batch(50, 10), "/qoe/events")[0] == 202
        assert process.stop(15) == 0
        assert "Traceback" not in process.log_text()
    assert count_started_views(receiver) == 60
    assert len(loki.entries()) == 60
    assert receiver.violations == []
    assert loki.rejected == []
