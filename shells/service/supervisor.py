"""Several worker processes of one service: ``openqoe serve --workers N``.

The parent opens the sockets and starts the workers, which accept from the same sockets: a
connection that waits is taken by whoever has time, also while one of them is being replaced.
It serves nothing itself. Each worker is a process of its own from the start, so a reload
brings new settings and, after an upgrade, new code.
"""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config

from ..net.listeners import Listeners
from ..stores.store_selection import store_kind
from . import logs
from .clock import monotonic
from .environment import server_instance

MIN_UPTIME: Final = 10.0
"""Seconds after which a worker counts as having started well."""

MIN_BACKOFF: Final = 1.0
MAX_BACKOFF: Final = 30.0
"""Seconds until a worker that did not start well is started again; twice as long each time."""

GRACE: Final = 5.0
"""Seconds beside OPENQOE_SHUTDOWN_TIMEOUT that a worker has to end."""

EXIT_USAGE: Final = 2
"""The status of a worker that cannot run as it was called."""


@dataclass(slots=True)
class _Process:
    """One of the processes.

    Attributes:
        number: Its place, from 0.
        process: The process; None while it is to be started again.
        channel: The worker says here when it serves, and ends when our end is gone.
        is_serving: Whether it has said so.
        started_at: When it was started.
        restart_at: When it is to be started again.
        failures: How many times in a row it has not started well.
        kill_at: When its time to end is over, once it was told to.
    """

    number: int
    process: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    is_serving: bool = False
    started_at: float = 0.0
    restart_at: float = 0.0
    failures: int = 0
    kill_at: float | None = None


class Supervisor:
    """The parent.

    Args:
        count: How many workers.
        command: The command of a worker, to which descriptors are added.
        config: The settings as of now.
        read_config: Reads them again, for a reload; raises SettingsError or OSError.
        listeners: Where all listen.
        log: Where to tell what happens.
    """

    def __init__(
        self,
        count: int,
        command: list[str],
        config: Config,
        read_config: Callable[[], Config],
        listeners: Listeners,
        log: logs.Log,
    ) -> None:
        self._command = command
        self._config = config
        self._read_config = read_config
        self._listeners = listeners
        self._log = log
        self._workers = [_Process(number) for number in range(count)]
        self._reloading: list[_Process] = []
        self._is_stopping = False
        self._has_served = False
        self._status = 0
        self._wakeup, self._signals = socket.socketpair()

    def run(self) -> int:
        """Run until a signal comes or the workers cannot run; returns the exit status."""
        self._wakeup.setblocking(False)
        self._signals.setblocking(False)
        signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGCHLD: lambda: None,
        }
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._reload
        for expected in handlers:
            signal.signal(expected, lambda *_: None)  # the loop below sees to it
        if store_kind(self._config, several=True) == "memory":
            self._log.warning(
                "workers do not share views: a view that reaches several of them is counted by "
                "each; set OPENQOE_KV_URL, or a durability other than memory"
            )
        self._log.info("starting workers", workers=len(self._workers))
        while not self._is_stopping or any(worker.process for worker in self._workers):
            for worker in self._workers:
                self._supervise_worker(worker)
            channels = [
                worker.channel
                for worker in self._workers
                if worker.channel is not None and not worker.is_serving
            ]
            select.select([self._wakeup, *channels], [], [], self._seconds_until_due())
            for number in self._read_signals():
                if handler := handlers.get(signal.Signals(number)):
                    handler()
        self._listeners.close()
        self._log.info("all workers have stopped")
        return self._status

    def _read_signals(self) -> bytes:
        with suppress(BlockingIOError):
            return self._wakeup.recv(4096)
        return b""

    def _seconds_until_due(self) -> float:
        """Seconds until something is due."""
        now = monotonic()
        times = [worker.restart_at for worker in self._workers if worker.process is None]
        times += [worker.kill_at for worker in self._workers if worker.kill_at is not None]
        return max(0.0, min([*times, now + 60.0]) - now)

    def _supervise_worker(self, worker: _Process) -> None:
        now = monotonic()
        process = worker.process
        if process is not None and process.poll() is not None:
            self._handle_exit(worker, process.returncode, now)
        elif process is not None and not worker.is_serving and _reports_serving(worker.channel):
            worker.is_serving = self._has_served = True
            self._reload_next()
        elif process is not None and worker.kill_at is not None and now >= worker.kill_at:
            self._log.error("worker does not end, killing it", worker=worker.number)
            worker.kill_at = None
            process.kill()
        if worker.process is None and not self._is_stopping and now >= worker.restart_at:
            self._start(worker, now)

    def _start(self, worker: _Process, now: float) -> None:
        fds = [one.fileno() for one in self._listeners.sockets]
        more = [part for fd in fds for part in ("--fd", str(fd))]
        worker.channel, theirs = socket.socketpair()
        worker.channel.setblocking(False)
        with theirs:
            worker.process = subprocess.Popen(
                [*self._command, *more, "--parent-fd", str(theirs.fileno())],
                env=self._environment(worker),
                pass_fds=[*fds, theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        worker.started_at, worker.kill_at, worker.is_serving = now, None, False

    def _environment(self, worker: _Process) -> Mapping[str, str]:
        config, more = self._config, dict[str, str]()
        if config.kv_url == "auto":
            more["OPENQOE_KV_URL"] = store_kind(config, several=True)
        if config.durability == "memory":  # otherwise its slot tells it apart
            name = server_instance(config, self._listeners.port)
            more["OPENQOE_INSTANCE"] = f"{name}-{worker.number}"
        return {**os.environ, **more}

    def _handle_exit(self, worker: _Process, status: int, now: float) -> None:
        was_terminated = worker.kill_at is not None or self._is_stopping
        worker.process, worker.kill_at = None, None
        if worker.channel is not None:
            worker.channel.close()
            worker.channel = None
        if was_terminated:
            worker.restart_at = now
            return
        was_steady = worker.is_serving and now - worker.started_at >= MIN_UPTIME
        if status == EXIT_USAGE and not self._has_served:
            self._status = EXIT_USAGE  # it has said why
            self._stop()
            return
        worker.failures = 0 if was_steady else worker.failures + 1
        wait = min(MIN_BACKOFF * 2 ** (worker.failures - 1), MAX_BACKOFF) if not was_steady else 0.0
        worker.restart_at = now + wait
        self._log.error(
            "worker has died, starting it again",
            worker=worker.number,
            status=status,
            seconds=wait,
        )

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._log.info("stopping workers")
        for worker in self._workers:
            self._terminate_worker(worker)

    def _reload(self) -> None:
        """Replace the workers one by one: the next when the one before serves."""
        try:
            self._config = self._read_config()
        except (SettingsError, OSError) as error:
            self._log.error("workers are not replaced", reason=str(error))
            return
        self._log.info("replacing workers one by one")
        self._reloading = list(self._workers)
        self._reload_next()

    def _reload_next(self) -> None:
        others_serve = all(worker.is_serving for worker in self._workers)
        if self._reloading and others_serve and not self._is_stopping:
            self._terminate_worker(self._reloading.pop(0))

    def _terminate_worker(self, worker: _Process) -> None:
        if worker.process is not None and worker.kill_at is None:
            worker.kill_at = monotonic() + self._config.shutdown_timeout / 1000 + GRACE
            worker.is_serving = False
            worker.process.terminate()


def _reports_serving(channel: socket.socket | None) -> bool:
    """Whether the worker has said that it serves."""
    if channel is None:
        return False
    with suppress(OSError):
        return bool(channel.recv(1))
    return False


def worker_command() -> list[str]:
    """How a worker is called: this command with this interpreter."""
    return [sys.executable, "-m", "openqoe.shells"]
