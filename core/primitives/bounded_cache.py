"""A cache that is bounded in bytes."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from .memory_size import OBJECT_BYTES

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedCache(Generic[Key, Value]):
    """A cache of values that can be computed again.

    A full cache is cleared. Evicting the entries that were used least recently would cost time at
    each look-up, and a client that fills the cache would win either way.

    Attributes:
        get: Returns the value of a key, None if it is not cached.
        bytes: Approximate bytes of the entries.
    """

    __slots__ = ("_entries", "_max_bytes", "bytes", "get")

    def __init__(self, max_bytes: int) -> None:
        """
        Args:
            max_bytes: Maximum approximate bytes of all entries.
        """
        self._max_bytes = max_bytes
        self._entries: dict[Key, Value] = {}
        self.bytes = 0
        self.get: Callable[[Key], Value | None] = self._entries.get

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: Key, value: Value, size: int) -> None:
        """Add a value under a key that is not cached.

        Args:
            key: The key.
            value: The value.
            size: Bytes of both (``memory_size``). An entry of more than a hundredth of the bound
                is not cached, since few of them would clear the cache again and again.
        """
        size += 2 * OBJECT_BYTES
        if size > self._max_bytes // 100:
            return
        if self.bytes + size > self._max_bytes:
            self.clear()
        self._entries[key] = value
        self.bytes += size

    def clear(self) -> None:
        """Forget all entries."""
        self._entries.clear()
        self.bytes = 0
