"""Table of label sets for snapshots, in which views and series refer to them by number."""

from typing import Self

import msgspec

from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, IncrementalWork
from ..primitives.msgpack_stream import MsgpackList
from .series import Labels


class LabelTableState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A table in a snapshot.

    Attributes:
        pairs: The distinct labels, as name and value.
        rows: The label sets by number, each as indexes into ``pairs``.
    """

    pairs: list[tuple[str, str]]
    rows: list[list[int]]


class LabelTable:
    """Assigns numbers to label sets.

    Attributes:
        rows: The label sets by number; filled only by ``from_state``.
    """

    def __init__(self) -> None:
        self.rows: list[Labels] = []
        self._numbers: dict[Labels, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}
        self._packed_pairs = MsgpackList()
        self._packed_rows = MsgpackList()

    def assign_number(self, labels: Labels) -> int:
        """The number of a label set, assigned at its first use."""
        following = len(self._packed_rows)
        number = self._numbers.setdefault(labels, following)
        if number == following:
            row = list(map(self._pairs.get, labels))  # in C: few pairs are new
            self._packed_rows.add(list(map(self._pair_number, labels)) if None in row else row)
        return number

    def _pair_number(self, pair: tuple[str, str]) -> int:
        place = self._pairs.get(pair)
        if place is None:
            place = self._pairs[pair] = len(self._pairs)
            self._packed_pairs.add(pair)
        return place

    def capture_state(self) -> IncrementalWork[LabelTableState]:
        """Captures the state for a snapshot and empties the table."""
        known: dict[Labels, int] | dict[tuple[str, str], int]
        for known in (self._numbers, self._pairs):
            while known:  # in steps: there may be hundreds of thousands
                known.popitem()
                if len(known) % SMALL_ITEMS_PER_UNIT == 0:
                    yield 1
        return LabelTableState(self._packed_pairs.as_field(), self._packed_rows.as_field())

    @classmethod
    def from_state(cls, state: LabelTableState) -> Self:
        """Restores a table, for look-ups only."""
        table = cls()
        pairs = state.pairs
        table.rows = [tuple([pairs[number] for number in row]) for row in state.rows]
        return table
