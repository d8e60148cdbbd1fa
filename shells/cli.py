"""The ``openqoe`` command."""

import sys
from pathlib import Path
from typing import NoReturn

import click

from openqoe.core.config import Config
from openqoe.core.settings import SettingsError
from openqoe.core.version import VERSION
from openqoe.shells import settings

EXIT_USAGE = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """OpenQoE worker: QoE events of video players to Prometheus metrics and Loki logs."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--env-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Read settings from this file; the environment takes precedence.",
)
def serve(host: str, port: int, env_file: Path | None) -> None:
    """Serve until SIGTERM or SIGINT.

    \b
    Examples:
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe serve
      openqoe serve --host 0.0.0.0 --port 80 --env-file /etc/openqoe.env
    """
    try:
        environment = settings.environment(env_file)
        config = Config.from_environment(environment)
    except SettingsError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read {env_file}: {error.strerror}")
    try:
        from openqoe.shells import asyncio_shell
    except ImportError as error:
        _fail(f"{error.name} is missing: pip install 'openqoe-worker[asyncio]'")
    try:
        asyncio_shell.run(config, environment, host=host, port=port)
    except OSError as error:
        _fail(f"cannot listen on {host}:{port}: {error.strerror or error}")


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


def _fail(message: str) -> NoReturn:
    click.echo(f"openqoe: {message}", err=True)
    sys.exit(EXIT_USAGE)
