"""A table of label sets for snapshots: thousands of views and series share a few of them."""

from typing import Self

import msgspec

from openqoe.core.metrics.series import Labels


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
        rows: The label sets by number.
    """

    def __init__(self) -> None:
        self.rows: list[Labels] = []
        self._numbers: dict[Labels, int] = {}

    def number(self, labels: Labels) -> int:
        """The number of a label set."""
        number = self._numbers.get(labels)
        if number is None:
            number = self._numbers[labels] = len(self.rows)
            self.rows.append(labels)
        return number

    def state(self) -> LabelTableState:
        """The state, for a snapshot."""
        pairs: dict[tuple[str, str], int] = {}
        rows = [[pairs.setdefault(pair, len(pairs)) for pair in labels] for labels in self.rows]
        return LabelTableState(list(pairs), rows)

    @classmethod
    def restored(cls, state: LabelTableState) -> Self:
        """The table of a snapshot; only to look up what stands in it."""
        table = cls()
        pairs = state.pairs
        table.rows = [tuple([pairs[number] for number in row]) for row in state.rows]
        return table
