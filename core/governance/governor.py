"""The governor: all dimensions together."""

from collections.abc import Mapping

from ..config.cardinality_limits import CardinalityLimit
from .dimension import Dimension, overflow_label

DAY = 86_400_000


class Governor:
    """Governs label values.

    A fault on one dimension never refuses an event: that dimension falls back to the
    folded value, which is always safe.

    Attributes:
        dimensions: The dimensions by name.
        faults: How often that has happened (grows only).
        governed: How often a label was governed: what is known in caches is not (grows only).
    """

    def __init__(self, limits: Mapping[str, CardinalityLimit]) -> None:
        self.dimensions = {name: Dimension(name, limit) for name, limit in limits.items()}
        self.faults = 0
        self.governed = 0

    def govern(self, name: str, value: str, now: int) -> str | None:
        """The label value to use, or None to leave the label out.

        A name without a limit (a label whose values the worker itself chooses) passes.
        """
        self.governed += 1
        dimension = self.dimensions.get(name)
        if dimension is None:
            return value
        try:
            return dimension.govern(value, now // DAY)
        except (ArithmeticError, ValueError):
            self.faults += 1
            return overflow_label(value)

    def admitted_values(self, name: str, now: int) -> tuple[str, ...]:
        """The admitted values of a dimension, in order of admission."""
        return self.dimensions[name].admitted_values(now // DAY)

    def count_values(self, now: int) -> dict[str, int]:
        """How many values each dimension has admitted."""
        return {name: d.count_values(now // DAY) for name, d in self.dimensions.items()}
