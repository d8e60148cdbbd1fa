"""Settings from the environment and an env file; names of instances; the log lines of a start."""

import errno
import os
import re
import socket
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from openqoe.core.api import startup_notices
from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config
from openqoe.core.worker import Worker

from . import logs

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LATER_LINE = re.compile(r"\n\s*(export\s+)?[A-Za-z_][A-Za-z0-9_]*\s*=")


def environment(env_file: Path | None = None) -> Mapping[str, str]:
    """Return the variables of the process, and those of an env file that it does not have.

    Raises:
        OSError: The file cannot be read.
        SettingsError: One of its lines cannot be read. A worker that skipped the line of its
            API key would accept every request.
    """
    return os.environ if env_file is None else {**_read_env_file(env_file), **os.environ}


def _read_env_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise OSError(errno.EILSEQ, "it is not UTF-8") from None
    values: dict[str, str] = {}
    faults: list[str] = []
    # The parser alone: no interpolation, since a password may contain "$".
    for binding in parse_stream(StringIO(text)):
        name = binding.key
        if name is None and not binding.error:
            continue  # a comment or an empty line
        if name is not None and binding.value is None and name in os.environ:
            continue  # a name alone stands for the variable of the process, as with Docker
        if name is None or binding.value is None or not _NAME.fullmatch(name):
            # Without the text, which may be a secret.
            faults.append(f"{_line_of(binding)} of {path} is not NAME=value")
        elif _LATER_LINE.search(binding.value):
            faults.append(f"{_line_of(binding)} of {path} opens a quote and ends without")
        else:
            values[name] = binding.value
    if faults:
        raise SettingsError(tuple(faults))
    return values


def _line_of(binding: Binding) -> str:
    text = binding.original.string  # begins with the empty lines before
    return f"line {binding.original.line + text[: -len(text.lstrip()) or None].count(chr(10))}"


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
