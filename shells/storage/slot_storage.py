"""The storage of one worker: a journal for accepted batches, a database for everything else.

Theory of operation. ``submit`` never waits for a transaction. A record goes to the journal at once,
in the thread that submits it; with durability ``full`` a second thread, the syncer, writes and
syncs records in groups and reports them. All other effects are for the writer, a thread that
executes the effects of its queue as one transaction. Effects are executed in order, except that a
record does not wait for the transactions before it. If a transaction fails, its effects are
executed one by one, so that a faulty one does not fail the others.
"""

import errno
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
    Notice,
    PayloadBody,
    Persist,
    Record,
    RewriteStorage,
    StorageEffect,
    StorageFailure,
    StorageResult,
    Stored,
    StoredPayload,
)

from ..service import allocator
from . import database_schema, high_water_marks
from .high_water_marks import HighWaterMarks, SlotNumbers
from .journal import DELETED, MIN_FREE, RESERVE, FramedRecord, Journal, frame_record
from .private_files import create_private_file, create_private_folder
from .salvage import damaged_name, salvage_file
from .slots import LOCK
from .storage_errors import StorageError

WriterEffect = Persist | LoadPayload
"""Effects that the writer executes in a transaction, and whose result it reports."""

ReportedEffect = Append | WriterEffect | RewriteStorage
Results = tuple[tuple[ReportedEffect, StorageResult], ...]
StorageCallback = Callable[[Results], None]

Item = TypeVar("Item")

_FULL = (errno.ENOSPC, errno.EDQUOT)

MAX_GROUP = 1_000
"""Maximum number of effects in a transaction, or of records in a sync."""

MAX_RELEASED_PAGES = 256
"""Maximum number of free pages returned to the file system per transaction."""

MAX_DELETE_DELAY = 1.0
"""Seconds that delivered payloads wait for a transaction of other effects to be deleted in."""


@dataclass(frozen=True, slots=True)
class LoadedSlot:
    """The state that an earlier process left.

    Attributes:
        snapshot: The snapshot; None if there is none, or a damaged one.
        records: The journal, in order. Read it before the threads start.
        payloads: The outbox, in order, without bodies.
        batches: The deduplication window, oldest first.
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
    """The storage of a slot.

    Args:
        path: The database; created if it is missing. The journal is in the same folder.
        durability: ``full``: what is reported as stored is on the disk. ``normal``: it is
            with the operating system and survives the process.
        reserve: Bytes that the journal leaves free on the file system.

    Attributes:
        notices: Faults found in the files, for the operator.
        missing: Stored records that are missing, once ``load`` and its records have been read.
        journal: The batches accepted since the snapshot.

    Raises:
        StorageError: The files cannot be used.
    """

    def __init__(
        self, path: Path, durability: Literal["full", "normal"], *, reserve: int = RESERVE
    ) -> None:
        self.notices: list[Notice] = []
        self.missing = 0
        self._path = path
        self._marks = HighWaterMarks(
            path.parent / high_water_marks.FILE, high_water_marks.SLOT_ENTRIES
        )
        self._found = SlotNumbers(*self._marks.found)
        self._log_copy = _copy_log(path)
        self._must_sync = durability == "full"
        self._queue: SimpleQueue[StorageEffect | None] = SimpleQueue()
        self._unsynced: SimpleQueue[tuple[Append, FramedRecord] | StorageEffect | None]
        self._unsynced = SimpleQueue()
        self._writer: Thread | None = None
        self._syncer: Thread | None = None
        self._closed = False
        self._deletions: list[int] = []  # payloads to delete
        self._is_deleted = False  # the files, under this process
        self._lock: int | None = None  # of the slot, if its folder was created again
        try:
            self._database = self._open()
        except BaseException:
            self._marks.close()
            raise
        self._inode = _inode(path)
        self._lock_inode = _inode(path.with_name(LOCK))
        try:
            self.journal = Journal(
                path.parent,
                sync=self._must_sync,
                reserve=reserve,
                stored=self._found.record,
            )
        except OSError as error:
            self._database.close()
            self._marks.close()
            raise StorageError(f"cannot read the journal of {path}: {error.strerror}") from None

    def load(self) -> LoadedSlot:
        """Read the state that an earlier process left."""
        database, found = self._database, self._found
        position = database_schema.snapshot_position(database)
        last_payload = database_schema.highest_payload(database)
        payloads, damaged_payloads = database_schema.read_payloads(database)
        if position < found.snapshot or last_payload < found.payload:
            self._report_lost_transactions(position, last_payload)
        elif self._log_copy is not None:
            self._log_copy.unlink(missing_ok=True)
        if damaged_payloads:
            self._notify("damaged payloads were skipped", ("payloads", damaged_payloads))
        # Without any snapshot the counters restart: only batches that were in none are missing.
        accounted = position or found.snapshot
        try:
            snapshot = database_schema.read_snapshot(database)
        except ValueError:
            snapshot = None
            self._notify("snapshot is damaged; counters restart and the journal is replayed")
        return LoadedSlot(
            snapshot,
            self._read_records(position, accounted),
            tuple(payloads),
            tuple(database_schema.read_batches(database)),
            max(position, self.journal.last, found.record, found.snapshot),
            max(last_payload, found.payload),
        )

    def start(self, report: StorageCallback) -> None:
        """Start the threads.

        Args:
            report: Receives the results of each group of effects, in order; is called in the
                threads of this object.
        """
        if self._must_sync:
            self._syncer = _start_thread(self._run_syncer, report, "openqoe-journal")
        self._writer = _start_thread(self._run_writer, report, "openqoe-storage")

    def submit(self, effect: StorageEffect) -> StorageResult | None:
        """Have an effect executed. Waits neither for a transaction nor for a sync.

        Returns:
            The result if it is known already. Otherwise it is reported, unless there is none.
        """
        if isinstance(effect, Append):
            record = frame_record(effect.record)
            if not self._must_sync:
                return self._append(record)
            self._unsynced.put((effect, record))
        elif self._must_sync:
            self._unsynced.put(effect)
        else:
            self._queue_for_writer(effect)
        return None

    def close(self) -> None:
        """Execute the submitted effects and close the files."""
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
        self._marks.close()
        if self._lock is not None:
            os.close(self._lock)
        if self._log_copy is not None:
            self._log_copy.unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._open_checked()
        except sqlite3.DatabaseError as error:
            if _is_operational(error):
                raise StorageError(f"cannot open {self._path}: {error}") from None
            damaged, saved = salvage_file(self._path)
            self._notify(
                "data file was damaged; its sound rows were recovered",
                ("file", self._path.name),
                ("reason", str(error)),
                ("recovered", saved),
                ("kept_as", damaged.name),
            )
        try:
            return self._open_checked()
        except sqlite3.Error as error:
            raise StorageError(f"cannot open {self._path}: {error}") from None

    def _open_checked(self) -> sqlite3.Connection:
        """Open the database and check all of it, to find damage before it is in use."""
        database = database_schema.open_database(str(self._path), full=self._must_sync)
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        except BaseException:
            database.close()
            raise
        return database

    def _read_records(self, position: int, accounted: int) -> Iterator[Record]:
        journal = self.journal
        yield from journal.read(position)
        self.missing = max(0, journal.missing - (accounted - position))
        if self.missing or journal.damaged:
            kept = [_keep_segment(segment) for segment in journal.damaged]
            self._notify(
                "acknowledged batches are missing from the journal",
                ("records", self.missing),
                ("kept_as", " ".join(kept)),
                level="error",
            )

    def _report_lost_transactions(self, position: int, last_payload: int) -> None:
        """Report that the database lacks transactions that were committed, and keep its log."""
        kept = ""
        if self._log_copy is not None:
            copy, self._log_copy = self._log_copy, None
            with suppress(OSError):
                kept = copy.rename(damaged_name(Path(f"{self._path}-wal"))).name
        self._notify(
            "data file lost its latest transactions",
            ("records", self._found.snapshot - position),
            ("payloads", max(0, self._found.payload - last_payload)),
            ("kept_as", kept),
            level="error",
        )

    def _notify(
        self,
        event: str,
        *fields: tuple[str, str | int],
        level: Literal["warning", "error"] = "warning",
    ) -> None:
        self.notices.append(Notice(level, event, fields))

    # The journal: the submitting thread, or the syncer.

    def _append(self, *records: FramedRecord) -> StorageResult:
        if not self.journal.has_segment and _inode(self._path) != self._inode:
            self._is_deleted = True
        if self._is_deleted:
            return StorageFailure(DELETED)
        try:
            self.journal.append(records)
        except OSError as error:
            self._is_deleted = isinstance(error, FileNotFoundError)
            return StorageFailure(error.strerror or str(error), full=error.errno in _FULL)
        self._marks.write(high_water_marks.RECORD, records[-1][0])
        return Stored()

    def _queue_for_writer(self, effect: StorageEffect) -> None:
        """Hand an effect to the writer, after the records before it."""
        if isinstance(effect, Persist):
            self.journal.rotate()
        self._queue.put(effect)

    def _run_syncer(self, report: StorageCallback) -> None:
        has_ended = False
        while not has_ended:
            group: list[tuple[Append, FramedRecord]] = []
            for one in _drain_queue(self._unsynced):
                if isinstance(one, tuple):
                    group.append(one)
                    continue
                self._append_group(group, report)
                group = []
                if one is None:
                    has_ended = True
                else:
                    self._queue_for_writer(one)
            self._append_group(group, report)

    def _append_group(
        self, group: list[tuple[Append, FramedRecord]], report: StorageCallback
    ) -> None:
        if not group:
            return
        result = self._append(*(record for _, record in group))
        if isinstance(result, Stored) or len(group) == 1:
            report(tuple((effect, result) for effect, _ in group))
        else:
            report(tuple((effect, self._append(record)) for effect, record in group))

    # The database: the writer.

    def _run_writer(self, report: StorageCallback) -> None:
        has_ended = False
        while not has_ended:
            group: list[WriterEffect] = []
            rewrites: list[RewriteStorage] = []
            for effect in _drain_queue(self._queue, MAX_DELETE_DELAY if self._deletions else None):
                if effect is None:
                    has_ended = True
                elif isinstance(effect, Forget):
                    self._deletions += effect.numbers
                elif isinstance(effect, RewriteStorage):
                    rewrites.append(effect)
                elif not isinstance(effect, Append):
                    group.append(effect)
            if group or self._deletions:
                results = self._execute_group(group)
                if results:
                    report(results)
                # Release the snapshot, which is megabytes, before waiting for the next group.
                is_flush = any(isinstance(effect, Persist) for effect in group)
                effect, group, results = None, [], ()
                if is_flush:
                    allocator.return_free_pages()
            for rewrite in rewrites:
                report(((rewrite, self._rewrite()),))

    def _rewrite(self) -> StorageResult:
        """Rewrite the database without free pages, and truncate its log."""
        try:
            self._database.execute("VACUUM")
            busy, _, _ = self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            return _failure(error)
        return StorageFailure("its log is in use") if busy else Stored()

    def _execute_group(self, group: Sequence[WriterEffect]) -> Results:
        try:
            if self._is_deleted or _inode(self._path) != self._inode:
                self._create_again()
        except (OSError, sqlite3.Error, StorageError) as error:
            self._is_deleted = True
            reason = f"{DELETED}, and cannot be created again: {error}"
            return tuple((effect, StorageFailure(reason)) for effect in group)
        try:
            return self._execute(group)
        except (
            Exception
        ) as error:  # whatever it is: the thread must live on, and the worker needs a result
            if len(group) < 2:
                return tuple((effect, _failure(error)) for effect in group)
        return tuple(result for effect in group for result in self._execute_group([effect]))

    def _create_again(self) -> None:
        """Create the files again after their deletion: the snapshot that follows is complete.

        Payloads that waited in the outbox are gone; each is dropped when it is loaded.
        """
        folder = self._path.parent
        create_private_folder(folder)
        if self._lock_inode is not None and _inode(folder / LOCK) != self._lock_inode:
            # The old lock went with the folder: another process may have locked a new one.
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                raise OSError(errno.EWOULDBLOCK, "another process owns the slot") from None
            if self._lock is not None:
                os.close(self._lock)
            self._lock, self._lock_inode = lock, os.fstat(lock).st_ino
        if _inode(self._path) != self._inode:
            database = database_schema.open_database(str(self._path), full=self._must_sync)
            self._database.close()
            self._database, self._inode = database, _inode(self._path)
        self._marks.reopen()
        self._is_deleted = False

    def _execute(self, group: Sequence[WriterEffect]) -> Results:
        """Execute effects and deletions as one transaction."""
        database = self._database
        bodies: dict[int, bytes | None] = {}
        with database:  # commits, or rolls back
            database.execute("BEGIN IMMEDIATE")
            for effect in group:
                if isinstance(effect, Persist):
                    self._persist(effect)
                else:
                    bodies[effect.id] = database_schema.read_body(database, effect.number)
            if self._deletions:
                database_schema.delete_payloads(database, self._deletions)
                database_schema.release_pages(database, MAX_RELEASED_PAGES)
        self._deletions = []
        persisted = [effect for effect in group if isinstance(effect, Persist)]
        trims = self._must_sync
        if persisted and not self._must_sync:
            # A record that leaves the journal must be as safe in the database as it was there.
            # The transaction is committed, so a failure only keeps the records.
            with suppress(sqlite3.OperationalError):
                database.execute("PRAGMA wal_checkpoint(PASSIVE)")
                trims = True
        for persist in persisted:
            self._marks.write(high_water_marks.SNAPSHOT, persist.through)
            if persist.payloads:
                last = max(payload.number for payload in persist.payloads)
                self._marks.write(high_water_marks.PAYLOAD, last)
            if trims:
                self.journal.trim(persist.through)
        has_room = not persisted or self.journal.free_bytes() > MIN_FREE
        stored = Stored("" if has_room else self.journal.no_room_reason)
        return tuple(
            (effect, PayloadBody(bodies[effect.id]) if isinstance(effect, LoadPayload) else stored)
            for effect in group
        )

    def _persist(self, effect: Persist) -> None:
        database = self._database
        database_schema.write_snapshot(database, effect.snapshot, effect.through)
        for payload in effect.payloads:
            database_schema.add_payload(database, payload)
        last = max((payload.number for payload in effect.payloads), default=0)
        database_schema.raise_highest(database, "payload", last)
        database_schema.raise_highest(database, "record", effect.through)
        database_schema.add_batches(database, effect.accepted)
        database_schema.trim_batches(database, effect.accepted_since, effect.max_accepted)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _copy_log(path: Path) -> Path | None:
    """Copy the write-ahead log that a crash left: SQLite overwrites it when it is damaged."""
    log, copy = Path(f"{path}-wal"), Path(f"{path}-wal.copy")
    try:
        copy.unlink(missing_ok=True)
        if not log.stat().st_size:
            return None
        create_private_file(copy)
        shutil.copyfile(log, copy)
    except OSError:  # there is none, or no room for a copy
        with suppress(OSError):
            copy.unlink(missing_ok=True)
        return None
    return copy


def _keep_segment(segment: Path) -> str:
    """Keep a damaged segment under another name, unless an earlier start did."""
    kept = damaged_name(segment)
    try:
        if segment.stat().st_nlink > 1:
            return ""
        kept.hardlink_to(segment)
    except OSError:
        return ""
    return kept.name


def _start_thread(
    run: Callable[[StorageCallback], None], report: StorageCallback, name: str
) -> Thread:
    thread = Thread(target=run, args=(report,), name=name, daemon=True)
    thread.start()
    return thread


def _drain_queue(queue: SimpleQueue[Item], timeout: float | None = None) -> list[Item]:
    """Wait for an item, up to ``timeout`` s, and return it with those behind it."""
    try:
        items = [queue.get(timeout=timeout)]
    except Empty:
        return []
    try:
        while len(items) < MAX_GROUP and items[-1] is not None:
            items.append(queue.get_nowait())
    except Empty:
        pass
    return items


def _failure(error: Exception) -> StorageFailure:
    code = getattr(error, "sqlite_errorcode", None)
    reason = str(error) or type(error).__name__
    return StorageFailure(reason, full=code == sqlite3.SQLITE_FULL)


def _is_operational(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is inaccessible, as opposed to damaged."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return isinstance(error, sqlite3.OperationalError) and code & 0xFF != sqlite3.SQLITE_ERROR
