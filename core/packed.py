"""Lists of a snapshot, made into bytes item by item.

All the items at once would leave the processor's cache before they are encoded, which takes
twice as long, and would hold everybody up until they are.
"""

from typing import Any

import msgspec

_encode_into = msgspec.msgpack.Encoder().encode_into

_HEAD = b"\xdd\0\0\0\0"
"""msgpack's list with a length of 32 bits."""


class PackedList:
    """A list that grows as bytes."""

    __slots__ = ("_bytes", "_count")

    def __init__(self) -> None:
        self._bytes = bytearray(_HEAD)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, item: object) -> None:
        """Encode one more item."""
        _encode_into(item, self._bytes, -1)
        self._count += 1

    def raw(self) -> Any:
        """What stands for the list in a struct that is to be encoded."""
        self._bytes[1 : len(_HEAD)] = self._count.to_bytes(4, "big")
        return msgspec.Raw(self._bytes)
