"""Interning: one shared object for equal values, to save memory."""

from typing import Any, TypeVar

Value = TypeVar("Value")


class Interner:
    """A bounded table of interned values.

    Args:
        limit: Values in the table at most. A full table is cleared, because the values come from
            outside and their number has no bound.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[Any, Any] = {}

    def intern(self, value: Value) -> Value:
        """Return the known object equal to a hashable value, or the value itself if it is new."""
        if len(self._known) >= self._limit:
            self._known.clear()
        same: Value = self._known.setdefault(value, value)
        return same
