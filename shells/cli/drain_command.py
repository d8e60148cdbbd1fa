"""``openqoe drain``: delivers the data of processes that have ended."""

import sys
from pathlib import Path

import click

from ..service import logs
from ..storage import StorageError
from .command_options import data_options, load_config
from .slot_delivery import deliver_slots
from .terminal_output import EXIT_FAILED, fail, say


@click.command()
@data_options
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=300.0,
    help="Seconds after which delivery is given up.",
)
def drain(data_dir: str | None, env_file: Path | None, timeout: float) -> None:
    """Deliver everything that ended processes left in a data directory, and exit.

    Slots of running processes are skipped. Stalls and pauses of the last seconds, which wait for
    events that may explain them, are counted as they are. Exits with 1 if something could not be
    delivered.

    \b
    Examples:
      openqoe drain --env-file /etc/openqoe.env
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe drain --data-dir ./openqoe-data
    """
    config, _ = load_config(env_file, OPENQOE_DATA_DIR=data_dir)
    if config.durability == "memory":
        fail("OPENQOE_DURABILITY is memory: there is nothing on disk to deliver")
    log = logs.configure(config)
    try:
        undelivered = deliver_slots(config, log, timeout, is_final=True)
    except StorageError as error:
        fail(str(error))
    for destination, items in undelivered.items():
        say(f"still queued for {destination}: {items} items", err=True)
    sys.exit(EXIT_FAILED if undelivered else 0)
