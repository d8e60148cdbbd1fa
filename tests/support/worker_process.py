"""Worker processes, started by the commands that users run and reached over HTTP."""

import http.client
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support import fork_server
from tests.support.services import free_port, wait_until

ROOT = Path(__file__).parents[2]

Command = Callable[[int], Sequence[str]]
"""Returns the command line that serves on a port."""

LOG_TAIL = 8_000
"""Characters of the log that are printed when the process ends."""


def serve(port: int) -> Sequence[str]:
    """The asyncio shell, by `openqoe serve`."""
    return (sys.executable, "-m", "openqoe.shells", "serve", "--port", str(port))


def gunicorn(worker_class: str, *options: str) -> Command:
    """The WSGI shell under gunicorn, with the configuration of deploy/."""

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
    """The Trio shell, by its module."""
    return (sys.executable, "-m", "openqoe.shells.trio_shell", "--port", str(port))


def with_options(command: Command, *options: str) -> Command:
    """A command with further options."""
    return lambda port: (*command(port), *options)


class WorkerProcess:
    """A worker process; a context manager that kills it.

    In a test it prints its log at the end, which pytest shows if the test fails.

    Args:
        settings: Environment variables in addition to those of this process.
        command: Returns the command line.
        stop_signal: The signal that stops it cleanly.
        address: The address for clients.
        is_fresh: Whether a new interpreter runs it, whose memory is all its own.
    """

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        *,
        command: Command = serve,
        stop_signal: signal.Signals = signal.SIGTERM,
        address: str = "127.0.0.1",
        is_fresh: bool = False,
    ) -> None:
        self._start = fork_server.start_fresh if is_fresh else fork_server.start
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
            # Tests run beside each other, and how long a request waits is no worker's fault then.
            "OPENQOE_MAX_WAIT": "0",
            **(settings or {}),
        }
        self._log = Path(tempfile.mkstemp(prefix="openqoe-worker-", suffix=".log")[1])
        self.process: fork_server.Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.kill()
        if "PYTEST_CURRENT_TEST" in os.environ:
            print(f"--- log of {self.url}\n{self.log_text()[-LOG_TAIL:]}")
        self._log.unlink(missing_ok=True)
        shutil.rmtree(self.data, ignore_errors=True)

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = self._start(self._command, self._environment, log)
        wait_until(self._answers, description="the worker to answer")

    def stop(self, timeout: float = 20) -> int:
        """Send the stop signal; return the exit status."""
        assert self.process is not None
        self.process.send_signal(self.stop_signal)
        return self.process.wait(timeout)

    def stop_and_deliver(self, timeout: float = 30) -> bool:
        """Stop the process, then deliver the rest with `openqoe drain`.

        Returns:
            Whether there was a rest: then samples in flight may have been delivered twice.
        """
        assert self.stop(timeout) == 0, self.log_text()[-2000:]
        self.run_command("drain")
        return "kept for the next start" in self.log_text()

    def kill(self) -> None:
        """Send SIGKILL to the process and its children."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def children(self) -> set[int]:
        """The process ids of the processes that this one has started."""
        assert self.process is not None
        found = set()
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                _, _, rest = status.read_text().rpartition(")")
            except OSError:  # it has ended
                continue
            state, parent = rest.split()[:2]
            if int(parent) == self.process.pid and state != "Z":
                found.add(int(status.parent.name))
        return found

    def run_command(self, *arguments: str, status: int = 0) -> str:
        """Run an `openqoe` command with the worker's settings; return its output."""
        command = (sys.executable, "-m", "openqoe.shells", *arguments)
        run = fork_server.run(command, self._environment)
        assert run.returncode == status, run.stdout + run.stderr
        return run.stdout + run.stderr

    def log_records(self) -> list[dict[str, Any]]:
        """The JSON records of the log."""
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
        """Send a request on a new connection: status, headers by lower-case name, body."""
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
        """Post a batch: status and decoded response."""
        status, _, answer = self.request(
            "POST", path, body, {"Content-Type": "application/json", **headers}
        )
        return status, json.loads(answer)

    def read_metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels at /metrics."""
        total = 0.0
        for line in self.request("GET", "/metrics")[2].decode().splitlines():
            series, _, value = line.rpartition(" ")
            matches = series.partition("{")[0] == name
            if matches and all(f'{k}="{v}"' in series for k, v in labels.items()):
                total += float(value)
        return total

    def count_events(self) -> float:
        """The number of accepted events, once all of them are counted.

        A worker with a shared store acknowledges first and counts when the store has replied.
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
