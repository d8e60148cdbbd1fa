"""The storage of one worker: a thread that writes what it is given, in groups.

Theory of operation. ``submit`` puts effects into a queue and never waits. The writer takes
all that has gathered, carries it out in one transaction, and reports the results together:
while one group is on its way to the disk the next one gathers, so many requests share one
commit. Effects are carried out in order. If one of a group is at fault, the group is rolled
back and its effects are carried out one by one, so that none suffers for another.
"""

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal

from openqoe.core.effects import (
    AcceptedBatch,
    Append,
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
from openqoe.shells.storage import schema
from openqoe.shells.storage.errors import StorageError
from openqoe.shells.storage.salvage import set_aside

Answered = Append | Persist | LoadPayload
Report = Callable[[tuple[tuple[Answered, StorageResult], ...]], None]

RESERVE = 16 * 1024 * 1024
"""Bytes left free on the file system: what makes room there needs some itself."""

GROUP = 1_000
"""Effects in a transaction at the most."""

ENOUGH = 1024 * 1024
"""Bytes beside the reserve with which the journal is said to have room: for a few batches at
least, or it would be full again at once."""

PAGE = 4096
"""Bytes by which a small record can make the file grow."""

VACUUMED = 256
"""Free pages at the most that go back to the file system with what is forgotten."""

PATIENCE = 1.0
"""Seconds for which payloads to forget may wait for a commit to go along with."""


@dataclass(frozen=True, slots=True)
class Loaded:
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
    batches: tuple[AcceptedBatch, ...]
    last_record: int
    last_payload: int


class Storage:
    """The file of a slot.

    Args:
        path: The file; made if it is missing.
        durability: ``full``: what is reported as stored is on the disk. ``normal``: it is
            with the operating system and survives the process.
        reserve: Bytes that the journal leaves free on the file system.

    Attributes:
        notices: What an operator should know about the file.
        commits: Transactions committed so far.

    Raises:
        StorageError: The file cannot be used.
    """

    def __init__(
        self, path: Path, durability: Literal["full", "normal"], *, reserve: int = RESERVE
    ) -> None:
        self.notices: list[str] = []
        self.commits = 0
        self._path = path
        self._full = durability == "full"
        self._reserve = reserve
        self._queue: SimpleQueue[StorageEffect | None] = SimpleQueue()
        self._rows: dict[int, schema.Row] = {}  # of the records in the queue, by effect
        self._writer: Thread | None = None
        self._closed = False
        self._database = self._open()

    def load(self) -> Loaded:
        """Read what an earlier process left."""
        try:
            snapshot = schema.read_snapshot(self._database)
        except ValueError as error:
            snapshot = None
            self.notices.append(f"{error}: counters begin anew, the journal is replayed")
        rows = self._database.execute(
            "SELECT number, kind, headers, size, items, created, thinnable, destination "
            "FROM outbox ORDER BY number"
        )
        payloads = tuple(p for row in rows if (p := schema.read_payload(row)) is not None)
        batches = self._database.execute(
            "SELECT digest, at, events FROM batches ORDER BY at, rowid"
        )
        return Loaded(
            snapshot,
            self._records(),
            payloads,
            tuple(AcceptedBatch(*row) for row in batches),
            schema.highest(self._database, "record"),
            schema.highest(self._database, "payload"),
        )

    def start(self, report: Report) -> None:
        """Start the writer.

        Args:
            report: Is called in the writer's thread with the results of each group, in order.
        """
        self._writer = Thread(target=self._write, args=(report,), name="openqoe-storage")
        self._writer.daemon = True
        self._writer.start()

    def submit(self, effect: StorageEffect) -> None:
        """Have an effect carried out. Does not wait."""
        if isinstance(effect, Append):
            # Packing lets other threads run. Here that is the writer, which waits for it; there
            # it would be this thread, which is busy, and the writer had to wait for each record.
            self._rows[effect.id] = schema.record_row(effect.record)
        self._queue.put(effect)

    def close(self) -> None:
        """Carry out what was submitted, and close the file."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join()
        self._database.close()

    def _open(self) -> sqlite3.Connection:
        try:
            database = self._opened()
        except sqlite3.DatabaseError as error:
            if _is_operational(error):
                raise StorageError(f"cannot open {self._path}: {error}") from None
            damaged, saved = set_aside(self._path)
            self.notices.append(
                f"{self._path.name} was damaged ({error}); saved from it: {saved}; "
                f"the damaged file is kept as {damaged.name}"
            )
            try:
                database = self._opened()
            except sqlite3.Error as again:
                raise StorageError(f"cannot open {self._path}: {again}") from None
        return database

    def _opened(self) -> sqlite3.Connection:
        """The file, looked through: damage should be found now, not in the middle of work."""
        database = schema.open_database(str(self._path), full=self._full)
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(verdict)
        except BaseException:
            database.close()
            raise
        return database

    def _records(self) -> Iterator[Record]:
        lost = 0
        rows = self._database.execute(
            "SELECT number, at, country, digest, crc, body FROM journal ORDER BY number"
        )
        for row in rows:
            record = schema.read_record(row)
            if record is None:
                lost += 1
            else:
                yield record
        if lost:
            self.notices.append(f"{lost} batches of the journal are damaged and left out")

    # The writer's thread

    def _write(self, report: Report) -> None:
        ended = False
        forgotten: list[int] = []
        while not ended:
            group: list[Answered] = []
            for effect in self._gather(patiently=bool(forgotten)):
                if effect is None:
                    ended = True
                elif isinstance(effect, Forget):
                    forgotten += effect.numbers
                else:
                    group.append(effect)
            if group or forgotten:
                results = self._carry_out(group, forgotten)
                for effect in group:
                    self._rows.pop(effect.id, None)
                # What could not be removed now will be with the next group.
                forgotten = [] if self._committed else forgotten
                if results:
                    report(results)

    def _gather(self, *, patiently: bool) -> list[StorageEffect | None]:
        """What has gathered; waits for the first. Nothing if there is only to forget."""
        try:
            gathered = [self._queue.get(timeout=PATIENCE if patiently else None)]
        except Empty:
            return []
        try:
            while len(gathered) < GROUP and gathered[-1] is not None:
                gathered.append(self._queue.get_nowait())
        except Empty:
            pass
        return gathered

    def _carry_out(
        self, group: list[Answered], forgotten: list[int]
    ) -> tuple[tuple[Answered, StorageResult], ...]:
        room = self._room()
        self._committed = False
        try:
            return self._transaction(group, forgotten, room=room)
        except sqlite3.Error as error:
            if len(group) < 2:
                return tuple((effect, _failure(error)) for effect in group)
        results: list[tuple[Answered, StorageResult]] = []
        for effect in group:
            try:
                results += self._transaction([effect], forgotten, room=room)
            except sqlite3.Error as error:
                results.append((effect, _failure(error)))
        return tuple(results)

    def _transaction(
        self, group: list[Answered], forgotten: list[int], *, room: int
    ) -> tuple[tuple[Answered, StorageResult], ...]:
        database = self._database
        results: list[tuple[Answered, StorageResult]] = []
        try:
            database.execute("BEGIN IMMEDIATE")
            records: list[schema.Row] = []
            for effect in group:
                if records and not isinstance(effect, Append):
                    schema.append_records(database, records)
                    records = []
                match effect:
                    case Append(record=record):
                        # Each byte is written twice: to the log, then to its place.
                        room -= 2 * len(record.body) + PAGE
                        if room < 0:
                            results.append((effect, StorageFailure(self._no_room, full=True)))
                            continue
                        records.append(self._rows[effect.id])
                        results.append((effect, Stored()))
                    case Persist():
                        self._persist(effect)
                        results.append((effect, Stored("" if room > ENOUGH else self._no_room)))
                    case LoadPayload(number=number):
                        results.append((effect, PayloadBody(schema.read_body(database, number))))
            schema.append_records(database, records)
            schema.forget_payloads(database, forgotten)
            if forgotten:
                schema.give_back(database, VACUUMED)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self.commits += 1
        self._committed = True
        return tuple(results)

    def _persist(self, effect: Persist) -> None:
        database = self._database
        schema.write_snapshot(database, effect.snapshot)
        for payload in effect.payloads:
            schema.add_payload(database, payload)
        highest = max((payload.number for payload in effect.payloads), default=0)
        schema.raise_highest(database, "payload", highest)
        schema.forget_payloads(database, effect.forgotten)
        database.execute("DELETE FROM journal WHERE number <= ?", (effect.through,))
        schema.raise_highest(database, "record", effect.through)
        schema.add_batches(database, effect.batches)
        schema.trim_batches(database, effect.batches_since, effect.most_batches)

    @property
    def _no_room(self) -> str:
        return f"less than {self._reserve // 2**20} MiB left on the disk"

    def _room(self) -> int:
        """Bytes that the journal may still take on the file system."""
        try:
            system = os.statvfs(self._path.parent)
        except OSError:
            return sys.maxsize  # then the write itself will tell
        return system.f_bavail * system.f_frsize - self._reserve


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
