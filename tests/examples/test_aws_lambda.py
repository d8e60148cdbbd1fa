"""The serverless handler. Each module object represents one execution environment."""

import json
import os
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from importlib import util
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.examples.example_process import EXAMPLES
from tests.support.event_builders import view_batch
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble, count_started_views

EnvironmentMaker = Callable[[], ModuleType]


class Context:
    """The context of an invocation: its remaining time."""

    def __init__(self, remaining: int = 10_000) -> None:
        self._end = time.monotonic() + remaining / 1000

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end - time.monotonic()) * 1000)


@pytest.fixture
def new_environment(
    settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> EnvironmentMaker:
    """Starts execution environments, which must ignore the flush interval of the settings."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    numbers = count()

    def make() -> ModuleType:
        name = f"aws_lambda_{next(numbers)}"
        spec = util.spec_from_file_location(name, EXAMPLES / "aws_lambda.py")
        assert spec is not None
        assert spec.loader is not None
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return make


def http_event(
    method: str, path: str, body: str | None = None, *, stage: str = "$default", **more: Any
) -> dict[str, Any]:
    """An event of API Gateway, payload format 2.0."""
    made = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "example.test"},
        "requestContext": {
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1"},
            "stage": stage,
        },
        "isBase64Encoded": False,
        **more,
    }
    return made if body is None else {**made, "body": body}


def post_views(environment: ModuleType, first: int, number: int, remaining: int = 10_000) -> int:
    event = http_event("POST", "/v1/events", view_batch(first, number).decode())
    status: int = environment.handler(event, Context(remaining))["statusCode"]
    return status


def test_invocation_delivers_before_it_returns(
    new_environment: EnvironmentMaker, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    environment = new_environment()
    for first in (0, 10, 20):
        assert post_views(environment, first, 10) == 202
        assert count_started_views(receiver) == first + 10
        assert len(loki.entries()) == first + 10
    assert receiver.violations == []
    assert loki.rejected == []


def test_execution_environments_never_share_series(
    new_environment: EnvironmentMaker, receiver: RemoteWriteDouble
) -> None:
    one, other = new_environment(), new_environment()
    for first in (0, 20):
        assert post_views(one, first, 10) == 202
        assert post_views(other, first + 10, 10) == 202
    assert count_started_views(receiver) == 40
    series = receiver.select("openqoe_views_loaded_total")
    assert len({dict(labels)["instance"] for labels in series}) == 2
    assert receiver.violations == []


def test_requests_and_responses_follow_gateway_format(
    new_environment: EnvironmentMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    environment = new_environment()

    def ask(event: dict[str, Any]) -> tuple[int, Any]:
        answer = environment.handler(event, Context())
        assert answer["isBase64Encoded"] is True
        assert answer["headers"]["Content-Type"] == "application/json"
        return answer["statusCode"], json.loads(b64decode(answer["body"]))

    body = view_batch(0, 1).decode()
    assert ask(http_event("GET", "/health"))[1]["status"] == "healthy"
    assert ask(http_event("GET", "/prod/v1/health", stage="prod"))[0] == 200
    assert ask(http_event("POST", "/v1/events", body))[0] == 401
    assert ask(http_event("POST", "/v1/events", body, rawQueryString="api_key=secret"))[0] == 202
    binary = b64encode(view_batch(1, 1)).decode()
    headers = {"Content-Type": "application/json", "X-API-Key": "secret"}
    event = http_event("POST", "/v1/events", binary, isBase64Encoded=True, headers=headers)
    assert ask(event)[0] == 202
    assert ask(http_event("POST", "/v1/events", headers=headers))[0] == 400  # no body
    preflight = environment.handler(http_event("OPTIONS", "/v1/events"), Context())
    assert (preflight["statusCode"], preflight["body"]) == (204, "")


def test_transient_failure_is_retried_within_invocation(
    new_environment: EnvironmentMaker, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    receiver.fail_with(503)
    loki.drop_connection()
    environment = new_environment()
    assert post_views(environment, 0, 10) == 202
    assert count_started_views(receiver) == 10
    assert len(loki.entries()) == 10


@pytest.mark.alone
def test_undelivered_data_is_sent_by_later_invocation(
    new_environment: EnvironmentMaker,
    receiver: RemoteWriteDouble,
    loki: LokiDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment = new_environment()
    receiver.fail_with(503, times=None)
    loki.hang(30, times=None)
    begin = time.monotonic()
    assert post_views(environment, 0, 10, remaining=1500) == 202
    assert time.monotonic() - begin < 1.5
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line.get("destination") for line in lines} == {"prometheus", "loki"}
    receiver.clear_faults()
    loki.clear_faults()
    time.sleep(2)  # frozen
    assert post_views(environment, 10, 10) == 202
    assert count_started_views(receiver) == 20
    assert len(loki.entries()) == 20
    assert receiver.violations == []


def test_hanging_destination_does_not_delay_the_other(
    new_environment: EnvironmentMaker, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    receiver.hang(30, times=None)
    environment = new_environment()
    for first in (0, 10, 20):
        assert post_views(environment, first, 10, remaining=1000) == 202
    assert len(loki.entries()) == 30


@pytest.mark.alone
def test_invocation_without_data_returns_at_once(
    new_environment: EnvironmentMaker,
) -> None:
    environment = new_environment()
    begin = time.monotonic()
    for first in range(20):
        assert post_views(environment, first, 1) == 202
    assert time.monotonic() - begin < 2


def test_handler_runs_as_local_server(
    settings: Mapping[str, str], receiver: RemoteWriteDouble, tmp_path: Path
) -> None:
    batch = tmp_path / "batch.json"
    batch.write_bytes(view_batch(0, 3))
    run = subprocess.run(
        [sys.executable, "-X", "dev", str(EXAMPLES / "aws_lambda.py"), str(batch)],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith('202 {"success":true')
    assert count_started_views(receiver) == 3
