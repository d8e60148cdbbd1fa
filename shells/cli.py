"""The ``openqoe`` command."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from openqoe.core.config import Config
from openqoe.core.http import parser_named
from openqoe.core.settings import SettingsError
from openqoe.core.version import VERSION
from openqoe.shells import settings
from openqoe.shells.extras import MissingExtraError, needs
from openqoe.shells.listening import Listening, ListeningError

EXIT_USAGE = 2

FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="openqoe")
def main() -> None:
    """OpenQoE worker: QoE events of video players to Prometheus metrics and Loki logs."""


@main.command()
@click.option(
    "--shell",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    show_default=True,
    help="The runtime to serve on.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=["127.0.0.1"],
    show_default=True,
    help='Address or name to listen on; repeatable. "*" is every address, IPv4 and IPv6.',
)
@click.option("--port", default=8787, show_default=True, type=click.IntRange(0, 65535))
@click.option("--unix", type=FILE, help="Listen on a Unix socket instead.")
@click.option("--tls-cert", type=FILE, help="Serve TLS with this certificate chain (PEM).")
@click.option("--tls-key", type=FILE, help="Its key, if it is not in the same file (PEM).")
@click.option(
    "--backlog",
    default=2048,
    show_default=True,
    type=click.IntRange(1),
    help="Connections that may wait to be accepted.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    help="Connections open at once (OPENQOE_MAX_CONNECTIONS).",
)
@click.option(
    "--env-file",
    type=FILE,
    help="Read settings from this file; the environment takes precedence.",
)
def serve(
    shell: str,
    hosts: tuple[str, ...],
    port: int,
    unix: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    backlog: int,
    max_connections: int | None,
    env_file: Path | None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP.

    \b
    Examples:
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe serve
      openqoe serve --shell trio --host '*' --port 443 --tls-cert cert.pem --tls-key key.pem
      openqoe serve --unix /run/openqoe.sock --env-file /etc/openqoe.env
    """
    if tls_key is not None and tls_cert is None:
        _fail("--tls-key needs --tls-cert")
    try:
        environment = dict(settings.environment(env_file))
        if max_connections is not None:
            environment["OPENQOE_MAX_CONNECTIONS"] = str(max_connections)
        config = Config.from_environment(environment)
    except SettingsError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read {env_file}: {error.strerror}")
    listening = Listening(hosts, port, unix, backlog, tls_cert, tls_key)
    try:
        with needs("fast"):
            parser_named(config.http_parser)
        module: Any = import_module(f"openqoe.shells.{shell}_shell")
        module.run(config, environment, listening)
    except (MissingExtraError, ListeningError) as error:
        _fail(str(error))


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


def _fail(message: str) -> NoReturn:
    click.echo(f"openqoe: {message}", err=True)
    sys.exit(EXIT_USAGE)
