"""``openqoe serve``: start, faults at start, signals and end."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from openqoe.core.version import VERSION
from tests.support import fork_server
from tests.support.event_builders import batch, event
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import free_port, wait_until
from tests.support.wire_codec import decode_write_request
from tests.support.worker_process import WorkerProcess

SHELLS = ("asyncio", "trio")
OPENQOE = (sys.executable, "-m", "openqoe.shells")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return fork_server.run((*OPENQOE, *arguments), {**os.environ, **settings}, timeout=20)


def fault(*arguments: str, **settings: str) -> str:
    """The single line of a failed start."""
    ended = run(*arguments, **settings)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    return line


def test_version_is_that_of_the_core() -> None:
    assert VERSION in run("--version").stdout
    assert run("version").stdout.splitlines()[0] == f"openqoe-worker {VERSION}"


def test_unreadable_file_is_reported_in_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "env"
    binary.write_bytes(b"\xff")
    missing = tmp_path / "missing"
    assert fault("serve", "--env-file", str(missing)).startswith(f"openqoe: cannot read {missing}")
    assert fault("serve", "--env-file", str(binary)).startswith(f"openqoe: cannot read {binary}")
    assert fault("serve", "--tls-cert", str(missing)).startswith(f"openqoe: --tls-cert {missing}")


@pytest.mark.parametrize("command", ["serve", "check", "outbox", "drain", "demo"])
def test_unreadable_line_of_env_file_stops_the_command(tmp_path: Path, command: str) -> None:
    file = tmp_path / "env"
    file.write_text("API_KEY: hush\n")
    ended = run(command, "--env-file", str(file))
    assert ended.returncode == 2
    assert f"line 1 of {file} is not NAME=value" in ended.stderr
    assert "hush" not in ended.stderr


def test_os_error_while_serving_is_not_reported_as_listening_error() -> None:
    code = """
from openqoe.shells import asyncio_shell
from openqoe.shells.cli import command_group
def run(*_):
    raise OSError("something else")
asyncio_shell.run = run
command_group.main(["serve"])
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert "cannot listen" not in ended.stderr
    assert "OSError: something else" in ended.stderr


def serving(
    shell: str,
    receiver: RemoteWriteDouble,
    *,
    prefix: Sequence[str] = (),
    suffix: str = "",
    **more: str,
) -> WorkerProcess:
    def command(port: int) -> Sequence[str]:
        line = f"exec {' '.join(OPENQOE)} serve --shell {shell} --port {port} {suffix}"
        return (*prefix, "sh", "-c", line)

    settings = {"PROMETHEUS_URL": receiver.write_url, "OPENQOE_FLUSH_INTERVAL": "3600", **more}
    return WorkerProcess(settings, command=command)


def post_one(worker: WorkerProcess) -> None:
    now = int(time.time() * 1000)
    assert worker.post(batch(event("viewstart", at=now)))[0] == 202


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_worker_serves_when_its_log_cannot_be_written(shell: str, stderr: str) -> None:
    with RemoteWriteDouble() as receiver:
        with serving(shell, receiver, suffix=stderr) as worker:
            post_one(worker)
            assert worker.stop() == 0
        assert receiver.total("openqoe_views_loaded_total") == 1


@pytest.mark.parametrize("shell", SHELLS)
def test_worker_serves_when_its_log_has_no_reader(shell: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    port = free_port()
    with RemoteWriteDouble() as receiver:
        process = subprocess.Popen(
            [*OPENQOE, "serve", "--shell", shell, "--port", str(port)],
            env={
                **os.environ,
                "PROMETHEUS_URL": receiver.write_url,
                "OPENQOE_FLUSH_INTERVAL": "0.2",
            },
            stderr=writer,
        )
        os.close(writer)
        try:
            wait_until(lambda: receiver.request_count >= 2, description="two flushes")
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("shell", SHELLS)
def test_sighup_ends_the_worker_after_a_flush(shell: str) -> None:
    with RemoteWriteDouble() as receiver:
        with serving(shell, receiver) as worker:
            post_one(worker)
            worker.stop_signal = signal.SIGHUP
            assert worker.stop() == 0
        assert receiver.total("openqoe_views_loaded_total") == 1


def test_sighup_under_nohup_is_ignored() -> None:
    with RemoteWriteDouble() as receiver, serving("asyncio", receiver, prefix=("nohup",)) as worker:
        assert worker.process is not None
        worker.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        post_one(worker)
        assert worker.stop() == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_two_workers_of_a_host_count_as_one_and_write_two_series(
    shell: str, tmp_path: Path
) -> None:
    shared = {"OPENQOE_DATA_DIR": str(tmp_path / "data")}
    with RemoteWriteDouble() as receiver:
        with serving(shell, receiver, **shared) as one, serving(shell, receiver, **shared) as two:
            for worker in (one, two):
                post_one(worker)
            for worker in (two, one):
                worker.stop()
        assert receiver.total("openqoe_views_loaded_total") == 1
        assert receiver.total("openqoe_events_total") == 2
        instances = {
            dict(series.labels)["instance"]
            for request in receiver.requests
            for series in decode_write_request(request.body).series
        }
    assert instances == {f"{socket.gethostname()}-{slot}" for slot in (0, 1)}
