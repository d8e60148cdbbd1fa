"""The journal of a slot: a write-ahead log of the batches accepted since the snapshot.

Theory of operation. A record is appended by one ``write``, in the thread that accepted the batch
and within its request. When ``write`` returns, the batch survives the end of the process; no other
thread, transaction or snapshot delays the answer. With durability ``full`` a thread writes and
syncs records in groups instead, so that many requests share one sync.

The journal consists of segments, files named by the number of their first record. Each snapshot
begins a new segment; once the snapshot is on the disk, segments that it covers are removed. Older
records that remain in a segment are skipped on reading: the snapshot says which records it covers.

Every record begins with a mark, its length, a checksum and its number, so a damaged record is
skipped and the next one is found. A torn end was never reported as written: the process died
during the write.

Records of a segment have consecutive numbers. Each segment begins with a link, a record with the
number 0 that holds the number of the last record stored before: numbers between that one and the
segment's first were never stored, because their writes failed. So every missing record is noticed.
"""

import errno
import mmap
import os
import struct
import sys
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from time import monotonic

import msgspec
import snappy

from openqoe.core.effects import Record

from .private_files import sync_folder

PREFIX = "journal-"

MARK = b"\xf0OQ\n"

_HEAD = struct.Struct("<4sIIQ")
"""Mark, length of the content, CRC-32 of number and content, number."""

_NUMBER = struct.Struct("<Q")

MIN_COMPRESSED = 256
"""Bytes of a body below which compression gains nothing."""

RESERVE = 16 * 1024 * 1024
"""Bytes that the journal leaves free on the file system: a flush, which frees space, needs some."""

CHECK_INTERVAL = 0.1
"""Seconds after which the free space is looked up again."""

DELETED = "the data directory was deleted or replaced"
"""Reason of a failure to write."""

MIN_FREE = 1024 * 1024
"""Bytes beside the reserve above which the journal accepts records again: enough for a few batches,
so that it is not full again at once."""


class _Content(msgspec.Struct, array_like=True, frozen=True, gc=False):
    at: int
    country: str | None
    digest: bytes
    is_compressed: bool
    body: bytes
    is_forwarded: bool = False


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Content).decode


FramedRecord = tuple[int, bytes]
"""The number of a record, and its bytes in the journal."""


def frame_record(record: Record) -> FramedRecord:
    """Encode a record for ``Journal.append``."""
    body = record.body
    is_compressed = len(body) > MIN_COMPRESSED
    if is_compressed:
        body = snappy.compress(body)
    content = _encode(
        _Content(record.at, record.country, record.digest, is_compressed, body, record.is_forwarded)
    )
    head = _HEAD.pack(MARK, len(content), _checksum(record.number, content), record.number)
    return record.number, head + content


def _frame_link(stored: int) -> bytes:
    content = _NUMBER.pack(stored)
    return _HEAD.pack(MARK, len(content), _checksum(0, content), 0) + content


@dataclass(slots=True)
class _Segment:
    path: Path
    last: int  # the highest number in it


class Journal:
    """The journal of one slot. One thread writes at a time; another may ``trim``.

    Args:
        folder: Folder of the segments.
        sync: Whether appended records are synced to the disk, not just handed to the operating
            system.
        reserve: Bytes to leave free on the file system.
        stored: Number of the last record that is known to have been stored.

    Attributes:
        writes: Number of writes so far.
        missing: Stored records that ``read`` could not return.
        damaged: Segments with damaged records that ``read`` has found.
    """

    def __init__(
        self, folder: Path, *, sync: bool, reserve: int = RESERVE, stored: int = 0
    ) -> None:
        self.writes = 0
        self.missing = 0
        self.damaged: list[Path] = []
        self._folder = folder
        self._sync = sync
        self._reserve = reserve
        self._closed = deque(_find_segments(folder))
        self._stored = stored
        if self._closed:
            self._stored = max(stored, _last_stored(self._closed[-1].path))
        self._descriptor: int | None = None
        self._current: _Segment | None = None
        self._inode = 0  # of the current segment
        self._unchecked = 0  # bytes written since the last look at the free space
        self._checked_at = -CHECK_INTERVAL
        self._size = 0  # of the sound part of the current segment

    @property
    def last(self) -> int:
        """The highest number of a record; 0 if there is none."""
        if self._current is not None:
            return self._current.last
        return self._closed[-1].last if self._closed else 0

    def read(self, through: int) -> Iterator[Record]:
        """Read the records behind the number ``through``, in order, and count missing ones."""
        previous = through  # the last number that is accounted for
        unreadable = 0
        for segment in tuple(self._closed):
            if segment.last <= through:
                continue
            is_linked = is_damaged = False  # linked: whether it is known what came before
            for found in _read_frames(segment.path):
                if found is None:
                    is_damaged = True
                    unreadable += 1
                    continue
                number, content = found
                if number == 0:
                    (stored,) = _NUMBER.unpack(content)
                    self.missing += max(0, stored - previous)
                    previous = max(previous, stored, _first_number(segment.path) - 1)
                    is_linked = True
                elif number > through:
                    if is_linked:
                        self.missing += max(0, number - previous - 1)
                    previous, is_linked = number, True
                    try:
                        yield _decode_record(number, content)
                    except (msgspec.DecodeError, snappy.UncompressError):
                        is_damaged = True
                        self.missing += 1
            if is_damaged:
                self.damaged.append(segment.path)
        self.missing = max(self.missing + max(0, self._stored - previous), unreadable)

    def append(self, records: Sequence[FramedRecord]) -> None:
        """Append records, in ascending order of their numbers.

        Raises:
            FileNotFoundError: The segment was deleted, or its folder.
            OSError: None of them was written. ``errno`` is ENOSPC as well if only the reserve
                is left.
        """
        if self._descriptor is not None and not self._is_in_folder():
            self.rotate()
            raise FileNotFoundError(errno.ENOENT, DELETED)
        data = b"".join([data for _, data in records])
        self._check_room(len(data))
        descriptor = self._descriptor
        if descriptor is None:
            descriptor = self._open_segment(records[0][0])
            data = _frame_link(self._stored) + data
        assert self._current is not None
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, "the disk accepted only a part")
            if self._sync:
                os.fdatasync(descriptor)
        except OSError:
            self._abandon_segment()
            raise
        self.writes += 1
        self._size += len(data)
        self._current.last = self._stored = records[-1][0]

    @property
    def has_segment(self) -> bool:
        """Whether a segment is open, so that ``append`` would notice its deletion."""
        return self._descriptor is not None

    def _is_in_folder(self) -> bool:
        """Whether the open segment still is what its path names: a deleted one accepts writes."""
        assert self._current is not None
        try:
            # Not Path.stat(), which takes three times as long.
            return os.stat(self._current.path).st_ino == self._inode  # noqa: PTH116
        except OSError:
            return False

    def _abandon_segment(self) -> None:
        """Cut the segment to its sound part and close it: its end is unknown after a fault."""
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
        """Close the segment; the next record opens another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._current is not None:
            self._closed.append(self._current)
            self._current = None

    close = rotate

    def trim(self, through: int) -> None:
        """Remove the closed segments without a record behind ``through``. Any thread may call."""
        while self._closed and self._closed[0].last <= through:
            segment = self._closed.popleft()
            with suppress(OSError):  # the next process skips and removes it
                segment.path.unlink()

    def _check_room(self, size: int) -> None:
        """Raise OSError if ``size`` bytes would leave less than the reserve.

        The system is asked once per sixteenth of the reserve and 100 ms: it is a system call.
        """
        now = monotonic()
        self._unchecked += size
        if self._unchecked < self._reserve // 16 and now - self._checked_at < CHECK_INTERVAL:
            return
        if self.free_bytes() < size:
            self._unchecked = self._reserve
            raise OSError(errno.ENOSPC, self.no_room_reason)
        self._unchecked, self._checked_at = 0, now

    def free_bytes(self) -> int:
        """Return the bytes that the journal may still use on the file system."""
        try:
            system = os.statvfs(self._folder)
        except OSError:
            return sys.maxsize  # the write itself will fail
        return system.f_bavail * system.f_frsize - self._reserve

    @property
    def no_room_reason(self) -> str:
        """The reason of a failure for lack of space."""
        return f"less than {self._reserve // 2**20} MiB left on the disk"

    def _open_segment(self, first: int) -> int:
        path = self._folder / f"{PREFIX}{first:020d}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = self._descriptor = os.open(path, flags, 0o600)
        self._current = _Segment(path, first - 1)
        self._inode = os.fstat(descriptor).st_ino
        self._size = 0
        if self._sync:
            sync_folder(self._folder)
        return descriptor


def count_records(folder: Path, through: int) -> int:
    """Count the records behind the number ``through`` while another process may write.

    Raises:
        OSError: They cannot be read.
    """
    count = 0
    for path in segment_paths(folder):
        with suppress(FileNotFoundError):  # it was trimmed in between
            count += sum(1 for found in _read_frames(path) if found and found[0] > through)
    return count


def segment_paths(folder: Path) -> list[Path]:
    """Return the files of the journal, in order of their records."""
    return sorted(
        path
        for path in folder.glob(f"{PREFIX}*")
        if path.name.removeprefix(PREFIX).isdecimal()  # not a file of the operator's
    )


def _find_segments(folder: Path) -> Iterator[_Segment]:
    paths = segment_paths(folder)
    for path, following in zip_longest(paths, paths[1:]):
        first = _first_number(path)
        if following is not None:
            yield _Segment(path, max(first, _first_number(following) - 1))
        else:
            yield _Segment(path, max([first, *(one[0] for one in _read_frames(path) if one)]))


def _last_stored(path: Path) -> int:
    """Return the number of the last record that is sound, or that the link of a segment names."""
    last = 0
    for found in _read_frames(path):
        if found is not None:
            last = max(last, found[0] or _NUMBER.unpack(found[1])[0])
    return last


def _first_number(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def _read_frames(path: Path) -> Iterator[tuple[int, bytes] | None]:
    """Read the numbers and contents of a segment's records; None for a damaged one."""
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
                    yield None  # otherwise it is a torn end
                if following < 0:
                    return
                place = following


def _checksum(number: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(_NUMBER.pack(number)))


def _decode_record(number: int, content: bytes) -> Record:
    """
    Raises:
        msgspec.DecodeError: It is not a record's content.
        snappy.UncompressError: Its body cannot be decompressed.
    """
    found = _decode(content)
    body = snappy.uncompress(found.body) if found.is_compressed else found.body
    return Record(number, found.at, body, found.country, found.digest, found.is_forwarded)
