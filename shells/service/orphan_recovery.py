"""Recovery of orphaned slots: batches and payloads of a process that ended and did not come back.

Any running process recovers such a slot. It opens a second worker there, under the instance that
the slot's series have always had, and closes it at once, which flushes and delivers. Whatever
cannot be delivered stays in the slot.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config

from ..storage import Slot, Slots, StorageError, inspect_slot, journal
from . import logs
from .bootstrap import OpenStore, WorkerRuntime, open_slot
from .clock import now_ms

FIRST_SCAN = 3.0
"""Seconds until the first scan: processes that start together claim their own slots before it."""

SCAN_INTERVAL = 30.0
"""Seconds between two scans of the data directory."""

MIN_IDLE = 30_000
"""ms that a slot must have been unchanged: a process that restarts returns to its own."""

DELIVERY_TIMEOUT = 60.0
"""Seconds that delivery of one slot may take per scan."""


def scan_delays() -> Iterator[float]:
    """Yield the seconds to wait before each scan, without end."""
    return chain((FIRST_SCAN,), repeat(SCAN_INTERVAL))


def open_orphaned_slots(
    config: Config,
    log: logs.Log,
    open_store: OpenStore,
    *,
    min_idle: int = MIN_IDLE,
    with_delivered: bool = False,
) -> Iterator[WorkerRuntime]:
    """Open, one by one, the slots that have no owner and hold undelivered data.

    Args:
        config: The settings.
        log: The log.
        open_store: Opens the key-value store shared with other workers.
        min_idle: ms without a change after which a slot counts as orphaned.
        with_delivered: Whether to open those without undelivered data as well.
    """
    if config.durability == "memory":
        return
    slots = Slots(Path(config.data_dir))
    for number in slots.numbers():
        slot: Slot | None = None
        try:
            slot = slots.claim_orphan(number)
            if slot is None:
                continue
            is_recent = _last_modified(slot.path) > now_ms() - min_idle
            if is_recent or (not with_delivered and _is_empty(slot.path)):
                slot.release()
                continue
            log.info("recovering an orphaned slot", slot=number)
            runtime = open_slot(config, slot, log, open_store)
        except (StorageError, SettingsError) as error:
            if slot is not None:
                slot.release()
            log.error("orphaned slot cannot be opened", slot=number, reason=str(error))
        else:
            try:
                yield runtime
            finally:
                runtime.close()  # its worker may have failed to start


def _is_empty(path: Path) -> bool:
    try:
        return inspect_slot(path).is_empty
    except StorageError:
        return False  # opening the slot recovers its sound rows, or logs the fault


def _last_modified(path: Path) -> int:
    """Return the time of a slot's last change, ms since the epoch; 0 if there was none."""
    files = (path, path.with_name(f"{path.name}-wal"), *journal.segment_paths(path.parent))
    return max((int(one.stat().st_mtime * 1000) for one in files if one.exists()), default=0)
