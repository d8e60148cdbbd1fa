"""The slot of a process, and the number of slots that divide the views of its host.

The number is stored in the data directory. It changes when a process finds that no other one runs:
then it moves the views (``repartition``). Meanwhile other processes that start have to wait.

A process that finds all of these slots owned takes another one. There it owns no views and forwards
all batches. This happens during a reload, when new processes start before the old ones end, so it
waits a moment first. A slot that stays without an owner is adopted (``orphan_recovery``).

Processes with a shared store divide no views. The first that starts in a data directory whose views
were divided lets its slots forward what waits for each other, and removes the number.
"""

from pathlib import Path
from time import sleep

from openqoe.core.cluster.partition import Partition
from openqoe.core.config.worker_config import Config

from ..storage import Slot, Slots, StorageError
from ..storage.partition_file import read_slot_count, remove_slot_count, write_slot_count
from ..storage.slots import release_all
from ..stores.store_selection import uses_store
from . import logs
from .clock import monotonic
from .process_count import find_process_count
from .repartition import move_views

PATIENCE = 3.0
"""Seconds that a process waits for a slot that owns views, if there are several."""

DIVIDED = (
    "the views of this data directory are divided among its workers: OPENQOE_KV_URL takes effect "
    "when a worker starts while no other one runs"
)

INTERVAL = 0.1
"""Seconds between two looks at the slots."""


def claim_slot(config: Config, log: logs.Log) -> Slot:
    """Claim a slot for this process.

    Raises:
        StorageError: The data directory cannot be used.
    """
    slots = Slots(Path(config.data_dir))
    wanted = find_process_count(config.workers)
    end = monotonic() + (PATIENCE if wanted > 1 else 0.0)
    while True:
        with slots.starting():
            if uses_store(config):
                _leave_partition(config, slots, log)
                return slots.claim()
            count = _choose_slot_count(config, slots, wanted, log)
            slot = slots.claim_below(count)
            if slot is None and monotonic() >= end:
                slot = slots.claim()
                log.info("all slots have owners; forwarding batches", slot=slot.number, slots=count)
            if slot is not None:
                if count != wanted:
                    text = "number of workers changes when all of them have stopped"
                    log.warning(text, workers=wanted, slots=count)
                return slot
        sleep(INTERVAL)


def find_partition(config: Config, slot: Slot) -> Partition | None:
    """Return the partition of the views that the owner of a slot takes part in; None if in none.

    Raises:
        StorageError: The data directory cannot be read, or belongs to workers without a store.
    """
    count = read_slot_count(Path(config.data_dir))
    if count is not None and uses_store(config):
        raise StorageError(DIVIDED)
    return None if count is None else Partition(count, slot.number)


def _leave_partition(config: Config, slots: Slots, log: logs.Log) -> None:
    """Forward what waits in slots that divided views, because a store takes their place."""
    directory = Path(config.data_dir)
    stored = read_slot_count(directory)
    if stored is None:
        return
    claimed = slots.claim_all(stored)
    if claimed is None:
        raise StorageError(DIVIDED)
    try:
        log.info("views are no longer divided among slots: a store is used", before=stored)
        move_views(config, claimed, stored, stored, log)
        remove_slot_count(directory)
    finally:
        release_all(claimed)


def _choose_slot_count(config: Config, slots: Slots, wanted: int, log: logs.Log) -> int:
    """Return the number of slots that own views; changes it if no other process runs."""
    directory = Path(config.data_dir)
    stored = read_slot_count(directory)
    if stored == wanted:
        return stored
    claimed = slots.claim_all(max(wanted, stored or 0))  # batches may wait for all of them
    if claimed is None:
        if stored is None:
            write_slot_count(directory, wanted)
            return wanted
        return stored
    try:
        used = {slot.number for slot in claimed if slot.path.exists()}
        keeps_views = wanted == 1 and used == {0} and stored is None  # the only worker has all
        if used and not keeps_views:
            log.info("moving views to other slots", slots=wanted, before=stored)
            move_views(config, claimed, stored, wanted, log)
        write_slot_count(directory, wanted)
    finally:
        release_all(claimed)
    return wanted
