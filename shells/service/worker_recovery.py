"""Creation of a worker, and its recovery from the snapshot, journal and outbox of its slot."""

from secrets import randbits

from openqoe.core.cluster.partition import Partition
from openqoe.core.config.worker_config import Config
from openqoe.core.engine.snapshot import SnapshotError
from openqoe.core.worker import Worker

from ..storage import Slot, Storage
from . import logs
from .clock import monotonic, now_ms
from .environment import slot_instance
from .secret_files import load_keys, load_secret


def create_worker(
    config: Config,
    slot: Slot | None,
    partition: Partition | None,
    *,
    instance: str = "",
    is_shared: bool = False,
    started_at: int | None = None,
) -> Worker:
    """Create the worker of a slot, or one in memory, with the keys and the secret of the service.

    Args:
        config: The settings.
        slot: The slot; None for a worker in memory.
        partition: The slots that divide the views.
        instance: The instance of a worker in memory; a slot has its own.
        is_shared: Whether it shares a key-value store with other workers.
        started_at: When the process started to serve with this worker, ms; None if it does not.

    Raises:
        KeysFileError: The keys file cannot be used.
        StorageError: The secret cannot be used.
    """
    return Worker(
        config,
        instance=instance if slot is None else slot_instance(config, slot.number),
        seed=randbits(64),
        durable=slot is not None,
        shared=is_shared,
        partition=partition,
        embedded=True,
        started_at=started_at,
        keys=load_keys(config),
        secret=load_secret(config),
    )


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
