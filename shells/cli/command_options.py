"""Options that several commands share, and the settings that they lead to."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config

from ..service import environment
from ..service.logs import printable
from .terminal_output import fail

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FILE: Final = click.Path(dir_okay=False, path_type=Path)

UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def load_config(env_file: Path | None, **more: str | None) -> tuple[Config, dict[str, str]]:
    """Read the settings, and the variables that they come from. Exits if one is invalid.

    Args:
        env_file: The value of ``--env-file``.
        **more: Variables that options override; None leaves the environment's value.
    """
    try:
        variables = dict(environment.environment(env_file))
        variables.update({name: value for name, value in more.items() if value is not None})
        return Config.from_environment(variables), variables
    except SettingsError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {env_file}: {error.strerror}")


def parse_duration(text: str) -> float | None:
    """A duration such as 90s, -2h or 1.5h in ms; None if the text is none."""
    match = re.fullmatch(r"([+-]?\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    return None if match is None else float(match[1]) * UNITS[match[2]]


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that is a duration of at least 0, in ms."""
    if value is None:
        return None
    ms = parse_duration(value)
    if ms is None or value[0] in "+-":
        message = f"{printable(value)} is not a duration like 90s, 10m or 1.5h"
        raise click.BadParameter(message, context, parameter)
    return ms


def _url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    try:
        address = urlsplit(value)
        is_http = address.scheme in ("http", "https") and bool(address.hostname)
        is_http = is_http and address.port != 0
    except ValueError:  # brackets without an address, a port that is no number
        is_http = False
    if not is_http:
        message = f"{printable(value)} is not an http or https URL"
        raise click.BadParameter(message, context, parameter)
    return value


def _first_key(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """API_KEY may hold several keys of a worker."""
    return value.partition(",")[0].strip()


def env_file_option(help: str = "Read settings from this file.") -> Decorator:
    """The option ``--env-file``."""
    return click.option("--env-file", type=FILE, help=help)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that read a data directory."""
    option = click.option(
        "--data-dir", type=click.Path(file_okay=False), help="The directory (OPENQOE_DATA_DIR)."
    )
    return option(env_file_option()(command))


def worker_options(help: str, *, reads: bool = False) -> Decorator:
    """The options of commands that use a running worker.

    Args:
        help: Of ``--url``.
        reads: Whether the command reads from the worker, instead of sending events to it.
    """
    settings = ("OPENQOE_READ_KEY", "API_KEY") if reads else ("API_KEY",)

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "--api-key",
                envvar=settings,
                default="",
                show_default=False,
                callback=_first_key,
                help=f"The worker's key ({' or '.join(settings)}).",
            ),
            click.option("--url", default="http://127.0.0.1:8787", callback=_url, help=help),
        ):
            command = option(command)
        return command

    return add


SEND_URL: Final = "The worker. With a path, all batches are sent to that path."
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
