"""Recovery of orphaned slots: batches and payloads of a process that ended and did not come back.

Any running process recovers such a slot. It opens a second worker there, under the instance that
the slot's series have always had, and closes it at once, which flushes and delivers. Whatever
cannot be delivered stays in the slot.

A slot that owns views is adopted instead: other workers forward batches to it, so its second worker
goes on running until the process ends. A process that comes back later finds the slot owned, and
takes another one.
"""

from collections.abc import Iterator
from pathlib import Path

from openqoe.core.config.declaration import SettingsError
from openqoe.core.config.worker_config import Config

from ..storage import Slot, Slots, StorageError, inspect_slot, journal
from ..storage.partition_file import read_slot_count
from ..stores.store_selection import uses_store
from . import logs
from .bootstrap import WorkerRuntime, open_slot
from .clock import now_ms

SCAN_INTERVAL = 3.0
"""Seconds between two scans of the data directory, and until the first one: processes that start
together claim their own slots before it."""

MIN_IDLE = 30_000
"""ms that a slot must have been unchanged: a process that restarts returns to its own."""

MIN_SCANS = 2
"""Scans in a row that must find a slot without an owner before it is adopted, for the same reason.
Batches wait for it meanwhile."""

DELIVERY_TIMEOUT = 60.0
"""Seconds that delivery of one slot may take per scan."""


class OrphanScanner:
    """Finds the orphaned slots that a running process recovers or adopts.

    Args:
        config: The settings.
        log: The log.
        own: The slot of the process; None if it has none.
    """

    def __init__(self, config: Config, log: logs.Log, own: Slot | None) -> None:
        self._config = config
        self._log = log
        self._is_spare = own is not None and own.number >= _slot_count(config)
        self._scans: dict[int, int] = {}  # in a row that found the slot without an owner

    def open_slots(self) -> Iterator[WorkerRuntime]:
        """Open orphaned slots, one by one. At most one of them is to be adopted.

        The caller closes each, except one that it adopts.
        """
        if self._config.durability == "memory":
            return
        count = _slot_count(self._config)
        is_adopting = False
        numbers = {*range(count), *Slots(Path(self._config.data_dir)).numbers()}
        for number in sorted(numbers):
            if number >= count:
                yield from _open_orphan(self._config, self._log, number, MIN_IDLE, faults=[])
            elif not is_adopting:
                for runtime in self._open_owner(number):
                    is_adopting = True
                    yield runtime

    def _open_owner(self, number: int) -> Iterator[WorkerRuntime]:
        slot = Slots(Path(self._config.data_dir)).claim_orphan(number, create=True)
        if slot is None:
            self._scans.pop(number, None)
            return
        self._scans[number] = scans = self._scans.get(number, 0) + 1
        if scans < (1 if self._is_spare else MIN_SCANS):
            slot.release()
            return
        self._scans.pop(number)
        self._is_spare = False
        self._log.info("adopting a slot without an owner", slot=number)
        yield from _open(self._config, self._log, slot, [])


def open_orphaned_slots(
    config: Config,
    log: logs.Log,
    *,
    min_idle: int = 0,
    with_delivered: bool = False,
    faults: list[str] | None = None,
) -> Iterator[WorkerRuntime]:
    """Open, one by one, the slots that have no owner and hold undelivered data; close each.

    One that cannot be opened is logged, and does not keep the others from it.

    Args:
        config: The settings.
        log: The log.
        min_idle: ms for which a slot must have been unchanged.
        with_delivered: Whether to open those without undelivered data as well.
        faults: Receives a line for each slot that cannot be opened.
    """
    faults = [] if faults is None else faults
    for number in Slots(Path(config.data_dir)).numbers():
        yield from _open_orphan(
            config, log, number, min_idle, with_delivered=with_delivered, faults=faults
        )


def _open_orphan(
    config: Config,
    log: logs.Log,
    number: int,
    min_idle: int,
    *,
    with_delivered: bool = False,
    faults: list[str],
) -> Iterator[WorkerRuntime]:
    slot = None
    try:
        slot = Slots(Path(config.data_dir)).claim_orphan(number)
        if slot is None:
            return
        is_recent = _last_modified(slot.path) > now_ms() - min_idle
        if is_recent or (not with_delivered and _is_empty(slot.path)):
            slot.release()
            return
        log.info("recovering an orphaned slot", slot=number)
    except StorageError as error:
        if slot is not None:
            slot.release()
        _report_fault(log, number, error, faults)
        return
    yield from _open(config, log, slot, faults)


def _open(config: Config, log: logs.Log, slot: Slot, faults: list[str]) -> Iterator[WorkerRuntime]:
    """Open the worker of a slot; closes it if the caller fails."""
    try:
        runtime = open_slot(config, slot, log)
    except (StorageError, SettingsError) as error:
        slot.release()
        _report_fault(log, slot.number, error, faults)
        return
    try:
        yield runtime
    except BaseException:
        runtime.close()  # its worker may have failed to start
        raise


def _report_fault(log: logs.Log, number: int, error: Exception, faults: list[str]) -> None:
    log.error("orphaned slot cannot be opened", slot=number, reason=str(error))
    faults.append(f"slot {number} cannot be opened: {error}")


def _slot_count(config: Config) -> int:
    """Return the number of slots that own views; 0 if views are not divided."""
    if config.durability == "memory" or uses_store(config):
        return 0
    return read_slot_count(Path(config.data_dir)) or 0


def _is_empty(path: Path) -> bool:
    try:
        return inspect_slot(path).is_empty
    except StorageError:
        return False  # opening the slot recovers its sound rows, or logs the fault


def _last_modified(path: Path) -> int:
    """Return the time of a slot's last change, ms since the epoch; 0 if there was none."""
    files = (path, path.with_name(f"{path.name}-wal"), *journal.segment_paths(path.parent))
    return max((int(one.stat().st_mtime * 1000) for one in files if one.exists()), default=0)
