"""What the commands have in common: exit codes, settings, options."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import click

from openqoe.core.config import Config
from openqoe.core.settings import SettingsError
from openqoe.shells import settings

EXIT_INCOMPLETE: Final = 1
"""The command ran, and not everything went through."""

EXIT_USAGE: Final = 2
"""The command could not run as it was called."""

FILE: Final = click.Path(dir_okay=False, path_type=Path)


def fail(message: str) -> NoReturn:
    """Say in one line why the command cannot run, and exit."""
    click.echo(f"openqoe: {message}", err=True)
    sys.exit(EXIT_USAGE)


def config_of(env_file: Path | None, **more: str | None) -> tuple[Config, dict[str, str]]:
    """The settings from the environment and a file, with those that options gave; and the
    environment they were read from. Exits if they are wrong.

    Args:
        env_file: What ``--env-file`` names.
        **more: Settings by name; None leaves what the environment says.
    """
    try:
        environment = dict(settings.environment(env_file))
        environment.update({name: value for name, value in more.items() if value is not None})
        return Config.from_environment(environment), environment
    except SettingsError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read {env_file}: {error.strerror}")


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
