"""Settings from the environment and an env file; names of instances; the log lines of a start."""

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
    """Return the variables of the process, and those of an env file that it does not have.

    Raises:
        OSError: The file cannot be read.
    """
    from_file: dict[str, str] = {}
    if env_file is not None:
        try:
            with env_file.open(encoding="utf-8") as stream:
                # No interpolation: a password may contain "$".
                values = dotenv_values(stream=stream, interpolate=False)
        except UnicodeDecodeError:
            raise OSError(errno.EILSEQ, "it is not UTF-8") from None
        from_file = {name: value for name, value in values.items() if value is not None}
    return {**from_file, **os.environ}


def server_instance(config: Config, port: int | None) -> str:
    """Return the instance of a server of ours: its port is unique on a host and does not change."""
    return config.instance or f"{socket.gethostname()}-{port or os.getpid()}"


def slot_instance(config: Config, slot: int) -> str:
    """Return the instance of the owner of a slot."""
    return f"{config.instance or socket.gethostname()}-{slot}"


def process_instance(config: Config) -> str:
    """Return the instance of one of a host's processes that come and go.

    The process id makes it unique: two processes that wrote the same series would overwrite each
    other's counts.
    """
    return f"{config.instance or socket.gethostname()}-{os.getpid()}"


def log_start(
    log: logs.Log,
    worker: Worker,
    environment: Mapping[str, str],
    addresses: list[str] | None = None,
    url: str | None = None,
) -> None:
    """Log the notices of a start and that the worker serves.

    Args:
        log: The log.
        worker: The worker.
        environment: The source of its settings.
        addresses: The addresses it listens on; None under another server.
        url: Its URL for a browser, if that is known.
    """
    for notice in startup_notices.collect_notices(worker.config, environment):
        logs.write_notice(log, notice)
    where: dict[str, object] = {} if addresses is None else {"addresses": addresses}
    if url is not None and worker.config.has_dashboard:
        where["dashboard"] = url
    log.info("serving", **where, instance=worker.instance)
