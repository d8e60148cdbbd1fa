"""All batches that wait, in order of arrival: one queue with a cursor for each stage.

                      applied, unclaimed │ journalled │ received
    leaves at the left ◄─────────────────┼────────────┼────────── enters at the right
                                  _applied ▲          ▲ _journalled

A batch leaves when nothing has to be done with it any more. Where no store is shared, that is when
it is applied, so the leftmost batch is the next to apply. Where a store is shared it leaves when it
is claimed; batches that were applied while the store was away stay at the left until then.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice

from .batch import Batch

MOST_DECODED = 5_000
"""Events that may wait in decoded form; of batches past it only the bytes are kept."""

MOST_DECODED_BYTES = 2 * 1024 * 1024
"""Bytes of bodies whose events may wait in decoded form."""


class BatchQueue:
    """Batches from acceptance to effect.

    Attributes:
        is_held: Whether no batch may be applied now, because a flush needs one moment's state.
        events: Events that wait to be applied.
        bytes: Bytes of the bodies of batches that wait to be applied.
    """

    def __init__(self, *, claims: bool) -> None:
        """
        Args:
            claims: Whether batches have to be claimed in a shared store.
        """
        self._batches: deque[Batch] = deque()
        self._claims = claims
        self._applied = 0
        self._journalled = 0
        self.is_held = False
        self.events = 0
        self.bytes = 0

    # In

    def add(self, batch: Batch) -> None:
        """Append an accepted batch."""
        self._batches.append(batch)
        self.events += batch.valid_events
        self.bytes += len(batch.record.body)
        if self.events > MOST_DECODED or self.bytes > MOST_DECODED_BYTES:
            batch.discard_events()
        if batch.is_journalled:
            self._move_journal_cursor()

    def find_unjournalled(self, digest: bytes) -> Batch | None:
        """Return the batch with this digest whose record is still being written."""
        for batch in islice(self._batches, self._journalled, None):
            if batch.record.digest == digest and not batch.is_journalled:
                return batch
        return None

    def find_by_effect(self, effect_id: int) -> Batch | None:
        """Return the batch whose record the effect writes."""
        for batch in islice(self._batches, self._journalled, None):  # most often the first
            if batch.effect_id == effect_id:
                return batch
        return None

    def mark_journalled(self, batch: Batch) -> None:
        """Note that a crash cannot lose the batch any more."""
        batch.is_journalled = True
        self._move_journal_cursor()

    def remove(self, batch: Batch) -> None:
        """Drop a batch whose record could not be written: it had no effect."""
        self._batches.remove(batch)
        self._subtract(batch)
        self._move_journal_cursor()

    def _move_journal_cursor(self) -> None:
        batches, count = self._batches, self._journalled
        while count < len(batches) and batches[count].is_journalled:
            count += 1
        self._journalled = count

    # Applied

    def next_to_apply(self) -> Batch | None:
        """Return the batch to apply next; None if there is none, or it must wait.

        Batches that need a claim are applied by ``mark_claimed`` or ``next_unapplied``.
        """
        if self.is_held or self._claims or not self._journalled:
            return None
        return self._batches[0]

    @property
    def next_unapplied(self) -> Batch | None:
        """The oldest journalled batch that was not applied."""
        return self._batches[self._applied] if self._applied < self._journalled else None

    def mark_applied(self) -> None:
        """Note that the oldest journalled batch that was not applied now is."""
        batch = self._batches[self._applied]
        self._subtract(batch)
        if self._claims:
            batch.discard_body()
            self._applied += 1
        else:
            self._batches.popleft()
            self._journalled -= 1

    @property
    def unapplied(self) -> int:
        """How many batches wait to be applied."""
        return len(self._batches) - self._applied

    @property
    def first_unapplied(self) -> int | None:
        """The record number of the oldest batch that was not applied."""
        if self._applied == len(self._batches):
            return None
        return self._batches[self._applied].record.number

    @property
    def has_unjournalled(self) -> bool:
        """Whether a record is on its way to the journal."""
        return self._journalled < len(self._batches)

    # Claimed

    def unclaimed(self) -> Iterator[Batch]:
        """Iterate over the journalled batches that were not claimed, oldest first."""
        return islice(self._batches, self._journalled)

    @property
    def has_unclaimed(self) -> bool:
        """Whether a batch can be claimed."""
        return bool(self._journalled)

    def mark_claimed(self, count: int) -> list[tuple[Batch, bool]]:
        """Remove the oldest batches: the store has answered about them.

        Returns:
            Each with whether it was applied before.
        """
        claimed = []
        for _ in range(count):
            batch = self._batches.popleft()
            self._journalled -= 1
            was_applied = bool(self._applied)
            if was_applied:
                self._applied -= 1
            else:
                self._subtract(batch)
            claimed.append((batch, was_applied))
        return claimed

    @property
    def applied_unclaimed(self) -> int:
        """How many batches were applied and not claimed; they are the oldest."""
        return self._applied

    def drop_applied(self, most: int) -> None:
        """Drop the oldest batches that were applied and not claimed, but for ``most``."""
        while self._applied > most:
            self._batches.popleft()
            self._applied -= 1
            self._journalled -= 1

    def _subtract(self, batch: Batch) -> None:
        self.events -= batch.valid_events
        self.bytes -= len(batch.record.body)
