"""The process's side of the operating system: file limit, parent, signals (``openqoe serve``)."""

import dataclasses
import os
import signal
import socket
from contextlib import suppress
from threading import Thread

from openqoe.core.config.worker_config import Config

from . import logs

RESERVE = 64
"""Descriptors that are not clients': listeners, destinations, the event loop, files."""


def raise_limits(config: Config, log: logs.Log) -> Config:
    """Raise the limit of open files; return the settings with the connections that it allows."""
    limit = _raise_file_limit()
    if limit is None or config.max_connections + RESERVE <= limit:
        return config
    most = max(1, limit - RESERVE)
    log.warning(
        "max_connections was reduced to fit the limit of open files (ulimit -n)",
        max_connections=most,
        open_files=limit,
    )
    return dataclasses.replace(config, max_connections=most)


def _raise_file_limit() -> int | None:
    """Raise the limit of open files to its maximum; None if there is none."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems report a hard limit that they refuse
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


class ParentProcess:
    """The supervisor of this process, at the other end of a socket.

    When the parent is gone, however it ended, this process gets SIGTERM.
    """

    def __init__(self, descriptor: int) -> None:
        self._channel = socket.socket(fileno=descriptor)
        Thread(target=self._wait_for_end, name="openqoe-parent", daemon=True).start()

    def report_serving(self) -> None:
        """Report that this process serves from now on."""
        with suppress(OSError):
            self._channel.send(b"s")

    def _wait_for_end(self) -> None:
        with suppress(OSError):
            self._channel.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end the process cleanly; SIGHUP too, unless it is ignored (nohup)."""
    signals = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return tuple(signals)
