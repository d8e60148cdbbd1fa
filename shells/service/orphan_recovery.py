"""Slots left behind: a process that died and did not come back left batches and payloads.

Any running process takes such a slot over for as long as it takes to deliver what is in it:
it opens a second worker there, under the name that the slot's series have always had, and
closes it at once, which flushes and delivers. Whatever cannot be delivered then stays.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

from openqoe.core.config.worker_config import Config

from ..storage import Slot, Slots, StorageError, inspect_slot, journal
from . import logs
from .bootstrap import OpenStore, WorkerRuntime, open_slot
from .clock import now_ms

FIRST_SCAN = 3.0
"""Seconds until the first look: processes that start together take their own slots before it."""

SCAN_INTERVAL = 30.0
"""Seconds between two looks at the data directory."""

MIN_IDLE = 30_000
"""ms that a slot must have been still: a process that restarts comes back to its own."""

DELIVERY_TIMEOUT = 60.0
"""Seconds for which delivery is tried each time."""


def scan_delays() -> Iterator[float]:
    """The seconds to wait before each look."""
    return chain((FIRST_SCAN,), repeat(SCAN_INTERVAL))


def open_orphaned_slots(
    config: Config, log: logs.Log, open_store: OpenStore, *, min_idle: int = MIN_IDLE
) -> Iterator[WorkerRuntime]:
    """Opens one by one the slots that nobody has and that hold something to deliver."""
    if config.durability == "memory":
        return
    slots = Slots(Path(config.data_dir))
    for number in slots.numbers():
        slot: Slot | None = None
        try:
            slot = slots.claim_orphan(number)
            if slot is None:
                continue
            if _last_modified(slot.path) > now_ms() - min_idle or _is_empty(slot.path):
                slot.release()
                continue
            log.info("delivering what another process left", slot=number)
            runtime = open_slot(config, slot, log, open_store)
        except StorageError as error:
            if slot is not None:
                slot.release()
            log.error("slot left behind cannot be used", slot=number, reason=str(error))
        else:
            yield runtime


def _is_empty(file: Path) -> bool:
    try:
        return inspect_slot(file).is_empty
    except StorageError:
        return False  # opening it saves what is sound, or says what is the matter


def _last_modified(file: Path) -> int:
    """When a slot was last written to, ms since the epoch; 0 if it never was."""
    files = (file, file.with_name(f"{file.name}-wal"), *journal.files(file.parent))
    return max((int(one.stat().st_mtime * 1000) for one in files if one.exists()), default=0)
