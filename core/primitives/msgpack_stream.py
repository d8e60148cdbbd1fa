"""Streaming msgpack writer: the lists and dictionaries of a snapshot, encoded item by item.

An item is encoded while it is still in the processor's cache, which halves the time, and in small
steps, which keeps pauses short. The bytes are kept in blocks: a million views are hundreds of MB,
and to resize or free one buffer of that size would itself cause a pause.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

_encode_into = msgspec.msgpack.Encoder().encode_into

BLOCK_BYTES: Final = 64 * 1024
"""Size at which a block is closed."""

_ARRAY_32: Final = b"\xdd"
_MAP_32: Final = b"\xdf"
"""First bytes of an array and a map whose length follows in 32 bits (msgpack specification)."""


class MsgpackStream:
    """Base of the two containers: counts items and collects their bytes."""

    __slots__ = ("_blocks", "_count", "_open")

    _head = _ARRAY_32

    def __init__(self) -> None:
        self._blocks: list[bytes] = []  # closed blocks
        self._open = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def as_field(self) -> Any:
        """Return itself, untyped, as the value of a struct's field that is a list or dictionary.

        ``core/engine/snapshot`` encodes such a struct and inserts the stream's bytes.
        """
        return self

    def drain_blocks(self) -> Iterator[bytes]:
        """Yield the whole container as msgpack, block by block; frees each block when the next one
        is requested, so it works once."""
        yield self._head + self._count.to_bytes(4, "big")
        self._blocks.append(bytes(self._open))
        self._open = bytearray()
        self._blocks.reverse()
        while self._blocks:
            yield self._blocks.pop()

    def _count_items(self, count: int = 1) -> None:
        self._count += count
        if len(self._open) >= BLOCK_BYTES:
            self._blocks.append(bytes(self._open))
            self._open.clear()


class MsgpackList(MsgpackStream):
    """A msgpack array that grows as bytes."""

    __slots__ = ()

    def add(self, item: object) -> None:
        """Encode and append one item."""
        _encode_into(item, self._open, -1)
        self._count_items()

    def extend(self, items: list[Any]) -> None:
        """Append up to 15 items in one call; the call is most of the cost of a small item."""
        assert len(items) <= 15, "the head of a longer list has more than one byte"
        begin = len(self._open)
        _encode_into(items, self._open, -1)
        del self._open[begin]  # the one-byte head of an array of up to 15: only its items remain
        self._count_items(len(items))


class MsgpackDict(MsgpackStream):
    """A msgpack map that grows as bytes."""

    __slots__ = ()

    _head = _MAP_32

    def add(self, key: object, value: object) -> None:
        """Encode and append one key with its value; keys must be distinct."""
        _encode_into(key, self._open, -1)
        _encode_into(value, self._open, -1)
        self._count_items()
