"""Rows of the journal: read as they were written, or left out."""

import zlib

import snappy
from hypothesis import example, given
from hypothesis import strategies as st

from openqoe.shells.storage.database_schema import read_record
from tests.support.event_builders import NOW

BODY = b'{"events":[]}' * 100


def read(packed: bytes, crc: int) -> bytes | None:
    record = read_record((1, NOW, None, b"digest", crc, packed))
    return None if record is None else record.body


@given(st.binary(max_size=5000))
def test_a_body_is_read_however_it_was_packed(body: bytes) -> None:
    crc = zlib.crc32(body)
    for packed in (body, snappy.compress(body), zlib.compress(body, 1)):
        assert read(packed, crc) == body


@given(st.binary(), st.integers(0, 2**32 - 1))
@example(b"\xff\xff\xff\xff\x0f" + bytes(100), 1)  # announces 4 GiB
def test_what_is_damaged_is_left_out(packed: bytes, crc: int) -> None:
    found = read(packed, crc)
    assert found is None or zlib.crc32(found) == crc


@given(st.integers(0, len(snappy.compress(BODY)) - 1), st.integers(1, 255))
def test_a_body_with_a_byte_changed_is_left_out(place: int, change: int) -> None:
    packed = bytearray(snappy.compress(BODY))
    packed[place] ^= change
    assert read(bytes(packed), zlib.crc32(BODY)) in (None, BODY)
