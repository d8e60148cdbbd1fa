"""The same object for equal values: who is brought a new one each time keeps less."""

from typing import Any, TypeVar

Value = TypeVar("Value")


class Interner:
    """Values that are shared by those who hold them."""

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: How many it knows; past that it begins anew, because they come from outside.
        """
        self._limit = limit
        self._known: dict[Any, Any] = {}

    def intern(self, value: Value) -> Value:
        """The one that equals a value, which is the value itself if it is new."""
        if len(self._known) >= self._limit:
            self._known.clear()
        same: Value = self._known.setdefault(value, value)
        return same
