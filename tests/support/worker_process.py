"""A worker as users run it: a process of its own, spoken to over HTTP."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.services import free_port, wait_until

ROOT = Path(__file__).parents[2]

Command = Callable[[int], Sequence[str]]
"""The command line that serves on a port."""

SHOWN = 8_000
"""Characters of its log that are printed at its end."""


def serve(port: int) -> Sequence[str]:
    """The asyncio shell as users start it."""
    return (sys.executable, "-m", "openqoe.shells", "serve", "--port", str(port))


def gunicorn(worker_class: str, *options: str) -> Command:
    """The WSGI shell under gunicorn, with the configuration that we ship."""

    def command(port: int) -> Sequence[str]:
        return (
            *(sys.executable, "-m", "gunicorn", "-c", str(ROOT / "deploy/gunicorn.conf.py")),
            *("--bind", f"127.0.0.1:{port}", "-w", "1", "-k", worker_class, *options),
            "openqoe.shells.wsgi_shell:application",
        )

    return command


def waitress(port: int) -> Sequence[str]:
    """The WSGI shell under waitress, a host without hooks."""
    application = "openqoe.shells.wsgi_shell:application"
    return (sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}", application)


def uvicorn(port: int) -> Sequence[str]:
    """The asyncio shell's ASGI application under uvicorn."""
    application = "openqoe.shells.asyncio_shell:asgi"
    return (sys.executable, "-m", "uvicorn", "--port", str(port), "--no-access-log", application)


def serve_trio(port: int) -> Sequence[str]:
    """The Trio shell as users start it."""
    return (sys.executable, "-m", "openqoe.shells.trio_shell", "--port", str(port))


def with_options(command: Command, *options: str) -> Command:
    """A command with more options."""
    return lambda port: (*command(port), *options)


class WorkerProcess:
    """A running worker; a context manager that kills it.

    In a test it prints its log at its end, which pytest shows if the test fails.

    Args:
        settings: Environment variables beside those of this process.
        command: Makes the command line.
        stop_signal: Ends it cleanly.
        address: Where clients reach it.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        command: Command = serve,
        stop_signal: signal.Signals = signal.SIGTERM,
        address: str = "127.0.0.1",
    ) -> None:
        self.stop_signal = stop_signal
        self.address = address
        self.port = free_port()
        self.url = f"http://{address}:{self.port}"
        self._command = command(self.port)
        self.data = Path(tempfile.mkdtemp(prefix="openqoe-data-"))
        self._environment = {
            **os.environ,
            "OPENQOE_LOG_FORMAT": "json",
            "OPENQOE_DURABILITY": "normal",
            "OPENQOE_DATA_DIR": str(self.data),
            **(settings or {}),
        }
        self._log = Path(tempfile.mkstemp(prefix="openqoe-worker-", suffix=".log")[1])
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.kill()
        if "PYTEST_CURRENT_TEST" in os.environ:
            print(f"--- the log of {self.url}\n{self.log_text()[-SHOWN:]}")
        self._log.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, timeout=20, description="the worker to answer")

    def stop(self, timeout: float = 20) -> int:
        """Ask it to end; returns the exit status."""
        assert self.process is not None
        self.process.send_signal(self.stop_signal)
        return self.process.wait(timeout)

    def stop_and_deliver(self, timeout: float = 30) -> bool:
        """Ask it to end well. What its destinations had no time for is delivered by the command
        for that.

        Returns:
            Whether there was any: then what was on its way may have come twice.
        """
        assert self.stop(timeout) == 0, self.log_text()[-2000:]
        self.run_command("drain")
        return "kept for the next start" in self.log_text()

    def kill(self) -> None:
        """SIGKILL, to the children of a host, too."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def run_command(self, *arguments: str, status: int = 0) -> str:
        """Run a command of ours with the worker's settings; returns all that it printed."""
        run = subprocess.run(
            [sys.executable, "-m", "openqoe.shells", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == status, run.stderr
        return run.stdout + run.stderr

    def log_records(self) -> list[dict[str, Any]]:
        """The lines of its log."""
        lines = self._log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def log_text(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own: status, headers by lower-case name, body."""
        address = urlsplit(self.url)
        assert address.hostname is not None
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return response.status, names, response.read()
        finally:
            connection.close()

    def post(self, body: bytes, path: str = "/v1/events", **headers: str) -> tuple[int, Any]:
        """Post a batch: status and decoded answer."""
        status, _, answer = self.request(
            "POST", path, body, {"Content-Type": "application/json", **headers}
        )
        return status, json.loads(answer)

    def read_metric(self, name: str, **labels: str) -> float:
        """The sum of the samples at /metrics with these labels."""
        total = 0.0
        for line in self.request("GET", "/metrics")[2].decode().splitlines():
            series, _, value = line.rpartition(" ")
            matches = series.partition("{")[0] == name
            if matches and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def count_events(self) -> float:
        """The events accepted so far, once all of them are counted.

        A worker that shares a store answers first, and counts when the store has replied.
        """
        wait_until(
            lambda: self.read_metric("openqoe_worker_kv_batches_waiting") == 0,
            description="the shared store's replies",
        )
        return self.read_metric("openqoe_worker_events_accepted_total")

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the worker ended: {self.log_text()}")
        try:
            return self.request("GET", "/health")[0] == 200
        except OSError:
            time.sleep(0.02)
            return False
