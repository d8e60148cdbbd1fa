"""Estimates the memory of values that come from clients, so that caches can be bounded in bytes.

A number of entries is no bound: a client chooses how long each of them is.
"""

from typing import Final

import msgspec

OBJECT_BYTES: Final = 80
"""Bytes of a small object: CPython's header, and the entries that refer to it."""

MAX_CHARACTER_BYTES: Final = 4
"""CPython stores all characters of a string in the width of the widest."""


def memory_size(value: object) -> int:
    """Return an upper estimate of the bytes of a value.

    Args:
        value: None, a string, a number or bytes, or a tuple or struct of such values.
    """
    if value is None:
        return 0
    if isinstance(value, str):
        return OBJECT_BYTES + len(value) * (1 if value.isascii() else MAX_CHARACTER_BYTES)
    if isinstance(value, bytes):
        return OBJECT_BYTES + len(value)
    if isinstance(value, int):
        return OBJECT_BYTES + value.bit_length() // 7
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    if isinstance(value, tuple):
        size = OBJECT_BYTES
        for member in value:
            size += 8 + memory_size(member)
        return size
    return OBJECT_BYTES
