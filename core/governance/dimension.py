"""One governed dimension: its admitted values and the overflow of the others.

Values are admitted first come, first served. A value beyond the limit is mapped to one of
``OVERFLOW_LABELS`` labels, not to its own hash, because the number of hashes would have no bound.
So a dimension never has more than ``max_cardinality + OVERFLOW_LABELS`` label values.

One request must not occupy all places for a day. So half of them are reserved for values that were
seen in two views or in two minutes, and an organisation has at most half of the places, unless
there is no other organisation.

A value expires when it was seen neither on the current day (UTC) nor on the day before: after 24 to
48 hours.
"""

import re
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import msgspec

from ..config.cardinality_limits import CardinalityLimit
from ..metrics.registry import ProvisionalLabel
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, IncrementalWork
from ..primitives.msgpack_stream import MsgpackDict
from .hashing import hash32, hash_label

OVERFLOW_LABELS = 64
"""Number of labels for values beyond the limit, per dimension."""

LEAST_WITH_RESERVE = 10
"""Places from which a dimension has a reserve; fewer are too few to be divided."""

MAX_CANDIDATES = 1_000
"""Values of one dimension that were seen once and are remembered; the oldest are forgotten."""

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?")


def overflow_label(value: str) -> str:
    """Return the overflow label of a value: "hash_00" to "hash_3f"."""
    return f"hash_{hash32(value) % OVERFLOW_LABELS:02x}"


def bucket_label(value: str, size: int) -> str:
    """Return the numeric range ("10000-20000") or the hash bucket ("bucket_17") of a value."""
    if _NUMBER.fullmatch(value):
        start = Fraction(value) // size * size
        return f"{start}-{start + size}"
    return f"bucket_{hash32(value) % size}"


def label_for_value(value: str, limit: CardinalityLimit) -> str | None:
    """Return the label of a value within the limit; None if the label is left out."""
    match limit.action:
        case "drop":
            return None
        case "bucket":
            return bucket_label(value, limit.bucket_size)
        case "hash":
            return hash_label(value)
        case "allow":
            return value


class Sighting(NamedTuple):
    """Where and when a value was seen.

    Attributes:
        organisation: The event's organisation; "" if unknown.
        view: The event's view; "" if unknown.
        minute: Minute since the epoch.
    """

    organisation: str
    view: str
    minute: int


class DimensionState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """State of a dimension in a snapshot."""

    admitted: dict[str, int]
    overflowed: int


class Dimension:
    """A dimension with its admitted values.

    Attributes:
        name: Name of the label.
        limit: Its limit.
        overflowed: Number of lookups that returned an overflow label; never decreases.
    """

    __slots__ = (
        *("_admitted", "_candidates", "_expired_on", "_owners", "_places", "_unpublished"),
        *("limit", "name", "overflowed"),
    )

    def __init__(self, name: str, limit: CardinalityLimit) -> None:
        self.name = name
        self.limit = limit
        self.overflowed = 0
        self._admitted: dict[str, int] = {}  # value to day last seen, in order of admission
        self._unpublished: dict[str, None] = {}  # values to publish in the shared store
        # Hashes of values seen once, with hashes of their views, and minutes
        self._candidates: dict[int, tuple[int, int]] = {}
        self._owners: dict[str, str] = {}  # organisations of values admitted since the start
        self._places: Counter[str] = Counter()  # places by organisation
        self._expired_on = 0  # day on which values last expired

    def govern(self, value: str, day: int, seen: Sighting | None = None) -> str | None:
        """Return the label for a value, or None to leave the label out.

        Args:
            value: Value of the dimension.
            day: Current day since the epoch.
            seen: Where and when it was seen; without, it needs no second sighting.
        """
        limit = self.limit
        label = label_for_value(value, limit)
        if label is not None and label in limit.deny:
            self.overflowed += 1
            return overflow_label(label)
        if label in limit.allow:
            return label
        if label is None or (limit.action == "hash" and limit.max_cardinality is None):
            return label  # hashes of ids are too many to keep
        if label in self._admitted or self._has_place(day, seen):
            if self._is_candidate(label, seen):
                self.overflowed += 1
                return ProvisionalLabel(overflow_label(label))
            self._admit(label, day, seen)
            return label
        self.overflowed += 1
        return overflow_label(label)

    def _has_place(self, day: int, seen: Sighting | None) -> bool:
        """Whether there is a place for a new value of an organisation."""
        limit = self.limit.max_cardinality
        if limit is None:
            return True
        if len(self._admitted) >= limit:
            self._expire_values(day)
            if len(self._admitted) >= limit:
                return False
        if seen is None or limit < LEAST_WITH_RESERVE or len(self._places) < 2:
            return True
        return self._places[seen.organisation] < limit // 2

    def _is_candidate(self, value: str, seen: Sighting | None) -> bool:
        """Whether a value has to be seen once more before it is admitted."""
        limit = self.limit.max_cardinality
        if value in self._admitted or seen is None or limit is None or limit < LEAST_WITH_RESERVE:
            return False
        if len(self._admitted) < limit // 2:
            return False
        key, view = hash32(value), hash32(seen.view)
        before = self._candidates.pop(key, None)
        if before is not None and (before[0] != view or before[1] != seen.minute):
            return False
        if len(self._candidates) >= MAX_CANDIDATES:
            del self._candidates[next(iter(self._candidates))]
        self._candidates[key] = (view, seen.minute)
        return True

    def _admit(self, value: str, day: int, seen: Sighting | None) -> None:
        if self._admitted.get(value) == day:
            return
        if value not in self._admitted and seen is not None and seen.organisation:
            self._owners[value] = seen.organisation
            self._places[seen.organisation] += 1
        self._admitted[value] = day
        self._unpublished[value] = None

    def _replace_values(self, admitted: dict[str, int]) -> None:
        self._admitted = {v: seen for v, seen in admitted.items() if v not in self.limit.deny}
        self._owners = {v: owner for v, owner in self._owners.items() if v in self._admitted}
        self._places = Counter(self._owners.values())

    def capture_state(self) -> IncrementalWork[DimensionState]:
        """Return the state, for a snapshot; the dimension must not change until the work ends."""
        admitted = MsgpackDict()
        for number, (value, day) in enumerate(self._admitted.items()):
            admitted.add(value, day)
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        return DimensionState(admitted.as_field(), self.overflowed)

    def restore_state(self, state: DimensionState) -> None:
        """Restore a state. All values are published again, as the shared store may lack them."""
        self._replace_values(state.admitted)
        self._unpublished = dict.fromkeys(state.admitted)
        self._expired_on = 0
        self.overflowed = state.overflowed

    def _expire_values(self, day: int) -> None:
        """Remove values seen neither yesterday nor today.

        Runs once a day, because each value that finds the dimension full calls it, and it scans up
        to 100,000 values.
        """
        if day == self._expired_on:
            return
        self._expired_on = day
        if any(seen < day - 1 for seen in self._admitted.values()):
            self._replace_values({v: seen for v, seen in self._admitted.items() if seen >= day - 1})

    def count_values(self, day: int) -> int:
        """Return the number of admitted values on a day."""
        self._expire_values(day)
        return len(self._admitted)

    def admitted_values(self, day: int) -> tuple[str, ...]:
        """Return the admitted values on a day, in order of admission."""
        self._expire_values(day)
        return tuple(self._admitted)

    @property
    def is_limited(self) -> bool:
        """Whether values are admitted at all, so that workers need to agree on them."""
        action = self.limit.action
        return action != "drop" and (action != "hash" or self.limit.max_cardinality is not None)

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Admitted values to publish in the shared store; each is published once a day."""
        return tuple(value for value in self._unpublished if value in self._admitted)

    def mark_published(self, values: Iterable[str]) -> None:
        """Note that the shared store has these values."""
        for value in values:
            self._unpublished.pop(value, None)

    def mark_all_unpublished(self) -> None:
        """Publish all admitted values again, because the shared store lost its data."""
        self._unpublished = dict.fromkeys(self._admitted)

    def adopt_shared_values(self, members: Iterable[str], day: int) -> bool:
        """Adopt the admitted values of the shared store: first come, first served over all workers.

        Values admitted here and not yet published stay behind the shared ones within the limit.

        Args:
            members: Values in the store, in order of admission.
            day: Current day since the epoch.

        Returns:
            Whether the set of admitted values changed, so that cached labels are invalid.
        """
        limit = self.limit.max_cardinality
        before = self._admitted
        # A value seen by other workers only counts as seen yesterday: it stays while they publish
        # it, and this worker publishes it too once it sees it.
        merged = {value: max(before.get(value, 0), day - 1) for value in members}
        for value in self._unpublished:
            if limit is None or len(merged) < limit:
                merged.setdefault(value, before.get(value, day))
        if limit is not None:
            merged = dict(list(merged.items())[:limit])
        self._replace_values(merged)
        return self._admitted.keys() != before.keys()
