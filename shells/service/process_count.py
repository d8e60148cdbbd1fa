"""The number of worker processes that the host of an application was asked for."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence

_HOSTS = ("gunicorn", "uvicorn", "hypercorn", "granian")
_OPTIONS = ("-w", "--workers")
_VARIABLE = "WEB_CONCURRENCY"
"""The variable from which gunicorn and uvicorn read the number."""


def find_process_count(
    configured: int,
    arguments: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Return how many worker processes there are going to be.

    Args:
        configured: OPENQOE_WORKERS; 0 for what the host was started with.
        arguments: The command line of the host (gunicorn, uvicorn, hypercorn, granian).
        environment: The variables of the process.
    """
    environment = os.environ if environment is None else environment
    arguments = sys.argv if arguments is None else arguments
    return (
        configured
        or (_option(arguments) if _is_host(arguments) else 0)
        or _option(_split(environment.get("GUNICORN_CMD_ARGS", "")))
        or _number(environment.get(_VARIABLE, ""))
        or 1
    )


def _option(arguments: Sequence[str]) -> int:
    """Return the number after the last option for workers; 0 without one."""
    found = 0
    for place, argument in enumerate(arguments):
        name, has_value, value = argument.partition("=")
        if name in _OPTIONS:
            following = arguments[place + 1] if place + 1 < len(arguments) else ""
            found = _number(value if has_value else following) or found
        elif argument.startswith("-w") and argument[2:].isdecimal():
            found = _number(argument[2:])
    return found


def _is_host(arguments: Sequence[str]) -> bool:
    return bool(arguments) and any(name in arguments[0] for name in _HOSTS)


def _split(text: str) -> Sequence[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return ()


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
