"""Where a worker lives: its slot of the data directory, or memory only.

Opening a runtime is what a process does first: it takes a slot, which no other process can
have as long as this one lives, restores the worker from the snapshot there, has it take in
what the journal holds, and gives it back its outbox.
"""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import randbits
from typing import TYPE_CHECKING

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Append, Effect, LoadPayload, Persist, Result, StorageResult
from openqoe.core.engine.snapshot import SnapshotError
from openqoe.core.worker import Worker
from openqoe.dashboard import PageThreads
from openqoe.embedded import open_embedded

from ..storage import LoadedSlot, Slot, Slots, Storage, StorageError
from ..stores.store_runner import StoreRunner
from . import allocator, logs
from .clock import monotonic, now_ms
from .environment import slot_instance

if TYPE_CHECKING:
    from openqoe.embedded.sample_store import EmbeddedStore

StorageCallback = Callable[[tuple[tuple[Append | Persist | LoadPayload, StorageResult], ...]], None]

EffectCallback = Callable[[Effect, Result], None]

THREAD_SWITCH_INTERVAL = 0.0005
"""Seconds after which a thread that is busy lets one in that waits (Python's default is 0.005)."""

OpenStore = Callable[[], StoreRunner | None]


def no_store() -> None:
    """A worker that is on its own."""


@dataclass(slots=True)
class WorkerRuntime:
    """A worker with its storage.

    Attributes:
        worker: The worker, restored.
        storage: Where it keeps what it must not lose; None with durability ``memory``.
        slot: The slot that is ours while the process lives.
        store: What it shares with other workers; None if it is on its own.
        embedded: The embedded store; None if it is no destination.
        pages: Loads the pages of the dashboard.
        open_store: Opens the same store once more, for a worker of another slot.
    """

    worker: Worker
    storage: Storage | None = None
    slot: Slot | None = None
    store: StoreRunner | None = None
    embedded: "EmbeddedStore | None" = None
    pages: PageThreads | None = None
    open_store: OpenStore = no_store

    def start(self, report: StorageCallback, report_effect: EffectCallback) -> None:
        """Begin to carry out effects; the reports may be called by threads of theirs.

        Args:
            report: Is told of effects on the storage, in groups.
            report_effect: Is told of all others.
        """
        if self.storage is not None:
            self.storage.start(report)
        for one in (self.store, self.embedded, self.pages):
            if one is not None:
                one.start(report_effect)

    def close(self) -> None:
        """Carry out what was begun, and give the slot back."""
        if self.pages is not None:
            self.pages.close()
        if self.embedded is not None:
            self.embedded.close()
        if self.store is not None:
            self.store.close()
        if self.storage is not None:
            self.storage.close()
        if self.slot is not None:
            self.slot.release()


def open_runtime(
    config: Config, instance: str, log: logs.Log, open_store: OpenStore = no_store
) -> WorkerRuntime:
    """A worker for this process.

    Args:
        config: The settings.
        instance: The worker's instance if it lives in memory only; a slot has its own.
        log: Where to tell what was found.
        open_store: Opens the store that it shares with other workers.

    Raises:
        StorageError: The data directory, a file in it or the store cannot be used.
    """
    allocator.return_large_blocks()
    if config.durability == "memory":
        embedded = open_embedded(config, log)
        try:
            store = open_store()
        except BaseException:
            if embedded is not None:
                embedded.close()
            raise
        worker = Worker(
            config,
            instance=instance,
            seed=randbits(64),
            shared=store is not None,
            embedded=True,
            started_at=now_ms(),
        )
        pages = PageThreads(config, log)
        runtime = WorkerRuntime(
            worker, store=store, embedded=embedded, pages=pages, open_store=open_store
        )
    else:
        slot = Slots(Path(config.data_dir)).claim()
        try:
            runtime = open_slot(config, slot, log, open_store, started_at=now_ms())
        except BaseException:
            slot.release()
            raise
    # What is there now stays (modules above all): to look at it each time that garbage is
    # collected would hold all clients up.
    gc.collect()
    gc.freeze()
    # The threads that write to the disk need the interpreter often and for a moment only. With
    # durability "full" all answers wait for one of them, so it must not wait for long while
    # requests keep the interpreter busy.
    sys.setswitchinterval(THREAD_SWITCH_INTERVAL)
    return runtime


def open_slot(
    config: Config,
    slot: Slot,
    log: logs.Log,
    open_store: OpenStore = no_store,
    *,
    started_at: int | None = None,
) -> WorkerRuntime:
    """The worker of a slot that is ours.

    Raises:
        StorageError: Its file cannot be used.
    """
    assert config.durability != "memory"
    began = monotonic()
    storage = Storage(slot.path, config.durability)
    store: StoreRunner | None = None
    embedded: EmbeddedStore | None = None
    try:
        embedded = open_embedded(config, log)
        store = open_store()
        loaded = storage.load()
        instance = slot_instance(config, slot.number)
        worker = Worker(
            config,
            instance=instance,
            seed=randbits(64),
            durable=True,
            shared=store is not None,
            embedded=True,
            started_at=started_at,
        )
        records = _restore(worker, loaded, log)
    except BaseException:
        storage.close()
        for one in (embedded, store):
            if one is not None:
                one.close()
        raise
    for notice in storage.notices:
        log.warning(notice, slot=slot.number)
    if records or loaded.payloads:
        log.info(
            "going on where the last process ended",
            slot=slot.number,
            replayed_batches=records,
            waiting_payloads=len(loaded.payloads),
            seconds=round(monotonic() - began, 3),
        )
    return WorkerRuntime(
        worker, storage, slot, store, embedded, PageThreads(config, log), open_store
    )


def _restore(worker: Worker, loaded: LoadedSlot, log: logs.Log) -> int:
    """Restore what a slot holds; returns how many records of the journal were replayed."""
    if loaded.snapshot is not None:
        try:
            worker.restore(loaded.snapshot)
        except SnapshotError as error:
            log.error("snapshot not usable, counters begin anew", reason=str(error))
    worker.resume(
        loaded.payloads, loaded.batches, loaded.last_record, loaded.last_payload, now_ms()
    )
    records = 0
    for record in loaded.records:
        records += 1
        try:
            worker.replay(record)
        except Exception:  # whatever is the matter with one: the others are sound, and we start
            log.exception("journalled batch cannot be replayed", number=record.number)
    return records


__all__ = [
    "OpenStore",
    "StorageCallback",
    "StorageError",
    "WorkerRuntime",
    "open_runtime",
    "open_slot",
]
