"""The example shells: one over plain sockets, one on anyio."""

import ast
import signal
import time
from collections.abc import Mapping

import pytest

from tests.examples.example_process import EXAMPLES, example_command
from tests.support.event_builders import view_batch
from tests.support.loki_double import LokiDouble
from tests.support.raw_client import (
    RawClient,
    assert_stop_finishes_request,
    encode_chunked,
    encode_get,
    encode_post,
)
from tests.support.remote_write_double import RemoteWriteDouble, count_started_views
from tests.support.services import wait_until
from tests.support.worker_process import Command, WorkerProcess

SHELLS = {
    "select": example_command("select_shell"),
    "anyio-asyncio": example_command("anyio_app"),
    "anyio-trio": example_command("anyio_app", "trio"),
}


@pytest.fixture(params=list(SHELLS.values()), ids=list(SHELLS))
def command(request: pytest.FixtureRequest) -> Command:
    found: Command = request.param
    return found


def assert_clean(worker: WorkerProcess) -> None:
    """Assert that Python reported no error or warning."""
    for word in ("Traceback", "Warning", "Exception"):
        assert word not in worker.log_text(), worker.log_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_metrics_and_logs_arrive_and_signal_stops_after_last_flush(
    command: Command,
    number: signal.Signals,
    settings: Mapping[str, str],
    receiver: RemoteWriteDouble,
    loki: LokiDouble,
) -> None:
    with WorkerProcess(settings, command=command, stop_signal=number) as worker:
        for first in range(0, 50, 10):
            assert worker.post(view_batch(first, 10))[0] == 202
        wait_until(lambda: count_started_views(receiver) == 50, description="the metrics")
        wait_until(lambda: len(loki.entries()) == 50, description="the logs")
        assert worker.post(view_batch(50, 10))[0] == 202
        assert worker.stop(10) == 0
        assert_clean(worker)
    assert count_started_views(receiver) == 60
    assert len(loki.entries()) == 60
    assert receiver.violations == []
    assert loki.rejected == []


def test_split_and_pipelined_requests_are_answered(command: Command) -> None:
    settings = {"OPENQOE_REQUEST_TIMEOUT": "1"}
    with WorkerProcess(settings, command=command) as worker:
        with RawClient(worker.port) as client:  # in pieces, then several at once
            for byte in encode_get("/health"):
                client.send(bytes([byte]))
            assert client.read_response().status == 200
            body = encode_chunked(view_batch(1, 1), size=100)
            head = encode_post(b"", "Transfer-Encoding: chunked", length=False)
            client.send(encode_post(view_batch(0, 1)) + head + body + encode_get("/nowhere"))
            assert [client.read_response().status for _ in range(3)] == [202, 202, 404]
            client.half_close()
            assert client.is_closed()
        with RawClient(worker.port) as client:
            client.send(b"NOT HTTP\r\n\r\n")
            answer = client.read_response()
            assert (answer.status, answer.headers["connection"]) == (400, "close")
        with RawClient(worker.port) as client:
            client.send(encode_post(view_batch(2, 1))[:-10])
            assert client.read_response().status == 408
        for end in (10, 100, 300):
            client = RawClient(worker.port)
            client.send(encode_post(view_batch(3, 1))[:end])
            client.reset()
        assert worker.count_events() == 2
        assert worker.stop(10) == 0
        assert_clean(worker)


def test_failing_destinations_delay_no_request_and_lose_nothing(
    command: Command,
    settings: Mapping[str, str],
    receiver: RemoteWriteDouble,
    loki: LokiDouble,
) -> None:
    with WorkerProcess(settings, command=command) as worker:
        receiver.hang(2)
        receiver.fail_with(500)
        loki.stop()
        for first in range(0, 100, 10):
            begin = time.monotonic()
            assert worker.post(view_batch(first, 10))[0] == 202
            assert time.monotonic() - begin < 2
            time.sleep(0.05)
        loki.start()
        wait_until(lambda: count_started_views(receiver) == 100, description="the metrics")
        wait_until(lambda: len(loki.entries()) == 100, description="the logs")
        assert worker.stop(10) == 0
        assert_clean(worker)
    assert receiver.violations == []


def test_absent_destination_does_not_delay_stop(
    command: Command, settings: Mapping[str, str], receiver: RemoteWriteDouble
) -> None:
    more = {"OPENQOE_SHUTDOWN_TIMEOUT": "1"}
    with WorkerProcess({**settings, **more}, command=command) as worker:
        assert worker.post(view_batch(0, 10))[0] == 202
        receiver.stop()
        assert worker.post(view_batch(10, 10))[0] == 202
        begin = time.monotonic()
        assert worker.stop(10) == 0
        assert time.monotonic() - begin < 9
        assert_clean(worker)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_anyio_shell_finishes_started_request_before_stop(
    backend: str, settings: Mapping[str, str], receiver: RemoteWriteDouble
) -> None:
    with WorkerProcess(settings, command=example_command("anyio_app", backend)) as worker:
        assert_stop_finishes_request(worker, view_batch(0))
        assert worker.process is not None
        assert worker.process.wait(10) == 0
        assert_clean(worker)
    assert count_started_views(receiver) == 1


def test_select_shell_has_documented_number_of_lines() -> None:
    source = (EXAMPLES / "select_shell.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    besides: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            besides.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None:
                besides.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    code = [
        line
        for number, line in enumerate(source.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#") and number not in besides
    ]
    assert len(code) <= 60
