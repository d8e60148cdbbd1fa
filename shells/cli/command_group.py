"""The ``openqoe`` command group: imports a command's module when it is called."""

from importlib import import_module

import click

from openqoe.core.version import VERSION

from ..service.extras import needs

COMMANDS = (
    *("serve", "check", "stats", "cardinality", "demo", "simulate", "replay", "keys", "outbox"),
    *("drain", "erase", "completion", "version"),
)
"""In the order in which people need them."""


def load_command(name: str) -> click.Command:
    """Import a command.

    Raises:
        MissingExtraError: A package that it needs is not installed.
    """
    with needs("shell"):
        command = getattr(import_module(f".{name}_command", __package__), name)
    assert isinstance(command, click.Command)
    return command


class CommandGroup(click.Group):
    """Imports a command when it is called, because a worker keeps its imports in memory."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load_command(cmd_name) if cmd_name in COMMANDS else None


@click.group(
    cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True}
)
@click.version_option(VERSION, prog_name="openqoe")
def main() -> None:
    """OpenQoE worker: QoE events of video players to Prometheus metrics and Loki logs.

    Settings are environment variables, or lines of a file (--env-file). Exit codes: 0, success;
    1, the command ran and something failed; 2, it could not run with these arguments or settings.
    Output is coloured on a terminal, unless NO_COLOR is set.

    \b
    Examples:
      openqoe demo                               try a worker with simulated viewers
      openqoe check --env-file openqoe.env       verify the setup before you start
      openqoe serve --env-file openqoe.env
      eval "$(openqoe completion bash)"
    """
