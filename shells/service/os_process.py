"""What a process of our own (``openqoe serve``) has from its system: descriptors, signals."""

import dataclasses
import os
import signal
import socket
from contextlib import suppress
from threading import Thread

from openqoe.core.config.worker_config import Config

from . import logs

RESERVE = 64
"""Descriptors for what is not a client: listeners, destinations, the event loop, files."""


def raise_limits(config: Config, log: logs.Log) -> Config:
    """Take all the descriptors that there are; no more connections than they allow."""
    limit = _raise_file_limit()
    if limit is None or config.max_connections + RESERVE <= limit:
        return config
    most = max(1, limit - RESERVE)
    log.warning(
        "the limit of open files (ulimit -n) allows fewer connections than the settings",
        max_connections=most,
        open_files=limit,
    )
    return dataclasses.replace(config, max_connections=most)


def _raise_file_limit() -> int | None:
    """Raise the limit of open files as far as it goes; None if there is none."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems name a hard limit that they refuse
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


class ParentProcess:
    """The process that started this one and holds the other end of a socket.

    This process ends cleanly when the parent is gone, however it ended.
    """

    def __init__(self, descriptor: int) -> None:
        self._channel = socket.socket(fileno=descriptor)
        Thread(target=self._wait, name="openqoe-parent", daemon=True).start()

    def report_serving(self) -> None:
        """This process serves from now on."""
        with suppress(OSError):
            self._channel.send(b"s")

    def _wait(self) -> None:
        with suppress(OSError):
            self._channel.recv(1)
        os.kill(os.getpid(), signal.SIGTERM)


def no_parent() -> None:
    """Nobody wants to know that this process serves."""


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that end the process cleanly: SIGHUP, too, unless it is ignored (nohup)."""
    signals = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return tuple(signals)
