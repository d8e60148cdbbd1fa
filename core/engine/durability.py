"""Durability: the order of writes to disk, and of what may happen only after them.

Theory of operation. Three things are on disk, changed only by the effects ``Append`` and
``Persist``. A ``Persist`` is carried out after the records given before it; a record may overtake
one, because it names the last record that it deals with:

    journal     batches accepted since the snapshot (a write-ahead log)
    snapshot    the state of the whole worker as of a flush
    outbox      payloads that were flushed and not delivered yet

A batch is answered and applied once its record is in the journal. A flush does not offer its
payloads to the queues: it gives them, with the snapshot that they follow from, to one ``Persist``,
and they go out once that is on disk. So nothing leaves the process that a crash could undo: after
one, the snapshot and the journal lead to the same totals, and flushed payloads are in the outbox.

Log entries and forwarded batches may leave earlier. Their batches are still in the journal then, so
a crash sends them once more, which receivers recognise as equal.

If a record cannot be written, its batch has had no effect and its sender is answered 503. No batch
is accepted then until a ``Persist`` has succeeded; one is tried every second. A ``Persist`` may
report that it was the last thing there was room for: then no batch is accepted either.
"""

from collections.abc import Container

from ..delivery.payload import Payload
from ..effects import (
    Append,
    DedupEntry,
    Effect,
    Forget,
    Notice,
    Persist,
    Record,
    StorageFailure,
    Stored,
    StoredPayload,
)

RETRY = 1_000
"""ms between attempts to write while the disk fails."""


class Durability:
    """Knows what is on disk, what is on its way there, and what waits for it.

    Attributes:
        last_record: Number of the latest record.
        last_payload: Number of the latest payload.
        checkpoint_record: Number of the latest record that is part of the snapshot on disk.
        failure: Why nothing can be written at present; "" while writing works.
    """

    def __init__(self, dedup_window: int, max_dedup_entries: int) -> None:
        self._dedup_window = dedup_window
        self._max_dedup_entries = max_dedup_entries
        self._effects: list[Effect] = []
        self._persist: Persist | None = None
        self._checkpoint: tuple[int, tuple[DedupEntry, ...]] | None = None  # of the next Persist
        self._staged: tuple[Payload, ...] = ()  # what the Persist in flight or to come holds
        self._unstored: dict[int, Payload] = {}  # went to their queue before any Persist
        self._accepted: list[DedupEntry] = []
        self._failed_at = 0
        self.last_record = 0
        self.last_payload = 0
        self.checkpoint_record = 0
        self.failure = ""

    @property
    def is_busy(self) -> bool:
        """Whether a ``Persist`` is under way or has failed: no flush may begin before its end."""
        return self._persist is not None or self._checkpoint is not None or bool(self._staged)

    def append(
        self,
        effect_id: int,
        at: int,
        body: bytes,
        country: str | None,
        digest: bytes,
        *,
        is_forwarded: bool = False,
    ) -> Record:
        """Write a batch to the journal; returns its record."""
        self.last_record += 1
        record = Record(self.last_record, at, body, country, digest, is_forwarded)
        self._effects.append(Append(effect_id, record))
        return record

    def remember(self, entry: DedupEntry) -> None:
        """Add a journalled batch to the deduplication window that the next ``Persist`` writes."""
        self._accepted.append(entry)

    def number(self, payload: Payload) -> Payload:
        """Return a payload with a number of its own."""
        self.last_payload += 1
        return payload.with_number(self.last_payload)

    @property
    def unstored(self) -> Container[int]:
        """Numbers of the payloads in queues that are not in the outbox yet."""
        return self._unstored.keys()

    def note_early(self, payload: Payload) -> None:
        """Note a payload that went to its queue before it was stored."""
        self._unstored[payload.number] = payload

    def stage(self, payloads: tuple[Payload, ...]) -> None:
        """Hold the payloads of a flush: they go to their queues once they are stored."""
        self._staged = payloads

    def begin_checkpoint(self, first_unapplied: int | None) -> None:
        """Note the moment of the snapshot that ``persist`` is going to write.

        Args:
            first_unapplied: The first record that is not part of the snapshot; None: all are.
        """
        through = self.last_record if first_unapplied is None else first_unapplied - 1
        self._checkpoint = through, tuple(self._accepted)

    def persist(self, effect_id: int, snapshot: tuple[bytes, ...], now: int) -> None:
        """Write the snapshot and the staged payloads.

        Args:
            effect_id: Becomes the id of the effect.
            snapshot: The snapshot of the moment of ``begin_checkpoint``, in pieces.
            now: Current time in ms.
        """
        assert self._checkpoint is not None, "a checkpoint begins before it is written"
        (through, accepted), self._checkpoint = self._checkpoint, None
        early = tuple(self._unstored.values())
        self._persist = Persist(
            effect_id,
            snapshot,
            tuple(_stored(payload) for payload in (*early, *self._staged)),
            through,
            accepted,
            now - self._dedup_window,
            self._max_dedup_entries,
        )
        self._effects.append(self._persist)

    def forget_payloads(self, numbers: tuple[int, ...]) -> None:
        """Remove payloads from the outbox: they have left their queues for good."""
        if numbers:
            for number in numbers:
                self._unstored.pop(number, None)
            self._effects.append(Forget(numbers))

    def complete(
        self, effect_id: int, result: Stored | StorageFailure, now: int
    ) -> tuple[Payload, ...]:
        """Process the result of a ``Persist``; returns the payloads that may go out now."""
        persist = self._persist
        if persist is None or persist.id != effect_id:
            return ()
        self._persist = None
        if isinstance(result, StorageFailure):
            self.note_failure(result, now)
            return ()
        for stored in persist.payloads:
            self._unstored.pop(stored.number, None)
        del self._accepted[: len(persist.accepted)]
        self.checkpoint_record = persist.through
        staged, self._staged = self._staged, ()
        if result.no_room:
            self.note_failure(StorageFailure(result.no_room, full=True), now)
        elif self.failure:
            self.failure = ""
            self._effects.append(Notice("info", "storage is available again"))
        return staged

    def abort_checkpoint(self, now: int) -> None:
        """Accept no batches until a later ``Persist`` writes what this one should have written."""
        self._checkpoint = None
        self.note_failure(StorageFailure("the flush failed"), now)

    def note_failure(self, failure: StorageFailure, now: int) -> None:
        """Accept no batches until a ``Persist`` succeeds."""
        if not self.failure:
            fields = (("reason", failure.reason),)
            self._effects.append(Notice("error", "storage failed; rejecting batches", fields))
        self.failure = failure.reason or "unknown"
        self._failed_at = now

    def needs_persist(self, now: int) -> bool:
        """Whether it is time to try again after a failure."""
        due = self.next_attempt
        return due is not None and not self._failed_at <= now < due

    @property
    def next_attempt(self) -> int | None:
        """When to try again after a failure, ms; None if nothing failed or an attempt runs."""
        if not self.failure or self._persist is not None or self._checkpoint is not None:
            return None
        return self._failed_at + RETRY

    def drain_effects(self) -> list[Effect]:
        """Return the effects since the last call, in order."""
        effects, self._effects = self._effects, []
        return effects


def _stored(payload: Payload) -> StoredPayload:
    return StoredPayload(
        payload.number,
        payload.kind,
        payload.headers,
        payload.body,
        len(payload.body),
        payload.items,
        payload.created,
        payload.thinnable,
        payload.destination,
    )
