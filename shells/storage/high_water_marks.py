"""The highest numbers that a slot has stored: a copy beside the journal and the database.

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
from typing import Final

FILE: Final = "high-water-marks"

_ENTRY: Final = struct.Struct("<QI")  # a number and its CRC-32
_NUMBER: Final = struct.Struct("<Q")

RECORD: Final = 0
"""Entry of the last record in the journal."""

SNAPSHOT: Final = 1
"""Entry of the last record that a snapshot covers."""

PAYLOAD: Final = 2
"""Entry of the last payload in the outbox."""


class HighWaterMarks:
    """The numbers of one slot. Each entry has one writing thread.

    Args:
        folder: Folder of the slot.

    Attributes:
        record: Number of the last record that an earlier process wrote to the journal; 0 if
            unknown, as the other attributes.
        snapshot: Number of the last record that its last snapshot covers.
        payload: Number of the last payload that it wrote to the outbox.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._descriptor: int | None = None
        self.reopen()
        data = b""
        with suppress(OSError):
            if self._descriptor is not None:
                data = os.pread(self._descriptor, 3 * _ENTRY.size, 0)
        self.record, self.snapshot, self.payload = (_read_entry(data, entry) for entry in range(3))

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
