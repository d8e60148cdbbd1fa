"""One governed dimension: which values it has admitted, and what becomes of the others.

The rule is first come, first admitted. A value past the limit is not given a
label of its own hash: distinct hashes would grow without end, and growth is what the
limit is there to stop. It is folded into one of ``OVERFLOW_LABELS`` labels instead, so a dimension
never has more than ``max_cardinality + OVERFLOW_LABELS`` label values.

A value frees its place when it was not seen on the current day nor on the one before:
after 24 to 48 hours.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

import msgspec

from ..config.cardinality_limits import CardinalityLimit
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, IncrementalWork
from ..primitives.msgpack_stream import MsgpackDict
from .hashing import hash32, hash_label

OVERFLOW_LABELS = 64

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")


def overflow_label(value: str) -> str:
    """The label value shared by the values past the limit whose hashes agree."""
    return f"hash_{hash32(value) % OVERFLOW_LABELS:02x}"


def bucket_label(value: str, size: int) -> str:
    """The numeric range ("10000-20000") or hash bucket ("bucket_17") of a value."""
    if _NUMBER.fullmatch(value):
        start = Fraction(value) // size * size
        return f"{start}-{start + size}"
    return f"bucket_{hash32(value) % size}"


def label_for_value(value: str, limit: CardinalityLimit) -> str | None:
    """The label value that a value has while there is room; None if the label is left out."""
    match limit.action:
        case "drop":
            return None
        case "bucket":
            return bucket_label(value, limit.bucket_size)
        case "hash":
            return hash_label(value)
        case "allow":
            return value


class DimensionState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A dimension in a snapshot."""

    admitted: dict[str, int]
    overflowed: int


class Dimension:
    """The state of one dimension.

    Attributes:
        name: The label's name.
        limit: What applies.
        overflowed: How many times a value had to be folded (grows only).
    """

    __slots__ = ("_admitted", "_expired_on", "_unpublished", "limit", "name", "overflowed")

    def __init__(self, name: str, limit: CardinalityLimit) -> None:
        self.name = name
        self.limit = limit
        self.overflowed = 0
        self._admitted: dict[str, int] = {}  # value to the day it was last seen, in order
        self._unpublished: dict[str, None] = {}  # seen since the store was last told
        self._expired_on = 0  # the day on which values were forgotten last

    def govern(self, value: str, day: int) -> str | None:
        """The label value to use for a value, or None to leave the label out."""
        limit = self.limit
        label = label_for_value(value, limit)
        if label is None or (limit.action == "hash" and limit.max_cardinality is None):
            return label  # hashes of ids are far too many to remember
        if self._admit(label, day):
            return label
        self.overflowed += 1
        return overflow_label(label)

    def _admit(self, value: str, day: int) -> bool:
        limit = self.limit.max_cardinality
        if value in self._admitted:
            if self._admitted[value] != day:
                self._admitted[value] = day
                self._unpublished[value] = None
            return True
        if limit is not None and len(self._admitted) >= limit:
            self._expire_values(day)
            if len(self._admitted) >= limit:
                return False
        self._admitted[value] = day
        self._unpublished[value] = None
        return True

    def capture_state(self) -> IncrementalWork[DimensionState]:
        """The state, for a snapshot. Meanwhile nothing must change."""
        admitted = MsgpackDict()
        for number, (value, day) in enumerate(self._admitted.items()):
            admitted.add(value, day)
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        return DimensionState(admitted.as_field(), self.overflowed)

    def restore_state(self, state: DimensionState) -> None:
        """Take a state back. The shared store is told all of it again: it may not have heard."""
        self._admitted = dict(state.admitted)
        self._unpublished = dict.fromkeys(state.admitted)
        self._expired_on = 0
        self.overflowed = state.overflowed

    def _expire_values(self, day: int) -> None:
        """Forget what was not seen yesterday nor today. Once a day: each value that finds the
        dimension full asks for it, and there may be 100,000 to be looked at."""
        if day == self._expired_on:
            return
        self._expired_on = day
        if any(seen < day - 1 for seen in self._admitted.values()):
            self._admitted = {v: seen for v, seen in self._admitted.items() if seen >= day - 1}

    def count_values(self, day: int) -> int:
        """How many values are admitted."""
        self._expire_values(day)
        return len(self._admitted)

    def admitted_values(self, day: int) -> tuple[str, ...]:
        """The admitted values in order of admission."""
        self._expire_values(day)
        return tuple(self._admitted)

    @property
    def is_limited(self) -> bool:
        """Whether values are admitted at all, so that workers have to agree on them."""
        action = self.limit.action
        return action != "drop" and (action != "hash" or self.limit.max_cardinality is not None)

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Values that the shared store should hear of; each is told once a day."""
        return tuple(value for value in self._unpublished if value in self._admitted)

    def mark_published(self, values: Iterable[str]) -> None:
        """The shared store has heard of these values."""
        for value in values:
            self._unpublished.pop(value, None)

    def mark_all_unpublished(self) -> None:
        """The shared store has forgotten what it was told."""
        self._unpublished = dict.fromkeys(self._admitted)

    def adopt_shared_values(self, members: Iterable[str], day: int) -> bool:
        """Take over the shared store's set: first come over all processes.

        Values admitted here since the store was last told keep their place behind the
        shared ones while there is room.

        Returns:
            Whether a value lost or gained its place, so that cached labels are void.
        """
        limit = self.limit.max_cardinality
        before = self._admitted
        # What only others have seen counts as seen yesterday: it stays as long as they tell of
        # it, and is told from here as well once it is seen here.
        merged = {value: max(before.get(value, 0), day - 1) for value in members}
        for value in self._unpublished:
            if limit is None or len(merged) < limit:
                merged.setdefault(value, before.get(value, day))
        if limit is not None:
            merged = dict(list(merged.items())[:limit])
        self._admitted = merged
        return merged.keys() != before.keys()
