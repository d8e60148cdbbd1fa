"""The pieces of protobuf's encoding that it takes to write fields by hand, and to find them again.

A message is the concatenation of its fields, so parts that were encoded once can be put together
again and again. Building messages as objects costs five times as much, and protobuf's own package
takes 4 MB of each worker.

The messages (prometheus/prompb/remote.proto and types.proto, grafana/loki pkg/push/push.proto)
are held against protobuf's own decoder by the tests.
"""

from collections.abc import Iterator
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


def number_field(number: int, value: int) -> bytes:
    """An integer field; protobuf leaves a zero out."""
    return _SMALL[number << 3] + varint(value) if value else b""


def text_field(number: int, text: str) -> bytes:
    """A string field; protobuf leaves an empty one out."""
    return field(number, text.encode()) if text else b""


FIELD_2_HEADS = tuple(b"\x12" + size for size in _SMALL)
"""How a length-delimited field of number 2 begins, by its length: that of entries and lines."""


def field_2_head(length: int) -> bytes:
    """The same for any length."""
    return FIELD_2_HEADS[length] if length < 4096 else b"\x12" + _encode(length)


def read_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message of ours that has only length-delimited ones: numbers and contents.

    Raises:
        ValueError: It is no such message.
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        length, at = read_varint(message, at)
        begin, at = at, at + length
        if tag & 7 != 2 or at > len(message):
            raise ValueError("not a message of length-delimited fields")
        yield tag >> 3, message[begin:at]


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a place in base 128, and where it ends."""
    number = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("not a message: a number has no end")
