"""The pieces of protobuf's encoding that it takes to write fields by hand.

A message is the concatenation of its fields, so parts that were encoded once can be put together
again and again. Building messages as objects costs five times as much.
"""

from functools import lru_cache


def _encode(number: int) -> bytes:
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)


# Nearly all numbers are lengths and tags: looked up, they cost a fifth. The others are
# times, of which many are equal.
_SMALL = tuple(_encode(number) for number in range(4096))
_encode_again = lru_cache(maxsize=4096)(_encode)


def varint(number: int) -> bytes:
    """A non-negative number in base 128, lowest group first."""
    return _SMALL[number] if number < 4096 else _encode_again(number)


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field (string, bytes, message)."""
    length = len(content)
    size = _SMALL[length] if length < 4096 else _encode(length)
    return _SMALL[number << 3 | 2] + size + content


def text_field(number: int, text: str) -> bytes:
    """A string field; protobuf leaves an empty one out."""
    return field(number, text.encode()) if text else b""


FIELD_2 = tuple(b"\x12" + size for size in _SMALL)
"""How a length-delimited field of number 2 begins, by its length: that of entries and lines."""


def size_of_field_2(length: int) -> bytes:
    """The same for any length."""
    return FIELD_2[length] if length < 4096 else b"\x12" + _encode(length)
