"""Governance of all dimensions."""

from collections.abc import Mapping

from ..config.cardinality_limits import CardinalityLimit
from .dimension import Dimension, Sighting, overflow_label

DAY = 86_400_000
MINUTE = 60_000


class Governor:
    """Maps values to governed labels.

    An error in one dimension never rejects an event: the overflow label is used instead.

    Attributes:
        dimensions: The dimensions by name.
        faults: Number of such errors; never decreases.
        governed: Number of calls of ``govern``, which caches avoid; never decreases.
    """

    def __init__(self, limits: Mapping[str, CardinalityLimit]) -> None:
        self.dimensions = {name: Dimension(name, limit) for name, limit in limits.items()}
        self.faults = 0
        self.governed = 0

    def govern(
        self, name: str, value: str, now: int, organisation: str = "", view: str = ""
    ) -> str | None:
        """Return the label for a value, or None to leave the label out.

        A value of a name without a limit, whose values the worker itself chooses, is unchanged.

        Args:
            name: Name of the label.
            value: Value in the event.
            now: Current time, ms since the epoch.
            organisation: The event's organisation; "" if unknown.
            view: The event's view; "" if unknown.
        """
        self.governed += 1
        dimension = self.dimensions.get(name)
        if dimension is None:
            return value
        try:
            return dimension.govern(value, now // DAY, Sighting(organisation, view, now // MINUTE))
        except (ArithmeticError, ValueError):
            self.faults += 1
            return overflow_label(value)

    def admitted_values(self, name: str, now: int) -> tuple[str, ...]:
        """Return the admitted values of a dimension, in order of admission."""
        return self.dimensions[name].admitted_values(now // DAY)

    def count_values(self, now: int) -> dict[str, int]:
        """Return the number of admitted values by dimension."""
        return {name: d.count_values(now // DAY) for name, d in self.dimensions.items()}
