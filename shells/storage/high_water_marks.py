"""The highest numbers that files hold: a copy beside the journal and the databases.

A truncated journal, or a SQLite write-ahead log that lost its end, looks like one that never had
more. Compared with these numbers it does not. A number is written after the data that it stands
for, by one ``pwrite`` without a sync: after a crash of the machine it may be too low, which hides a
loss, but never reports one that did not happen.
"""

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

FILE: Final = "high-water-marks"
"""Name of the file in the folder of a slot."""

_ENTRY: Final = struct.Struct("<QI")  # a number and its CRC-32
_NUMBER: Final = struct.Struct("<Q")

RECORD: Final = 0
"""Entry of a slot: the last record in the journal."""

SNAPSHOT: Final = 1
"""Entry of a slot: the last record that a snapshot covers."""

PAYLOAD: Final = 2
"""Entry of a slot: the last payload in the outbox."""

SLOT_ENTRIES: Final = 3


class SlotNumbers(NamedTuple):
    """The numbers that an earlier process of a slot has written; 0 if unknown."""

    record: int
    snapshot: int
    payload: int


class HighWaterMarks:
    """A file of numbers. Each entry has one writing thread.

    Args:
        path: The file; created if it is missing.
        entries: How many numbers it has.

    Attributes:
        found: The numbers that an earlier process has written, by entry; 0 if unknown.
    """

    def __init__(self, path: Path, entries: int) -> None:
        self._path = path
        self._descriptor: int | None = None
        self.reopen()
        data = b""
        with suppress(OSError):
            if self._descriptor is not None:
                data = os.pread(self._descriptor, entries * _ENTRY.size, 0)
        self.found = tuple(_read_entry(data, entry) for entry in range(entries))

    def write(self, entry: int, number: int) -> None:
        """Write the number of an entry."""
        descriptor = self._descriptor
        if descriptor is not None:
            content = _ENTRY.pack(number, zlib.crc32(_NUMBER.pack(number)))
            with suppress(OSError):
                os.pwrite(descriptor, content, entry * _ENTRY.size)

    def reopen(self) -> None:
        """Open the file, or another one after its deletion."""
        self.close()
        with suppress(OSError):  # the marks only detect damage: the slot works without them
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o600)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _read_entry(data: bytes, entry: int) -> int:
    with suppress(struct.error):
        number, crc = _ENTRY.unpack_from(data, entry * _ENTRY.size)
        if zlib.crc32(_NUMBER.pack(number)) == crc:
            return int(number)
    return 0
