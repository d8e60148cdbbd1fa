"""A table of label sets for snapshots: thousands of views and series share a few of them."""

from typing import Self

import msgspec

from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, Work
from ..primitives.msgpack_stream import MsgpackList
from .series import Labels


class LabelTableState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A table in a snapshot.

    Attributes:
        pairs: Every label, name and value, that some row holds.
        rows: The label sets by number, each as the numbers of its labels.
    """

    pairs: list[tuple[str, str]]
    rows: list[list[int]]


class LabelTable:
    """Gives each label set a number.

    Attributes:
        rows: The label sets by number; only in a table that was from_state.
    """

    def __init__(self) -> None:
        self.rows: list[Labels] = []
        self._numbers: dict[Labels, int] = {}
        self._pairs: dict[tuple[str, str], int] = {}
        self._packed_pairs = MsgpackList()
        self._packed_rows = MsgpackList()

    def assign_number(self, labels: Labels) -> int:
        """The number of a label set."""
        following = len(self._packed_rows)
        number = self._numbers.setdefault(labels, following)
        if number == following:
            row = list(map(self._pairs.get, labels))  # in C: hardly a pair is new
            self._packed_rows.add(list(map(self._pair_number, labels)) if None in row else row)
        return number

    def _pair_number(self, pair: tuple[str, str]) -> int:
        place = self._pairs.get(pair)
        if place is None:
            place = self._pairs[pair] = len(self._pairs)
            self._packed_pairs.add(pair)
        return place

    def capture_state(self) -> Work[LabelTableState]:
        """The state, for a snapshot; afterwards the table is empty."""
        known: dict[Labels, int] | dict[tuple[str, str], int]
        for known in (self._numbers, self._pairs):
            while known:  # one by one: there may be hundreds of thousands
                known.popitem()
                if len(known) % SMALL_ITEMS_PER_UNIT == 0:
                    yield 1
        return LabelTableState(self._packed_pairs.raw(), self._packed_rows.raw())

    @classmethod
    def from_state(cls, state: LabelTableState) -> Self:
        """The table of a snapshot; only to look up what stands in it."""
        table = cls()
        pairs = state.pairs
        table.rows = [tuple([pairs[number] for number in row]) for row in state.rows]
        return table
