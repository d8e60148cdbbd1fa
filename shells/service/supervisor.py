"""The supervisor of several worker processes: ``openqoe serve --workers N``.

The supervisor opens the sockets and starts the workers, which all accept from them: a waiting
connection goes to a worker that is free and has few, also while another is replaced. It serves
nothing itself. Each worker is a new process, not a fork, so a reload brings new settings and,
after an upgrade, new code.
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

from ..net.connection_counts import ABSENT, ConnectionCounts
from ..net.listeners import Listeners
from ..stores.store_selection import uses_store
from . import logs
from .clock import monotonic
from .environment import server_instance

MIN_UPTIME: Final = 10.0
"""Seconds after which a worker that serves counts as started well."""

MIN_BACKOFF: Final = 1.0
MAX_BACKOFF: Final = 30.0
"""Seconds before a worker that did not start well is restarted; doubled each time."""

GRACE: Final = 5.0
"""Seconds beside OPENQOE_SHUTDOWN_TIMEOUT before a terminated worker is killed."""

EXIT_USAGE: Final = 2
"""Exit status of a worker whose command or settings are wrong."""


@dataclass(slots=True)
class _Process:
    """One of the workers.

    Attributes:
        number: Its place, from 0.
        popen: The process; None while it waits for its restart.
        channel: The worker reports here that it serves, and ends when our end is gone.
        is_serving: Whether it has reported so.
        started_at: Time of its start.
        restart_at: Time of its next start.
        backoff: Seconds between its last exit and the restart.
        kill_at: Time at which it is killed, once it has been terminated.
    """

    number: int
    popen: subprocess.Popen[bytes] | None = None
    channel: socket.socket | None = None
    is_serving: bool = False
    started_at: float = 0.0
    restart_at: float = 0.0
    backoff: float = 0.0
    kill_at: float | None = None


class Supervisor:
    """Starts, restarts, replaces and stops the workers.

    Args:
        count: Number of workers.
        command: Command of a worker, to which descriptors are added.
        config: The current settings.
        read_config: Reads the settings again, for a reload; raises SettingsError or OSError.
        listeners: The sockets.
        log: The log.
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
        self._counts = ConnectionCounts.create(count)
        self._log = log
        self._workers = [_Process(number) for number in range(count)]
        self._reloading: list[_Process] = []
        self._is_stopping = False
        self._has_served = False
        self._status = 0

    def run(self) -> int:
        """Run until a signal stops it or the workers cannot run; return the exit status."""
        wakeup, signals = socket.socketpair()
        wakeup.setblocking(False)
        signals.setblocking(False)
        signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)
        handlers: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self._stop,
            signal.SIGINT: self._stop,
            signal.SIGCHLD: lambda: None,
        }
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._reload
        for expected in handlers:
            signal.signal(expected, lambda *_: None)  # the loop below calls the handler
        if self._config.durability == "memory" and not uses_store(self._config):
            self._log.warning(
                "workers do not share views: a view that reaches several of them is counted by "
                "each; set OPENQOE_KV_URL, or a durability other than memory"
            )
        self._log.info("starting workers", workers=len(self._workers))
        while not self._is_stopping or any(worker.popen for worker in self._workers):
            for worker in self._workers:
                self._supervise(worker)
            channels = [one.channel for one in self._workers if one.channel and not one.is_serving]
            select.select([wakeup, *channels], [], [], self._seconds_until_due())
            for number in _receive(wakeup, 4096):
                if handler := handlers.get(number):
                    handler()
        self._listeners.close()
        self._counts.close()
        signal.set_wakeup_fd(-1)
        wakeup.close()
        signals.close()
        self._log.info("all workers have stopped")
        return self._status

    def _seconds_until_due(self) -> float:
        now = monotonic()
        times = [worker.restart_at for worker in self._workers if worker.popen is None]
        times += [worker.kill_at for worker in self._workers if worker.kill_at is not None]
        return max(0.0, min([*times, now + 60.0]) - now)

    def _supervise(self, worker: _Process) -> None:
        now = monotonic()
        if (process := worker.popen) is not None:
            if process.poll() is not None:
                self._handle_exit(worker, process.returncode, now)
            elif not worker.is_serving and worker.channel and _receive(worker.channel, 1):
                worker.is_serving = self._has_served = True
                self._replace_next()
            elif worker.kill_at is not None and now >= worker.kill_at:
                self._log.error("worker does not stop; killing it", worker=worker.number)
                worker.kill_at = None
                process.kill()
        if worker.popen is None and not self._is_stopping and now >= worker.restart_at:
            self._start(worker, now)

    def _start(self, worker: _Process, now: float) -> None:
        fds = [one.fileno() for one in self._listeners.sockets]
        options = [part for fd in fds for part in ("--fd", str(fd))]
        counts = self._counts.fileno()
        options += ["--counts", str(counts), str(worker.number)]
        worker.channel, theirs = socket.socketpair()
        worker.channel.setblocking(False)
        with theirs:
            worker.popen = subprocess.Popen(
                [*self._command, *options, "--parent-fd", str(theirs.fileno())],
                env=self._environment(worker),
                pass_fds=[*fds, counts, theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        worker.started_at, worker.kill_at, worker.is_serving = now, None, False

    def _environment(self, worker: _Process) -> Mapping[str, str]:
        config, added = self._config, {"OPENQOE_WORKERS": str(len(self._workers))}
        if config.durability == "memory":  # a durable worker is named by its slot
            name = server_instance(config, self._listeners.port)
            added["OPENQOE_INSTANCE"] = f"{name}-{worker.number}"
        return {**os.environ, **added}

    def _handle_exit(self, worker: _Process, status: int, now: float) -> None:
        was_terminated = worker.kill_at is not None or self._is_stopping
        worker.popen, worker.kill_at, worker.restart_at = None, None, now
        self._counts.set(worker.number, ABSENT)
        if worker.channel is not None:
            worker.channel.close()
            worker.channel = None
        if was_terminated:
            return
        if status == EXIT_USAGE and not self._has_served:
            self._status = EXIT_USAGE  # the worker has reported why
            self._stop()
            return
        if worker.is_serving and now - worker.started_at >= MIN_UPTIME:
            worker.backoff = 0.0
        else:
            worker.backoff = min(max(MIN_BACKOFF, 2 * worker.backoff), MAX_BACKOFF)
        worker.restart_at = now + worker.backoff
        self._log.error(
            "worker died; restarting it",
            worker=worker.number,
            status=status,
            seconds=worker.backoff,
        )

    def _stop(self) -> None:
        if not self._is_stopping:
            self._is_stopping = True
            self._log.info("stopping workers")
        for worker in self._workers:
            self._terminate(worker)

    def _reload(self) -> None:
        """Replace the workers one by one, each when the one before serves."""
        try:
            config = self._read_config()
            if uses_store(config) != uses_store(self._config):
                # Old and new workers run side by side, and would not share views.
                raise SettingsError(("OPENQOE_KV_URL: its use begins and ends with a restart",))
        except (SettingsError, OSError) as error:
            self._log.error("reload failed; workers keep their settings", reason=str(error))
            return
        self._config = config
        self._log.info("replacing workers one by one")
        self._reloading = list(self._workers)
        self._replace_next()

    def _replace_next(self) -> None:
        all_serve = all(worker.is_serving for worker in self._workers)
        if self._reloading and all_serve and not self._is_stopping:
            self._terminate(self._reloading.pop(0))

    def _terminate(self, worker: _Process) -> None:
        if worker.popen is not None and worker.kill_at is None:
            worker.kill_at = monotonic() + self._config.shutdown_timeout / 1000 + GRACE
            worker.is_serving = False
            worker.popen.terminate()


def _receive(channel: socket.socket, size: int) -> bytes:
    """Return the bytes that have arrived; none if the other end is broken."""
    with suppress(OSError):
        return channel.recv(size)
    return b""


def worker_command() -> list[str]:
    """Return the command of a worker: this command with this interpreter."""
    return [sys.executable, "-m", "openqoe.shells"]
