"""The request that carries rows of views to the embedded store: snappy-compressed msgpack."""

from collections.abc import Sequence

import msgspec
import snappy

HEADERS = (("Content-Type", "application/vnd.openqoe.views"), ("Content-Encoding", "snappy"))

_decode = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.msgpack.Encoder().encode


def encode_request(rows: Sequence[bytes]) -> bytes:
    """Joins encoded rows into a request body."""
    body: bytes = snappy.compress(_encode([msgspec.Raw(row) for row in rows]))
    return body


def split_request(body: bytes) -> tuple[tuple[bytes, int], ...]:
    """Divides a request body into halves with their numbers of rows; () if there is only one."""
    rows = [bytes(row) for row in _decode(snappy.decompress(body))]
    if len(rows) < 2:
        return ()
    half = len(rows) // 2
    return tuple((encode_request(part), len(part)) for part in (rows[:half], rows[half:]))
