"""The storage of one worker: what is accepted goes into the journal, the rest into a database.

Theory of operation. ``submit`` never waits for a transaction. A record is written to the journal
at once, by the thread that submits it (``journal``); with durability ``full`` a thread writes and
syncs what has gathered, and reports it. All other effects are for the writer, a thread that takes
what has gathered and carries it out in one transaction. Effects are carried out in order, except
that a record does not wait for the transactions before it. If one of a group is at fault, its
effects are carried out one by one, so that none suffers for another.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal, TypeVar

from openqoe.core.effects import (
    Append,
    DedupEntry,
    Forget,
    LoadPayload,
    PayloadBody,
    Persist,
    Record,
    StorageEffect,
    StorageFailure,
    StorageResult,
    Stored,
    StoredPayload,
)

from ..service import allocator
from . import database_schema
from .journal import MIN_FREE, RESERVE, FramedRecord, Journal, frame_record
from .salvage import salvage_file
from .storage_errors import StorageError

WriterEffect = Persist | LoadPayload
"""What the writer reports."""

ReportedEffect = Append | WriterEffect
Results = tuple[tuple[ReportedEffect, StorageResult], ...]
StorageCallback = Callable[[Results], None]

Item = TypeVar("Item")

_FULL = (errno.ENOSPC, errno.EDQUOT)

MAX_GROUP = 1_000
"""Effects in a transaction, or records in a sync, at the most."""

MAX_RELEASED_PAGES = 256
"""Free pages at the most that go back to the file system with what is forgotten."""

MAX_DELETE_DELAY = 1.0
"""Seconds for which payloads to forget may wait for a commit to go along with."""


@dataclass(frozen=True, slots=True)
class _UnsyncedRecord:
    effect: Append
    record: FramedRecord


@dataclass(frozen=True, slots=True)
class LoadedSlot:
    """What an earlier process left.

    Attributes:
        snapshot: The state of its worker, if there is a sound one.
        records: The journal, in order. To be read before the writer starts.
        payloads: The outbox, in order, without bodies.
        batches: The window of duplicates, oldest first.
        last_record: The highest number a record ever had.
        last_payload: The highest number a payload ever had.
    """

    snapshot: bytes | None
    records: Iterator[Record]
    payloads: tuple[StoredPayload, ...]
    batches: tuple[DedupEntry, ...]
    last_record: int
    last_payload: int


class Storage:
    """The file of a slot.

    Args:
        path: The file; made if it is missing. The journal is beside it.
        durability: ``full``: what is reported as stored is on the disk. ``normal``: it is
            with the operating system and survives the process.
        reserve: Bytes that the journal leaves free on the file system.

    Attributes:
        notices: What an operator should know about the file.
        journal: The batches accepted since the snapshot.

    Raises:
        StorageError: The file cannot be used.
    """

    def __init__(
        self, path: Path, durability: Literal["full", "normal"], *, reserve: int = RESERVE
    ) -> None:
        self.notices: list[str] = []
        self._path = path
        self._must_sync = durability == "full"
        self._queue: SimpleQueue[StorageEffect | None] = SimpleQueue()
        self._unsynced: SimpleQueue[_UnsyncedRecord | StorageEffect | None] = SimpleQueue()
        self._writer: Thread | None = None
        self._syncer: Thread | None = None
        self._closed = False
        self._database = self._open()
        try:
            self.journal = Journal(path.parent, sync=self._must_sync, reserve=reserve)
        except OSError as error:
            self._database.close()
            raise StorageError(f"cannot read the journal of {path}: {error.strerror}") from None

    def load(self) -> LoadedSlot:
        """Read what an earlier process left."""
        try:
            snapshot = database_schema.read_snapshot(self._database)
        except ValueError as error:
            snapshot = None
            self.notices.append(f"{error}: counters begin anew, the journal is replayed")
        rows = self._database.execute(
            "SELECT number, kind, headers, size, items, created, thinnable, destination "
            "FROM outbox ORDER BY number"
        )
        payloads = tuple(p for row in rows if (p := database_schema.read_payload(row)) is not None)
        batches = self._database.execute(
            "SELECT digest, at, events FROM batches ORDER BY at, rowid"
        )
        return LoadedSlot(
            snapshot,
            self._read_records(),
            payloads,
            tuple(DedupEntry(*row) for row in batches),
            max(database_schema.highest_number(self._database, "record"), self.journal.last),
            database_schema.highest_number(self._database, "payload"),
        )

    def start(self, report: StorageCallback) -> None:
        """Start the threads.

        Args:
            report: Is called in a thread of the storage's with the results of each group, in
                order.
        """
        if self._must_sync:
            self._syncer = self._start_thread(self._run_syncer, report, "openqoe-journal")
        self._writer = self._start_thread(self._run_writer, report, "openqoe-storage")

    @staticmethod
    def _start_thread(
        run: Callable[[StorageCallback], None], report: StorageCallback, name: str
    ) -> Thread:
        thread = Thread(target=run, args=(report,), name=name, daemon=True)
        thread.start()
        return thread

    def submit(self, effect: StorageEffect) -> StorageResult | None:
        """Have an effect carried out. Does not wait for a transaction, nor for a sync.

        Returns:
            The result if it is there already. Else it will be reported, unless there is none.
        """
        if isinstance(effect, Append):
            record = frame_record(effect.record)
            if not self._must_sync:
                return self._append(record)
            self._unsynced.put(_UnsyncedRecord(effect, record))
        elif self._must_sync:
            self._unsynced.put(effect)
        else:
            self._queue_for_writer(effect)
        return None

    def close(self) -> None:
        """Carry out what was submitted, and close the files."""
        if self._closed:
            return
        self._closed = True
        if self._syncer is not None:
            self._unsynced.put(None)
            self._syncer.join()
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        self.journal.close()
        self._database.close()

    def _open(self) -> sqlite3.Connection:
        try:
            database = self._open_checked()
        except sqlite3.DatabaseError as error:
            if _is_operational(error):
                raise StorageError(f"cannot open {self._path}: {error}") from None
            damaged, saved = salvage_file(self._path)
            self.notices.append(
                f"{self._path.name} was damaged ({error}); saved from it: {saved}; "
                f"the damaged file is kept as {damaged.name}"
            )
            try:
                database = self._open_checked()
            except sqlite3.Error as again:
                raise StorageError(f"cannot open {self._path}: {again}") from None
        return database

    def _open_checked(self) -> sqlite3.Connection:
        """The file, looked through: damage should be found now, not in the middle of work."""
        database = database_schema.open_database(str(self._path), full=self._must_sync)
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        except BaseException:
            database.close()
            raise
        return database

    def _read_records(self) -> Iterator[Record]:
        """What earlier versions left in the database, then the journal."""
        lost = 0
        rows = self._database.execute(
            "SELECT number, at, country, digest, crc, body FROM journal ORDER BY number"
        )
        for row in rows:
            record = database_schema.read_record(row)
            if record is None:
                lost += 1
            else:
                yield record
        yield from self.journal.read(database_schema.snapshot_position(self._database))
        lost += self.journal.lost
        if lost:
            self.notices.append(f"{lost} batches of the journal are damaged and left out")

    # The journal: the thread that submits, or the one that syncs

    def _append(self, *records: FramedRecord) -> StorageResult:
        try:
            self.journal.append(records)
        except OSError as error:
            return StorageFailure(error.strerror or str(error), full=error.errno in _FULL)
        return Stored()

    def _queue_for_writer(self, effect: StorageEffect) -> None:
        """Leave an effect to the writer, behind the records before it."""
        if isinstance(effect, Persist):
            self.journal.rotate()
        self._queue.put(effect)

    def _run_syncer(self, report: StorageCallback) -> None:
        ended = False
        while not ended:
            group: list[_UnsyncedRecord] = []
            for one in _drain_queue(self._unsynced):
                if isinstance(one, _UnsyncedRecord):
                    group.append(one)
                    continue
                self._append_group(group, report)
                group = []
                if one is None:
                    ended = True
                else:
                    self._queue_for_writer(one)
            self._append_group(group, report)

    def _append_group(self, group: list["_UnsyncedRecord"], report: StorageCallback) -> None:
        if not group:
            return
        result = self._append(*(one.record for one in group))
        if isinstance(result, Stored) or len(group) == 1:
            report(tuple((one.effect, result) for one in group))
        else:
            report(tuple((one.effect, self._append(one.record)) for one in group))

    # The database: the writer's thread

    def _run_writer(self, report: StorageCallback) -> None:
        ended = False
        forgotten: list[int] = []
        while not ended:
            group: list[WriterEffect] = []
            for effect in _drain_queue(self._queue, MAX_DELETE_DELAY if forgotten else None):
                if effect is None:
                    ended = True
                elif isinstance(effect, Forget):
                    forgotten += effect.numbers
                elif not isinstance(effect, Append):
                    group.append(effect)
            if group or forgotten:
                results = self._execute_group(group, forgotten)
                # What could not be removed now will be with the next group.
                forgotten = [] if self._committed else forgotten
                if results:
                    report(results)
                # Else they would stay until the next: a snapshot is megabytes.
                is_flush = any(isinstance(effect, Persist) for effect in group)
                effect, group, results = None, [], ()
                if is_flush:
                    allocator.return_free_pages()

    def _execute_group(self, group: list[WriterEffect], forgotten: list[int]) -> Results:
        self._committed = False
        try:
            return self._execute(group, forgotten)
        except sqlite3.Error as error:
            if len(group) < 2:
                return tuple((effect, _failure(error)) for effect in group)
        results: list[tuple[ReportedEffect, StorageResult]] = []
        for effect in group:
            try:
                results += self._execute([effect], forgotten)
            except sqlite3.Error as error:
                results.append((effect, _failure(error)))
        return tuple(results)

    def _execute(self, group: list[WriterEffect], forgotten: list[int]) -> Results:
        database = self._database
        bodies: dict[int, bytes | None] = {}
        try:
            database.execute("BEGIN IMMEDIATE")
            for effect in group:
                match effect:
                    case Persist():
                        self._persist(effect)
                    case LoadPayload(id=asked, number=number):
                        bodies[asked] = database_schema.read_body(database, number)
            database_schema.delete_payloads(database, forgotten)
            if forgotten:
                database_schema.release_pages(database, MAX_RELEASED_PAGES)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self._committed = True
        if not self._must_sync and any(isinstance(effect, Persist) for effect in group):
            # What leaves the journal must be no worse off than it was there.
            database.execute("PRAGMA wal_checkpoint(PASSIVE)")
        results: list[tuple[ReportedEffect, StorageResult]] = []
        for effect in group:
            match effect:
                case Persist(through=through):
                    self.journal.trim(through)
                    has_room = self.journal.free_bytes() > MIN_FREE
                    results.append(
                        (effect, Stored("" if has_room else self.journal.no_room_reason))
                    )
                case LoadPayload(id=asked):
                    results.append((effect, PayloadBody(bodies[asked])))
        return tuple(results)

    def _persist(self, effect: Persist) -> None:
        database = self._database
        database_schema.write_snapshot(database, effect.snapshot, effect.through)
        for payload in effect.payloads:
            database_schema.add_payload(database, payload)
        highest = max((payload.number for payload in effect.payloads), default=0)
        database_schema.raise_highest_number(database, "payload", highest)
        # Of earlier versions: this one's is trimmed when all this is on the disk.
        database.execute("DELETE FROM journal WHERE number <= ?", (effect.through,))
        database_schema.raise_highest_number(database, "record", effect.through)
        database_schema.add_batches(database, effect.accepted)
        database_schema.trim_batches(database, effect.accepted_since, effect.max_accepted)


def _drain_queue(queue: SimpleQueue[Item], patience: float | None = None) -> list[Item]:
    """What has gathered; waits for the first. Nothing if that does not come in time (s)."""
    try:
        gathered = [queue.get(timeout=patience)]
    except Empty:
        return []
    try:
        while len(gathered) < MAX_GROUP and gathered[-1] is not None:
            gathered.append(queue.get_nowait())
    except Empty:
        pass
    return gathered


def _failure(error: sqlite3.Error) -> StorageFailure:
    code = getattr(error, "sqlite_errorcode", None)
    return StorageFailure(str(error), full=code == sqlite3.SQLITE_FULL)


def _is_operational(error: sqlite3.DatabaseError) -> bool:
    """Whether the file cannot be reached, as opposed to damaged."""
    return isinstance(error, sqlite3.OperationalError) and getattr(
        error, "sqlite_errorcode", 0
    ) & 0xFF in (
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
    )
