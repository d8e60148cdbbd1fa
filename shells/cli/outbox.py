"""``openqoe outbox``: what waits on disk."""

from pathlib import Path

import click

from openqoe.shells.cli.common import config_of, data_options
from openqoe.shells.clock import now_ms
from openqoe.shells.logs import printable
from openqoe.shells.storage import Slots, StorageError, inspect


@click.command()
@data_options
def outbox(data_dir: str | None, env_file: Path | None) -> None:
    """Show what waits on disk, for whom, and for how long.

    \b
    Examples:
      openqoe outbox
      openqoe outbox --data-dir /var/lib/openqoe
    """
    config, _ = config_of(env_file, OPENQOE_DATA_DIR=data_dir)
    slots = Slots(Path(config.data_dir))
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
