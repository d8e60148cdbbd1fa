"""Recovery of a worker from the snapshot, journal and outbox of its slot."""

from openqoe.core.config.worker_config import Config
from openqoe.core.engine.snapshot import SnapshotError
from openqoe.core.worker import Worker

from ..storage import Slot, Storage
from . import logs
from .clock import monotonic, now_ms


def recover_worker(worker: Worker, config: Config, slot: Slot, log: logs.Log) -> Storage:
    """Open the storage of a slot, and recover a new worker from it.

    Raises:
        StorageError: The slot cannot be used.
    """
    assert config.durability != "memory", "a worker in memory has no slot"
    began = monotonic()
    storage = Storage(slot.path, config.durability)
    try:
        _recover(worker, storage, log.bind(slot=slot.number), began)
    except BaseException:
        storage.close()
        raise
    return storage


def _recover(worker: Worker, storage: Storage, log: logs.Log, began: float) -> None:
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
