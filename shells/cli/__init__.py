"""The ``openqoe`` command: one module for each of its commands."""

import click

from openqoe.core.version import VERSION
from openqoe.shells.cli.drain import drain
from openqoe.shells.cli.outbox import outbox
from openqoe.shells.cli.replay import replay
from openqoe.shells.cli.serve import serve
from openqoe.shells.cli.simulate import simulate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="openqoe")
def main() -> None:
    """OpenQoE worker: QoE events of video players to Prometheus metrics and Loki logs."""


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(VERSION)


for command in (serve, simulate, replay, outbox, drain):
    main.add_command(command)
