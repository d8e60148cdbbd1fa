"""The ``openqoe`` command: one module for each of its commands."""

import click

from openqoe.core.version import VERSION
from openqoe.shells.cli.check import check
from openqoe.shells.cli.completion import completion
from openqoe.shells.cli.demo import demo
from openqoe.shells.cli.drain import drain
from openqoe.shells.cli.outbox import outbox
from openqoe.shells.cli.replay import replay
from openqoe.shells.cli.serve import serve
from openqoe.shells.cli.simulate import simulate
from openqoe.shells.cli.stats import stats
from openqoe.shells.cli.version import version


class InOrder(click.Group):
    """Commands in the order in which people need them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"]})
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


for command in (
    *(serve, check, stats, demo, simulate, replay, outbox, drain, completion, version),
):
    main.add_command(command)
