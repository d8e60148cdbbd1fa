"""``openqoe serve``: runs the worker as a server."""

import sys
from dataclasses import replace
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import click

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config
from openqoe.core.http import select_parser

from ..net.listeners import ListenError, ListenOptions
from ..service import environment as settings
from ..service import logs, os_process
from ..service.extras import needs
from ..service.supervisor import Supervisor, worker_command
from ..storage import StorageError
from .command_options import FILE, env_file_option, load_config
from .terminal_output import fail


@click.command()
@click.option(
    "--shell",
    type=click.Choice(["asyncio", "trio"]),
    default="asyncio",
    help="The runtime to serve on.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=["127.0.0.1"],
    help='Address or name to listen on; repeatable. "*" is every address, IPv4 and IPv6.',
)
@click.option("--port", default=8787, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--unix", type=FILE, help="Listen on a Unix socket instead.")
@click.option("--tls-cert", type=FILE, help="Serve TLS with this certificate chain (PEM).")
@click.option(
    "--tls-key", type=FILE, help="Private key, if it is not in the certificate's file (PEM)."
)
@click.option(
    "--backlog",
    default=2048,
    type=click.IntRange(1),
    help="Connections that may wait to be accepted.",
)
@click.option(
    "--max-connections",
    type=click.IntRange(1),
    help="Most connections open at once (OPENQOE_MAX_CONNECTIONS).",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of processes; OPENQOE_WORKERS, or one, by default.",
)
@click.option(
    "--fd",
    "fds",
    multiple=True,
    type=click.IntRange(0),
    help="Listen on the open socket with this descriptor; repeatable.",
)
@click.option("--parent-fd", type=click.IntRange(0), hidden=True)
@click.option("--counts", nargs=2, type=click.IntRange(0), hidden=True)
@env_file_option("Read settings from this file; the environment has precedence.")
def serve(
    shell: str,
    hosts: tuple[str, ...],
    port: int,
    unix: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    backlog: int,
    max_connections: int | None,
    workers: int | None,
    fds: tuple[int, ...],
    parent_fd: int | None,
    counts: tuple[int, int] | None,
    env_file: Path | None,
) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP.

    With several workers, SIGHUP reads the settings again and replaces the workers one by one.

    \b
    Examples:
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe serve
      openqoe serve --shell trio --host '*' --port 443 --tls-cert cert.pem --tls-key key.pem
      openqoe serve --unix /run/openqoe.sock --env-file /etc/openqoe.env
      openqoe serve --workers 4
    """
    if tls_key is not None and tls_cert is None:
        fail("--tls-key needs --tls-cert")
    connections = None if max_connections is None else str(max_connections)
    config, environment = load_config(env_file, OPENQOE_MAX_CONNECTIONS=connections)
    listen_options = ListenOptions(hosts, port, unix, backlog, tls_cert, tls_key, fds, counts)
    on_serving = None
    if parent_fd is not None:
        on_serving = os_process.ParentProcess(parent_fd).report_serving
    try:
        with needs("fast"):
            select_parser(config.http_parser)
        module: Any = import_module(f"openqoe.shells.{shell}_shell")
        workers = workers or config.workers or 1
        if workers == 1:
            config = replace(config, workers=config.workers or 1)
            module.run(config, environment, listen_options, on_serving)
            return
        options = {
            "--shell": shell,
            "--workers": 1,
            "--backlog": backlog,
            "--tls-cert": tls_cert,
            "--tls-key": tls_key,
            "--max-connections": max_connections,
            "--env-file": env_file,
        }
        given = {name: str(value) for name, value in options.items() if value is not None}
        command = [*worker_command(), "serve", *chain.from_iterable(given.items())]
        sys.exit(
            Supervisor(
                workers,
                command,
                config,
                lambda: Config.from_environment(settings.environment(env_file)),
                listen_options.open(),
                logs.configure(config),
            ).run()
        )
    except (ListenError, SettingsError, StorageError) as error:
        fail(str(error))
