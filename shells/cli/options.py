"""What the commands have in common: settings, options."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config

from ..service import environment
from ..service.logs import printable
from .output import fail

FILE: Final = click.Path(dir_okay=False, path_type=Path)


def config_of(env_file: Path | None, **more: str | None) -> tuple[Config, dict[str, str]]:
    """The settings from the environment and a file, with those that options gave; and the
    environment they were read from. Exits if they are wrong.

    Args:
        env_file: What ``--env-file`` names.
        **more: Settings by name; None leaves what the environment says.
    """
    try:
        variables = dict(environment.environment(env_file))
        variables.update({name: value for name, value in more.items() if value is not None})
        return Config.from_environment(variables), variables
    except SettingsError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {env_file}: {error.strerror}")


UNITS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Reads an option's duration, such as 90s, 10m or 1.5h; the value is in ms."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
    if match is None:
        message = f"{printable(value)} is not a duration like 90s, 10m or 1.5h"
        raise click.BadParameter(message, context, parameter)
    return float(match[1]) * UNITS[match[2]]


def is_http(url: str) -> bool:
    """Whether a text is an http or https URL with a host."""
    try:
        address = urlsplit(url)
    except ValueError:  # brackets without an address
        return False
    return address.scheme in ("http", "https") and bool(address.hostname)


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that look at a data directory."""
    for option in (
        click.option("--env-file", type=FILE, help="Read settings from this file."),
        click.option(
            "--data-dir", type=click.Path(file_okay=False), help="The directory (OPENQOE_DATA_DIR)."
        ),
    ):
        command = option(command)
    return command
