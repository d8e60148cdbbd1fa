"""Encodes fields of protobuf messages by hand, and reads them back.

A message is the concatenation of its fields, so encoded parts can be reused. Building messages as
objects takes five times as long, and the protobuf package takes 4 MB in each worker.

Tests compare the messages (prometheus/prompb/remote.proto and types.proto, grafana/loki
pkg/push/push.proto) with protobuf's own decoder.
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


# Nearly all numbers are lengths and tags: a look-up takes a fifth of the time. The others are
# times, many of which are equal.
_SMALL = tuple(_encode(number) for number in range(4096))
_encode_again = lru_cache(maxsize=4096)(_encode)


def varint(number: int) -> bytes:
    """Encodes a non-negative number in base 128, lowest group first."""
    return _SMALL[number] if number < 4096 else _encode_again(number)


def field(number: int, content: bytes) -> bytes:
    """Encodes a length-delimited field (string, bytes, message)."""
    length = len(content)
    size = _SMALL[length] if length < 4096 else _encode(length)
    return _SMALL[number << 3 | 2] + size + content


def number_field(number: int, value: int) -> bytes:
    """Encodes an integer field; protobuf omits a zero."""
    return _SMALL[number << 3] + varint(value) if value else b""


def text_field(number: int, text: str) -> bytes:
    """Encodes a string field; protobuf omits an empty one."""
    return field(number, text.encode()) if text else b""


FIELD_2_HEADS = tuple(b"\x12" + size for size in _SMALL)
"""Heads of a length-delimited field of number 2, which entries and lines are, by its length."""


def field_2_head(length: int) -> bytes:
    """The head of a length-delimited field of number 2."""
    return FIELD_2_HEADS[length] if length < 4096 else b"\x12" + _encode(length)


def read_fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Reads the numbers and contents of a message that has only length-delimited fields.

    Raises:
        ValueError: It is not such a message.
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
    """Reads a number in base 128; returns it and the position of its end."""
    number = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("not a message: a number has no end")
