"""The ``openqoe`` command."""

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click

from openqoe.core.config import Config
from openqoe.core.http import parser_named
from openqoe.core.settings import SettingsError
from openqoe.core.version import VERSION
from openqoe.shells import settings
from openqoe.shells.clock import now_ms
from openqoe.shells.extras import MissingExtraError, needs
from openqoe.shells.listening import Listening, ListeningError
from openqoe.shells.logs import printable
from openqoe.shells.storage import Slots, StorageError, inspect

EXIT_USAGE = 2

EXIT_LEFT = 1

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
    except (MissingExtraError, ListeningError, StorageError) as error:
        _fail(str(error))


def _data_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that look at a data directory."""
    directory = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option("--env-file", type=FILE, help="Read settings from this file."),
        click.option("--data-dir", type=directory, help="The directory (OPENQOE_DATA_DIR)."),
    ):
        command = option(command)
    return command


@main.command()
@_data_options
def outbox(data_dir: Path | None, env_file: Path | None) -> None:
    """Show what waits on disk, for whom, and for how long.

    \b
    Examples:
      openqoe outbox
      openqoe outbox --data-dir /var/lib/openqoe
    """
    slots = Slots(Path(_config(data_dir, env_file).data_dir))
    numbers = slots.numbers()
    if not numbers:
        click.echo("no slots: nothing was ever stored here")
    for number in numbers:
        try:
            contents = inspect(slots.file(number))
        except StorageError as error:
            click.echo(f"slot {number}: {error}", err=True)
            continue
        owner = slots.adopt(number)
        state = "in use" if owner is None else "left behind"
        if owner is not None:
            owner.release()
        click.echo(f"slot {number} ({state}): {contents.records} batches not flushed yet")
        for waiting in contents.waiting:
            age = max(0, now_ms() - waiting.oldest) / 1000
            click.echo(
                f"  {waiting.kind}: {waiting.payloads} requests, {waiting.items} items, "
                f"{waiting.bytes} bytes, oldest {age:.0f} s"
            )
        for destination, said in contents.last_errors.items():
            click.echo(f"  {destination} said last: {printable(said)}")


@main.command()
@_data_options
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    help="Seconds to try for.",
)
def drain(data_dir: Path | None, env_file: Path | None, timeout: float) -> None:
    """Deliver everything that processes left in a data directory, and exit.

    Slots of running processes are left to them. Exits with 1 if something stays behind.

    \b
    Examples:
      openqoe drain --env-file /etc/openqoe.env
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe drain --data-dir ./openqoe-data
    """
    config = _config(data_dir, env_file)
    if config.durability == "memory":
        _fail("OPENQOE_DURABILITY is memory: there is nothing on disk to deliver")
    try:
        with needs("asyncio"):
            module: Any = import_module("openqoe.shells.asyncio_shell.drain")
        left = module.drain(config, timeout)
    except (MissingExtraError, StorageError) as error:
        _fail(str(error))
    for destination, items in left.items():
        click.echo(f"still waiting for {destination}: {items} items", err=True)
    sys.exit(EXIT_LEFT if left else 0)


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


def _config(data_dir: Path | None, env_file: Path | None) -> Config:
    try:
        environment = dict(settings.environment(env_file))
        if data_dir is not None:
            environment["OPENQOE_DATA_DIR"] = str(data_dir)
        return Config.from_environment(environment)
    except SettingsError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot read {env_file}: {error.strerror}")


def _fail(message: str) -> NoReturn:
    click.echo(f"openqoe: {message}", err=True)
    sys.exit(EXIT_USAGE)
