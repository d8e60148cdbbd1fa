"""``openqoe outbox``: the undelivered data on disk."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ..service.clock import now_ms
from ..storage import SlotContents, Slots, StorageError, inspect_slot
from .command_options import data_options, json_option, load_config
from .terminal_output import say, say_json


@click.command()
@data_options
@json_option
def outbox(data_dir: str | None, env_file: Path | None, as_json: bool) -> None:
    """Show the batches and requests that wait on disk, for which destination, and for how long.

    \b
    Examples:
      openqoe outbox
      openqoe outbox --data-dir /var/lib/openqoe --json
    """
    config, _ = load_config(env_file, OPENQOE_DATA_DIR=data_dir)
    slots = Slots(Path(config.data_dir))
    if as_json:
        say_json({"slots": [_as_json(*slot) for slot in _slots(slots)]})
        return
    if not slots.numbers():
        say("no slots: nothing has been stored here")
    for number, in_use, contents in _slots(slots):
        if isinstance(contents, StorageError):
            say(f"slot {number}: {contents}", err=True)
            continue
        state = "in use" if in_use else "left behind"
        say(f"slot {number} ({state}): {contents.records} batches not flushed yet")
        if contents.pending_views:
            say(f"  {contents.pending_views} views with events that wait for later ones")
        for waiting in contents.pending:
            age = max(0, now_ms() - waiting.oldest) / 1000
            target = f" for {waiting.destination}" if waiting.destination else ""
            say(
                f"  {waiting.kind}{target}: {waiting.payloads} requests, {waiting.items} items, "
                f"{waiting.bytes} bytes, oldest {age:.0f} s"
            )
        for destination, error in contents.last_errors.items():
            say(f"  {destination} last error: {error}")


def _slots(slots: Slots) -> Iterator[tuple[int, bool, SlotContents | StorageError]]:
    """Number of each slot, whether a process owns it, and its contents."""
    for number in slots.numbers():
        try:
            contents = inspect_slot(slots.database_path(number))
            owner = slots.claim_orphan(number)
        except StorageError as error:
            yield number, False, error
            continue
        if owner is not None:
            owner.release()
        yield number, owner is None, contents


def _as_json(number: int, in_use: bool, contents: SlotContents | StorageError) -> dict[str, Any]:
    if isinstance(contents, StorageError):
        return {"slot": number, "error": str(contents)}
    return {
        "slot": number,
        "in_use": in_use,
        "batches_not_flushed": contents.records,
        "views_pending": contents.pending_views,
        "waiting": [asdict(one) for one in contents.pending],
        "last_errors": dict(contents.last_errors),
    }
