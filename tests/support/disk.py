"""A simulated disk: the storage of a slot, without SQLite."""

from dataclasses import replace

from openqoe.core import Config, Worker
from openqoe.core.cluster.partition import Partition
from openqoe.core.effects import (
    Append,
    DedupEntry,
    Forget,
    LoadPayload,
    PayloadBody,
    Persist,
    Record,
    StorageEffect,
    StorageResult,
    Stored,
    StoredPayload,
)


class Disk:
    """The durable data of a slot. The simulation decides when an effect is executed."""

    def __init__(self) -> None:
        self.snapshot: bytes | None = None
        self.journal: dict[int, Record] = {}
        self.outbox: dict[int, StoredPayload] = {}
        self.batches: dict[bytes, DedupEntry] = {}
        self.last_record = 0
        self.last_payload = 0

    def execute(self, effect: StorageEffect) -> StorageResult:
        match effect:
            case Append(record=record):
                assert record.number > self.last_record, "a record's number was used twice"
                self.journal[record.number] = record
                self.last_record = record.number
            case Persist():
                self.snapshot = b"".join(effect.snapshot)
                for payload in effect.payloads:
                    assert payload.number not in self.outbox, "a payload was stored twice"
                    assert payload.body, "a payload was stored without its body"
                    self.outbox[payload.number] = payload
                    self.last_payload = max(self.last_payload, payload.number)
                for batch in effect.accepted:
                    self.batches[batch.digest] = batch
                self.journal = {n: r for n, r in self.journal.items() if n > effect.through}
                self.last_record = max(self.last_record, effect.through)
            case LoadPayload(number=number):
                found = self.outbox.get(number)
                return PayloadBody(None if found is None else found.body)
            case Forget(numbers=numbers):
                for number in numbers:
                    self.outbox.pop(number, None)
        return Stored()

    @property
    def is_empty(self) -> bool:
        """Whether all data is delivered."""
        return not self.journal and not self.outbox

    def restore(
        self,
        config: Config,
        instance: str,
        seed: int,
        now: int,
        *,
        shared: bool,
        budget: int,
        partition: Partition | None = None,
        relays: bool = True,
        embedded: bool = True,
    ) -> Worker:
        """The worker of a process that starts here."""
        worker = Worker(
            config,
            instance=instance,
            seed=seed,
            durable=True,
            shared=shared,
            partition=partition,
            budget=budget,
            embedded=embedded,
        )
        if relays:
            worker.start_relaying()
        if self.snapshot is not None:
            worker.restore(self.snapshot)
        references = [replace(payload, body=b"") for _, payload in sorted(self.outbox.items())]
        batches = sorted(self.batches.values(), key=lambda batch: batch.at)
        worker.resume(references, batches, self.last_record, self.last_payload, now)
        for _, record in sorted(self.journal.items()):
            worker.replay(record)
        return worker
