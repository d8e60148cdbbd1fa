"""Start-up of a process: opens a worker with its storage, or one that is in memory only.

A durable worker claims a slot of the data directory, which no other process can own while this one
lives (``slot_choice``). It is restored from the slot's snapshot, replays its journal and resumes
its outbox.
"""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Effect, Result
from openqoe.core.worker import Worker
from openqoe.dashboard import PageThreads
from openqoe.embedded import open_embedded

from ..net.connection_policy import ConnectionPolicy
from ..storage import Slot, Storage, StorageError
from ..storage.slot_storage import StorageCallback
from ..stores.store_runner import StoreRunner
from ..stores.store_selection import open_store
from . import allocator, logs
from .clock import now_ms
from .slot_choice import claim_slot, find_partition
from .viewer_erasure import ErasureThread
from .worker_recovery import create_worker, recover_worker

if TYPE_CHECKING:
    from openqoe.embedded.sample_store import EmbeddedStore

EffectCallback = Callable[[Effect, Result], None]

THREAD_SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy thread hands the interpreter to a waiting one (default: 0.005)."""


@dataclass(slots=True)
class WorkerRuntime:
    """A worker with its storage and its threads.

    Attributes:
        worker: The worker, restored.
        storage: Its durable state; None with durability ``memory``.
        slot: The slot that this process owns; None with durability ``memory``.
        store: The key-value store shared with other workers; None if there is none.
        embedded: The embedded store; None if it is not a destination.
        pages: Loads the pages of the dashboard.
        erasures: Erases viewers from files.
    """

    worker: Worker
    storage: Storage | None = None
    slot: Slot | None = None
    store: StoreRunner | None = None
    embedded: "EmbeddedStore | None" = None
    pages: PageThreads | None = None
    erasures: ErasureThread | None = None

    @property
    def owns_views(self) -> bool:
        """Whether its slot is one of those that divide the views of the host."""
        partition = self.worker.partition
        return partition is not None and partition.own < partition.slots

    def start(self, report: StorageCallback, report_effect: EffectCallback) -> None:
        """Start to run effects. Threads of the runtime may call the callbacks.

        Args:
            report: Receives the results of storage effects, in groups.
            report_effect: Receives the result of each other effect.
        """
        if self.storage is not None:
            self.storage.start(report)
        for one in (self.store, self.embedded, self.pages, self.erasures):
            if one is not None:
                one.start(report_effect)

    def close(self) -> None:
        """Finish the effects that have been submitted, and release the slot."""
        for one in (self.erasures, self.pages, self.embedded, self.store, self.storage):
            if one is not None:
                one.close()
        if self.slot is not None:
            self.slot.release()


def open_runtime(config: Config, instance: str, log: logs.Log) -> WorkerRuntime:
    """Open the worker of this process.

    Args:
        config: The settings.
        instance: The instance of a worker in memory; a slot has its own.
        log: The log.

    Raises:
        SettingsError: A proxy or a certificate for the destinations, or the keys file, cannot be
            used.
        StorageError: The data directory, a file in it or the store cannot be used.
    """
    ConnectionPolicy.load(config)  # before anything is open
    allocator.return_large_blocks()
    if config.durability == "memory":
        runtime = open_slot(config, None, log, instance=instance, started_at=now_ms())
    else:
        slot = claim_slot(config, log)
        try:
            runtime = open_slot(config, slot, log, started_at=now_ms())
        except BaseException:
            slot.release()
            raise
    # The objects that exist now (modules, mostly) stay: freeze them, so that no garbage collection
    # examines them while clients wait.
    gc.collect()
    gc.freeze()
    # The threads that write to the disk need the interpreter often and briefly. With durability
    # "full" all answers wait for one of them, so it must get the interpreter soon while requests
    # keep it busy.
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL)
    return runtime


def open_slot(
    config: Config,
    slot: Slot | None,
    log: logs.Log,
    *,
    instance: str = "",
    started_at: int | None = None,
) -> WorkerRuntime:
    """Open the worker of a slot that this process owns, or one in memory.

    Args:
        config: The settings.
        slot: The slot; None for a worker in memory.
        log: The log.
        instance: The instance of a worker in memory; a slot has its own.
        started_at: When the process started to serve with this worker, ms; None if it does not.

    Raises:
        StorageError: The slot or the store cannot be used.
    """
    storage: Storage | None = None
    store: StoreRunner | None = None
    embedded: EmbeddedStore | None = None
    partition = None if slot is None else find_partition(config, slot)
    try:
        embedded = open_embedded(config, log)
        store = open_store(config)
        worker = create_worker(
            config,
            slot,
            partition,
            instance=instance,
            is_shared=store is not None,
            started_at=started_at,
        )
        if slot is not None:
            storage = recover_worker(worker, config, slot, log)
    except BaseException:
        for one in (storage, embedded, store):
            if one is not None:
                one.close()
        raise
    pages = PageThreads(config, log)
    erasures = ErasureThread(config, log, None if slot is None else slot.number)
    return WorkerRuntime(worker, storage, slot, store, embedded, pages, erasures)


__all__ = ["StorageError", "WorkerRuntime", "open_runtime", "open_slot"]
