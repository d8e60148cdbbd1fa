"""Lists and dictionaries of a snapshot, made into bytes item by item.

All the items at once would leave the processor's cache before they are encoded, which takes
twice as long, and would hold everybody up until they are. Nor do the bytes lie in one block: of a
million views that is hundreds of MB, and each time that it grows or goes it is a hold of its own.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

_encode_into = msgspec.msgpack.Encoder().encode_into

BLOCK_BYTES: Final = 64 * 1024
"""Bytes after which a block is full."""

_LIST: Final = b"\xdd"
_DICT: Final = b"\xdf"
"""How msgpack begins a list and a dictionary with a length of 32 bits."""


class MsgpackStream:
    """Items as bytes."""

    __slots__ = ("_blocks", "_count", "_open")

    _begin = _LIST

    def __init__(self) -> None:
        self._blocks: list[bytes] = []  # the full ones
        self._open = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def as_field(self) -> Any:
        """What stands for it in a state that is to be encoded (``core/engine/snapshot``)."""
        return self

    def drain_blocks(self) -> Iterator[bytes]:
        """All of it as msgpack has it, block by block. Each goes when the next one is asked for:
        it can be taken once."""
        yield self._begin + self._count.to_bytes(4, "big")
        self._blocks.append(bytes(self._open))
        self._open = bytearray()
        self._blocks.reverse()
        while self._blocks:
            yield self._blocks.pop()

    def _added(self, count: int = 1) -> None:
        self._count += count
        if len(self._open) >= BLOCK_BYTES:
            self._blocks.append(bytes(self._open))
            self._open.clear()


class MsgpackList(MsgpackStream):
    """A list that grows as bytes."""

    __slots__ = ()

    def add(self, item: object) -> None:
        """Encode one more item."""
        _encode_into(item, self._open, -1)
        self._added()

    def extend(self, items: list[Any]) -> None:
        """Encode up to 15 more items in one call: that is most of what a small one takes."""
        assert len(items) <= 15, "the head of a longer list has more than one byte"
        begin = len(self._open)
        _encode_into(items, self._open, -1)
        del self._open[begin]  # msgpack's byte for a list of so many: the items remain
        self._added(len(items))


class MsgpackDict(MsgpackStream):
    """A dictionary that grows as bytes."""

    __slots__ = ()

    _begin = _DICT

    def add(self, key: object, value: object) -> None:
        """Encode one more item."""
        _encode_into(key, self._open, -1)
        _encode_into(value, self._open, -1)
        self._added()
