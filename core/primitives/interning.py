"""Interning: one shared object for equal values, to save memory."""

from typing import Any, TypeVar

from .bounded_cache import BoundedCache
from .memory_size import memory_size

Value = TypeVar("Value")


class Interner:
    """A bounded table of interned values.

    Args:
        max_bytes: Approximate bytes of the values in the table at most. A full table is cleared,
            because the values come from outside.
    """

    def __init__(self, max_bytes: int) -> None:
        self._known: BoundedCache[Any, Any] = BoundedCache(max_bytes)

    def intern(self, value: Value) -> Value:
        """Return the known object equal to a hashable value, or the value itself if it is new."""
        same: Value | None = self._known.get(value)
        if same is None:
            self._known.add(value, value, memory_size(value))
            return value
        return same
