"""Acknowledged means kept: what goes to disk, when, and what may happen only after it.

Theory of operation. Three things are on disk, changed only by the effects ``Append`` and
``Persist``. A ``Persist`` is carried out behind the records given before it; a record may well
overtake one, because it names the last record that it deals with:

    journal     batches accepted since the snapshot
    snapshot    the state of the whole worker as of a flush
    outbox      payloads that were flushed and not delivered yet

A batch takes effect at once, but its answer is held until its record is in the journal. A
flush does not offer its payloads to the queues: it gives them, with the snapshot that they
follow from, to one ``Persist``, and they go out once that is on disk. So nothing leaves the
process that a crash could undo: after one, the snapshot and the journal lead to the same
totals, and what was flushed is in the outbox.

Log entries may leave earlier, when many gather between two flushes. Their batches are still
in the journal then, so a crash logs them once more, which receivers recognise as equal.

Where workers share a store a batch has no effect before its record is in the journal: once
the store knows that it is ours, no other worker will take it. So if the record could not be
written, nothing has happened.

A flush takes series and views in parts, and what it stores must be of one moment. So batches
that come meanwhile take effect behind it, too; the journal has them, so they are acknowledged.

If the record of one that has taken effect could not be written, its sender is told to come
again. That is made good by the next ``Persist``: until one succeeds that was begun later, no batch
is accepted, and afterwards the repeated batch is recognised as a duplicate. After a crash before
that, it was never counted. A ``Persist`` may tell that it is the last thing there is room for: then
no batch is accepted either, or each attempt would let one more take effect in vain.
"""

from ..delivery.payload import Payload
from ..effects import (
    AcceptedBatch,
    Append,
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
"""ms between attempts to write while the disk does not take anything."""


class Durability:
    """Knows what is on disk, what is on its way there, and what waits for it.

    Attributes:
        appending_bytes: Bytes of the records on their way to the journal.
        last_record: Number of the latest record.
        last_payload: Number of the latest payload.
        failure: Why nothing can be written at present; "" while all is well.
    """

    def __init__(self, window: int, most_batches: int, *, shared: bool) -> None:
        self._shared = shared
        self._window = window
        self._most_batches = most_batches
        self._effects: list[Effect] = []
        # By effect id, with the number of the record and its bytes
        self._appending: dict[int, tuple[int, AcceptedBatch, int]] = {}
        self._persist: Persist | None = None
        self._begun: tuple[int, tuple[AcceptedBatch, ...]] | None = None  # the next Persist
        self._lost = 0  # the latest record that could not be written
        self._staged: tuple[Payload, ...] = ()  # what the Persist in flight or to come holds
        self._unstored: dict[int, Payload] = {}  # went to their queue before any Persist
        self._batches: list[AcceptedBatch] = []
        self._failed_at = 0
        self.appending_bytes = 0
        self.last_record = 0
        self.last_payload = 0
        self.failure = ""

    @property
    def is_busy(self) -> bool:
        """Whether a ``Persist`` is on its way or has failed: no flush before its end."""
        return self._persist is not None or self._begun is not None or bool(self._staged)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way to the disk."""
        return not self._appending and not self.is_busy

    def append(
        self, effect_id: int, at: int, body: bytes, country: str | None, batch: AcceptedBatch
    ) -> None:
        """A batch was accepted: its record goes into the journal."""
        self.last_record += 1
        self._appending[effect_id] = self.last_record, batch, len(body)
        self.appending_bytes += len(body)
        record = Record(self.last_record, at, body, country, batch.digest)
        self._effects.append(Append(effect_id, record))

    def took_in(self, batch: AcceptedBatch) -> None:
        """A batch has taken effect: the next snapshot holds it, and then only the window of
        duplicates knows of it."""
        self._batches.append(batch)

    def pending(self, digest: bytes) -> int | None:
        """The effect that is to put this batch into the journal, if it is on its way."""
        for effect_id, appending in self._appending.items():
            if appending[1].digest == digest:
                return effect_id
        return None

    def number(self, payload: Payload) -> Payload:
        """A payload with a number of its own."""
        self.last_payload += 1
        return payload.with_number(self.last_payload)

    def sent_early(self, payload: Payload) -> None:
        """A payload went to its queue before it was stored."""
        self._unstored[payload.number] = payload

    def stage(self, payloads: tuple[Payload, ...]) -> None:
        """Payloads of a flush: they go to their queues once they are stored."""
        self._staged = payloads

    def begin(self, first_left: int | None) -> None:
        """A snapshot is taken of this moment; it will be told to ``persist``.

        Args:
            first_left: The first record that is not part of the snapshot; None: all are.
        """
        through = self.last_record if first_left is None else first_left - 1
        self._begun = through, tuple(self._batches)

    def persist(self, effect_id: int, snapshot: tuple[bytes, ...], now: int) -> None:
        """Write everything down: the snapshot with what is staged.

        Args:
            effect_id: Becomes the id of the effect.
            snapshot: The snapshot of the moment when ``begin`` was called, in pieces.
            now: Current time in ms.
        """
        assert self._begun is not None, "a snapshot begins before it is written"
        (through, batches), self._begun = self._begun, None
        early = tuple(self._unstored.values())
        self._persist = Persist(
            effect_id,
            snapshot,
            tuple(_stored(payload) for payload in (*early, *self._staged)),
            (),
            through,
            batches,
            now - self._window,
            self._most_batches,
        )
        self._effects.append(self._persist)

    def left(self, numbers: tuple[int, ...]) -> None:
        """Payloads have left their queues for good."""
        if numbers:
            for number in numbers:
                self._unstored.pop(number, None)
            self._effects.append(Forget(numbers))

    def landed(self, effect_id: int) -> None:
        """A record is in the journal."""
        _number, batch, size = self._appending.pop(effect_id)
        self.appending_bytes -= size
        if self._shared:
            self._batches.append(batch)

    def complete(
        self, effect_id: int, result: Stored | StorageFailure, now: int
    ) -> tuple[Payload, ...]:
        """Take the result of an effect; returns the payloads that may go out now."""
        persist = self._persist
        if effect_id in self._appending:
            if isinstance(result, Stored):
                self.landed(effect_id)
                return ()
            number, _batch, size = self._appending.pop(effect_id)
            self.appending_bytes -= size
            self._fail(result, now)
            if not self._shared:
                self._lost = number
        elif persist is not None and persist.id == effect_id:
            self._persist = None
            if isinstance(result, StorageFailure):
                self._fail(result, now)
                return ()
            for stored in persist.payloads:
                self._unstored.pop(stored.number, None)
            del self._batches[: len(persist.batches)]
            staged, self._staged = self._staged, ()
            if result.no_room:
                self._fail(StorageFailure(result.no_room, full=True), now)
            elif self._lost > persist.through:
                self._failed_at = now  # that snapshot was begun before
            elif self.failure:
                self.failure = ""
                self._effects.append(Notice("info", "storage works again"))
            return staged
        return ()

    def needs_persist(self, now: int) -> bool:
        """Whether it is time to try once more, after a failure."""
        due = self.next_attempt
        return due is not None and not self._failed_at <= now < due

    @property
    def next_attempt(self) -> int | None:
        """When that will be."""
        if not self.failure or self._persist is not None or self._begun is not None:
            return None
        return self._failed_at + RETRY

    def take_effects(self) -> list[Effect]:
        """What the outside must do, in order."""
        effects, self._effects = self._effects, []
        return effects

    def _fail(self, failure: StorageFailure, now: int) -> None:
        if not self.failure:
            fields = (("reason", failure.reason),)
            self._effects.append(
                Notice("error", "storage fails, no batches are accepted until it works", fields)
            )
        self.failure = failure.reason or "unknown"
        self._failed_at = now


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
