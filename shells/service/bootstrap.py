"""Start-up of a process: opens a worker with its storage, or one that is in memory only.

A durable worker claims a slot of the data directory, which no other process can own while this one
lives. It is restored from the slot's snapshot, replays its journal and resumes its outbox.
"""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Effect, Result
from openqoe.core.engine.snapshot import SnapshotError
from openqoe.core.worker import Worker
from openqoe.dashboard import PageThreads
from openqoe.embedded import open_embedded

from ..net.connection_policy import ConnectionPolicy
from ..storage import Slot, Slots, Storage, StorageError
from ..storage.slot_storage import StorageCallback
from ..stores.store_runner import StoreRunner
from . import allocator, logs
from .clock import monotonic, now_ms
from .environment import slot_instance
from .secret_files import load_keys, load_secret
from .viewer_erasure import ErasureThread

if TYPE_CHECKING:
    from openqoe.embedded.sample_store import EmbeddedStore

EffectCallback = Callable[[Effect, Result], None]

THREAD_SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy thread hands the interpreter to a waiting one (default: 0.005)."""

OpenStore = Callable[[], StoreRunner | None]


def open_no_store() -> None:
    """An ``OpenStore`` for a worker that shares nothing with others."""


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
        open_store: Opens the same key-value store again, for a worker of another slot.
    """

    worker: Worker
    storage: Storage | None = None
    slot: Slot | None = None
    store: StoreRunner | None = None
    embedded: "EmbeddedStore | None" = None
    pages: PageThreads | None = None
    erasures: ErasureThread | None = None
    open_store: OpenStore = open_no_store

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


def open_runtime(
    config: Config, instance: str, log: logs.Log, open_store: OpenStore = open_no_store
) -> WorkerRuntime:
    """Open the worker of this process.

    Args:
        config: The settings.
        instance: The instance of a worker in memory; a slot has its own.
        log: The log.
        open_store: Opens the key-value store shared with other workers.

    Raises:
        SettingsError: A proxy or a certificate for the destinations, or the keys file, cannot be
            used.
        StorageError: The data directory, a file in it or the store cannot be used.
    """
    ConnectionPolicy.load(config)  # before anything is open
    allocator.return_large_blocks()
    if config.durability == "memory":
        runtime = _open_runtime(config, None, instance, log, open_store, now_ms())
    else:
        slot = Slots(Path(config.data_dir)).claim()
        try:
            runtime = open_slot(config, slot, log, open_store, started_at=now_ms())
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
    slot: Slot,
    log: logs.Log,
    open_store: OpenStore = open_no_store,
    *,
    started_at: int | None = None,
) -> WorkerRuntime:
    """Open the worker of a slot that this process owns.

    Args:
        config: The settings.
        slot: The slot.
        log: The log.
        open_store: Opens the key-value store shared with other workers.
        started_at: When the process started to serve with this slot, ms; None if it does not.

    Raises:
        StorageError: The slot or the store cannot be used.
    """
    instance = slot_instance(config, slot.number)
    return _open_runtime(config, slot, instance, log, open_store, started_at)


def _open_runtime(
    config: Config,
    slot: Slot | None,
    instance: str,
    log: logs.Log,
    open_store: OpenStore,
    started_at: int | None,
) -> WorkerRuntime:
    began = monotonic()
    storage: Storage | None = None
    store: StoreRunner | None = None
    embedded: EmbeddedStore | None = None
    try:
        if slot is not None:
            assert config.durability != "memory"
            storage = Storage(slot.path, config.durability)
        embedded = open_embedded(config, log)
        store = open_store()
        worker = Worker(
            config,
            instance=instance,
            seed=randbits(64),
            durable=storage is not None,
            shared=store is not None,
            embedded=True,
            started_at=started_at,
            keys=load_keys(config),
            secret=load_secret(config),
        )
        if slot is not None and storage is not None:
            _recover_worker(worker, storage, log.bind(slot=slot.number), began)
    except BaseException:
        for one in (storage, embedded, store):
            if one is not None:
                one.close()
        raise
    pages = PageThreads(config, log)
    erasures = ErasureThread(config, log, None if slot is None else slot.number)
    return WorkerRuntime(worker, storage, slot, store, embedded, pages, erasures, open_store)


def _recover_worker(worker: Worker, storage: Storage, log: logs.Log, began: float) -> None:
    """Recover a worker from the snapshot, journal and outbox of its slot."""
    loaded = storage.load()
    if loaded.snapshot is not None:
        try:
            worker.restore(loaded.snapshot)
        except SnapshotError as error:
            log.error("snapshot cannot be used; counters restart", reason=str(error))
    worker.resume(
        loaded.payloads, loaded.batches, loaded.last_record, loaded.last_payload, now_ms()
    )
    records = 0
    for record in loaded.records:
        records += 1
        try:
            worker.replay(record)
        except Exception:  # the other records are sound, and the process must start
            log.exception("journalled batch cannot be replayed", number=record.number)
    worker.note_missing_records(storage.missing)
    for notice in storage.notices:
        logs.write_notice(log, notice)
    if records or loaded.payloads:
        log.info(
            "resumed from the previous process",
            replayed_batches=records,
            waiting_payloads=len(loaded.payloads),
            seconds=round(monotonic() - began, 3),
        )


__all__ = ["OpenStore", "StorageError", "WorkerRuntime", "open_runtime", "open_slot"]
