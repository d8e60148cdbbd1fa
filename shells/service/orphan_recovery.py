"""Slots left behind: a process that died and did not come back left batches and payloads.

Any running process takes such a slot over for as long as it takes to deliver what is in it:
it opens a second worker there, under the name that the slot's series have always had, and
closes it at once, which flushes and delivers. Whatever cannot be delivered then stays.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

from openqoe.core.config.worker_config import Config

from ..storage import Slot, Slots, StorageError, inspect, journal
from . import logs
from .bootstrap import OpenStore, WorkerRuntime, open_slot
from .clock import now_ms

FIRST = 3.0
"""Seconds until the first look: processes that start together take their own slots before it."""

INTERVAL = 30.0
"""Seconds between two looks at the data directory."""

PATIENCE = 30_000
"""ms that a slot must have been still: a process that restarts comes back to its own."""

DELIVERY = 60.0
"""Seconds for which delivery is tried each time."""


def waits() -> Iterator[float]:
    """The seconds to wait before each look."""
    return chain((FIRST,), repeat(INTERVAL))


def left_behind(
    config: Config, log: logs.Log, open_store: OpenStore, *, patience: int = PATIENCE
) -> Iterator[WorkerRuntime]:
    """Opens one by one the slots that nobody has and that hold something to deliver."""
    if config.durability == "memory":
        return
    slots = Slots(Path(config.data_dir))
    for number in slots.numbers():
        slot: Slot | None = None
        try:
            slot = slots.adopt(number)
            if slot is None:
                continue
            if _latest_change(slot.path) > now_ms() - patience or _is_empty(slot.path):
                slot.release()
                continue
            log.info("delivering what another process left", slot=number)
            home = open_slot(config, slot, log, open_store)
        except StorageError as error:
            if slot is not None:
                slot.release()
            log.error("slot left behind cannot be used", slot=number, reason=str(error))
        else:
            yield home


def _is_empty(file: Path) -> bool:
    try:
        return inspect(file).is_empty
    except StorageError:
        return False  # opening it saves what is sound, or says what is the matter


def _latest_change(file: Path) -> int:
    """When a slot was last written to, ms since the epoch; 0 if it never was."""
    files = (file, file.with_name(f"{file.name}-wal"), *journal.files(file.parent))
    return max((int(one.stat().st_mtime * 1000) for one in files if one.exists()), default=0)
