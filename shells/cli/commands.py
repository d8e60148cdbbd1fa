"""The ``openqoe`` command group: imports a command's module when it is called."""

from importlib import import_module

import click

from openqoe.core.version import VERSION

from ..service.extras import needs

COMMANDS = (
    *("serve", "check", "stats", "demo", "simulate", "replay", "outbox", "drain", "completion"),
    "version",
)
"""In the order in which people need them."""


def command(name: str) -> click.Command:
    """One of them.

    Raises:
        MissingExtraError: A package that it needs is not installed.
    """
    with needs("asyncio"):
        found = getattr(import_module(f"openqoe.shells.cli.{name}"), name)
    assert isinstance(found, click.Command)
    return found


class Commands(click.Group):
    """The commands, each imported when it is asked for: a worker keeps what it has imported."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return command(cmd_name) if cmd_name in COMMANDS else None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="openqoe")
def main() -> None:
    """OpenQoE worker: QoE events of video players to Prometheus metrics and Loki logs.

    Settings are environment variables, or lines of a file (--env-file). Exit codes: 0, it went
    well; 1, something did not; 2, it cannot run as it was called, or with these settings. Colours
    only on a terminal, and not where NO_COLOR is set.

    \b
    Examples:
      openqoe demo                               a worker with simulated viewers, to look at
      openqoe check --env-file openqoe.env       before you begin
      openqoe serve --env-file openqoe.env
      eval "$(openqoe completion bash)"
    """
