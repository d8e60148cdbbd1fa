"""The journal of a slot: the batches accepted since the snapshot, in files that only grow.

Theory of operation. A record is put behind the others by one ``write``. So a batch is safe from
the end of its process as soon as that returns, in the thread that accepted it and within its
request: no other thread, no transaction and no snapshot that is being written keeps its answer
waiting. Where it must be safe from the end of the system, too, a thread writes and syncs what has
gathered, so that many requests share one sync.

The journal is cut into segments, files named by the first number in them. A snapshot begins a new
one, and when it is on the disk those are removed that hold nothing younger. What is left of older
records is passed over when the journal is read: the snapshot says through which number it goes.

Every record begins with a mark, its length, a checksum and its number, so a damaged one is left
out and the next is found. An end that breaks off was never reported as written: the process died
over it.
"""

import errno
import mmap
import os
import struct
import sys
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import msgspec
import snappy

from openqoe.core.effects import Record

PREFIX = "journal-"

MARK = b"\xf0OQ\n"

_HEAD = struct.Struct("<4sIIQ")
"""Mark, length of what follows, CRC-32 of the number and what follows, number."""

_NUMBER = struct.Struct("<Q")

SMALL = 256
"""Bytes of a body below which compression gains nothing."""

RESERVE = 16 * 1024 * 1024
"""Bytes left free on the file system: what makes room there needs some itself."""

MIN_FREE = 1024 * 1024
"""Bytes beside the reserve with which the journal is said to have room: for a few batches at
least, or it would be full again at once."""


class _Body(msgspec.Struct, array_like=True, frozen=True, gc=False):
    at: int
    country: str | None
    digest: bytes
    is_packed: bool
    body: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


FramedRecord = tuple[int, bytes]
"""The number of a record, and the record as it stands in the journal."""


def frame_record(record: Record) -> FramedRecord:
    """A record, ready to be appended."""
    body = record.body
    is_packed = len(body) > SMALL
    content = _encode(
        _Body(
            record.at,
            record.country,
            record.digest,
            is_packed,
            snappy.compress(body) if is_packed else body,
        )
    )
    head = _HEAD.pack(MARK, len(content), _checksum(record.number, content), record.number)
    return record.number, head + content


@dataclass(slots=True)
class _Segment:
    path: Path
    last: int  # the highest number in it


class Journal:
    """The journal of one slot. One thread writes at a time; another may ``trim``.

    Args:
        folder: Where the segments are.
        sync: Whether what is written is on the disk itself, not only with the operating system.
        reserve: Bytes to leave free on the file system.

    Attributes:
        writes: How often something was written.
        lost: Damaged records that ``read`` has passed over.
    """

    def __init__(self, folder: Path, *, sync: bool, reserve: int = RESERVE) -> None:
        self.writes = 0
        self.lost = 0
        self._folder = folder
        self._sync = sync
        self._reserve = reserve
        self._closed = deque(_find_segments(folder))
        self._descriptor: int | None = None
        self._current: _Segment | None = None
        self._size = 0  # of the current segment, as far as it is sound

    @property
    def last(self) -> int:
        """The highest number that a record has; 0 without any."""
        if self._current is not None:
            return self._current.last
        return self._closed[-1].last if self._closed else 0

    def read(self, through: int) -> Iterator[Record]:
        """The records, in order.

        Args:
            through: The number up to which they have been dealt with.
        """
        for segment in tuple(self._closed):
            if segment.last <= through:
                continue
            for found in _read_frames(segment.path):
                if found is None:
                    self.lost += 1
                elif found[0] > through:
                    try:
                        yield _decode_record(*found)
                    except (msgspec.DecodeError, snappy.UncompressError):
                        self.lost += 1

    def append(self, records: Sequence[FramedRecord]) -> None:
        """Put records behind the others.

        Args:
            records: By number.

        Raises:
            OSError: They could not be written, and none of them is there. The number is
                ENOSPC as well if nothing but the reserve is left.
        """
        data = b"".join([data for _, data in records])
        if self.free_bytes() < len(data):
            raise OSError(errno.ENOSPC, self.no_room_reason)
        descriptor = self._descriptor
        if descriptor is None:
            descriptor = self._open_segment(records[0][0])
        assert self._current is not None
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, "the disk took a part only")
            if self._sync:
                os.fdatasync(descriptor)
        except OSError:
            self._abandon_segment()
            raise
        self.writes += 1
        self._size += len(data)
        self._current.last = records[-1][0]

    def _abandon_segment(self) -> None:
        """Nobody knows what a disk that has failed has kept of a file: leave it with what is
        known to be sound."""
        assert self._descriptor is not None and self._current is not None
        with suppress(OSError):
            os.ftruncate(self._descriptor, self._size)
        if self._size:
            self.rotate()
            return
        os.close(self._descriptor)
        with suppress(OSError):
            self._current.path.unlink()
        self._descriptor = self._current = None

    def rotate(self) -> None:
        """Begin a new segment, with the next record."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._current is not None:
            self._closed.append(self._current)
            self._current = None

    close = rotate

    def trim(self, through: int) -> None:
        """Remove the segments that hold nothing younger than a number. Any thread may."""
        while self._closed and self._closed[0].last <= through:
            segment = self._closed.popleft()
            with suppress(OSError):  # then it is passed over, and removed by the next process
                segment.path.unlink()

    def free_bytes(self) -> int:
        """Bytes that the journal may still take on the file system."""
        try:
            system = os.statvfs(self._folder)
        except OSError:
            return sys.maxsize  # then the write itself will tell
        return system.f_bavail * system.f_frsize - self._reserve

    @property
    def no_room_reason(self) -> str:
        """Why nothing is written, if that is for want of room."""
        return f"less than {self._reserve // 2**20} MiB left on the disk"

    def _open_segment(self, first: int) -> int:
        path = self._folder / f"{PREFIX}{first:020d}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = self._descriptor = os.open(path, flags, 0o600)
        self._current = _Segment(path, first - 1)
        self._size = 0
        if self._sync:
            _sync_folder(self._folder)
        return descriptor


def count_records(folder: Path, through: int) -> int:
    """How many records wait behind a number, read beside the process that writes them.

    Raises:
        OSError: They cannot be read.
    """
    count = 0
    for path in segment_paths(folder):
        with suppress(FileNotFoundError):  # removed meanwhile
            count += sum(1 for found in _read_frames(path) if found and found[0] > through)
    return count


def files(folder: Path) -> tuple[Path, ...]:
    """The files of the journal, by the numbers in them."""
    return tuple(segment_paths(folder))


def segment_paths(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.glob(f"{PREFIX}*") if _first_number(path) is not None)


def _first_number(path: Path) -> int | None:
    name = path.name.removeprefix(PREFIX)
    return int(name) if name.isdecimal() else None


def _find_segments(folder: Path) -> Iterator[_Segment]:
    """What an earlier process left."""
    paths = list(segment_paths(folder))
    for path, following in zip_longest(paths, paths[1:]):
        first = _first_number(path) or 0
        if following is not None:
            yield _Segment(path, max(first, (_first_number(following) or 0) - 1))
        else:
            yield _Segment(path, max((one[0] for one in _read_frames(path) if one), default=first))


def _read_frames(path: Path) -> Iterator[tuple[int, bytes] | None]:
    """The numbers and contents of the records of a segment; None for what is damaged."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = 0
            while place + _HEAD.size <= len(data):
                mark, length, crc, number = _HEAD.unpack_from(data, place)
                end = place + _HEAD.size + length
                if mark == MARK and end <= len(data):
                    content = data[place + _HEAD.size : end]
                    if _checksum(number, content) == crc:
                        yield number, content
                        place = end
                        continue
                following = data.find(MARK, place + 1)
                if following >= 0 or mark != MARK or end <= len(data):
                    yield None  # otherwise it is an end that breaks off
                if following < 0:
                    return
                place = following


def _checksum(number: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(_NUMBER.pack(number)))


def _decode_record(number: int, content: bytes) -> Record:
    """
    Raises:
        msgspec.DecodeError: It is none of ours.
        snappy.UncompressError: Its body cannot be read.
    """
    found = _decode(content)
    body = snappy.uncompress(found.body) if found.is_packed else found.body
    return Record(number, found.at, body, found.country, found.digest)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
