"""``openqoe drain``: delivers what processes left on disk."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from ..service.extras import MissingExtraError, needs
from ..storage import StorageError
from .options import config_of, data_options
from .output import EXIT_FAILED, fail, say


@click.command()
@data_options
@click.option(
    "--timeout",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    help="Seconds to try for.",
)
def drain(data_dir: str | None, env_file: Path | None, timeout: float) -> None:
    """Deliver everything that processes left in a data directory, and exit.

    Slots of running processes are left to them. Exits with 1 if something stays behind.

    \b
    Examples:
      openqoe drain --env-file /etc/openqoe.env
      PROMETHEUS_URL=http://127.0.0.1:9090/api/v1/write openqoe drain --data-dir ./openqoe-data
    """
    config, _ = config_of(env_file, OPENQOE_DATA_DIR=data_dir)
    if config.durability == "memory":
        fail("OPENQOE_DURABILITY is memory: there is nothing on disk to deliver")
    try:
        with needs("asyncio"):
            module: Any = import_module("openqoe.shells.cli.orphan_delivery")
        left = module.drain(config, timeout)
    except (MissingExtraError, StorageError) as error:
        fail(str(error))
    for destination, items in left.items():
        say(f"still waiting for {destination}: {items} items", err=True)
    sys.exit(EXIT_FAILED if left else 0)
