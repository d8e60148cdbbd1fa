"""Settings from the environment and from an env file."""

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

from openqoe.core.api import startup_notices
from openqoe.core.config.worker_config import Config
from openqoe.core.worker import Worker

from . import logs


def environment(env_file: Path | None = None) -> Mapping[str, str]:
    """The variables of the process, laid over those of an env file.

    Raises:
        OSError: The file cannot be read.
    """
    from_file: dict[str, str] = {}
    if env_file is not None:
        try:
            with env_file.open(encoding="utf-8") as stream:
                # A "$" is a character like any other: a password may have one.
                values = dotenv_values(stream=stream, interpolate=False)
        except UnicodeDecodeError:
            raise OSError(errno.EILSEQ, "it is not UTF-8") from None
        from_file = {name: value for name, value in values.items() if value is not None}
    return {**from_file, **os.environ}


def server_instance(config: Config, port: int | None) -> str:
    """The instance of a server of ours: its port is its own on a host, and stays the same."""
    return config.instance or f"{socket.gethostname()}-{port or os.getpid()}"


def slot_instance(config: Config, slot: int) -> str:
    """The instance of whoever owns a slot of the data directory."""
    return f"{config.instance or socket.gethostname()}-{slot}"


def process_instance(config: Config) -> str:
    """The instance of one of several processes of a host that come and go.

    The process id makes it unique: two processes that wrote the same series would each
    undo the other's counts.
    """
    return f"{config.instance or socket.gethostname()}-{os.getpid()}"


def log_start(
    log: logs.Log,
    worker: Worker,
    environment: Mapping[str, str],
    addresses: list[str] | None = None,
    url: str | None = None,
) -> None:
    """Say at start what an operator should know.

    Args:
        log: Where to say it.
        worker: The worker.
        environment: What its settings were read from.
        addresses: Where it listens, if it is we who do.
        url: Where a browser finds it, if that is known.
    """
    for notice in startup_notices.collect_notices(worker.config, environment):
        logs.write_notice(log, notice)
    where: dict[str, object] = {} if addresses is None else {"addresses": addresses}
    if url is not None and worker.config.has_dashboard:
        where["dashboard"] = url
    log.info("serving", **where, instance=worker.instance)
