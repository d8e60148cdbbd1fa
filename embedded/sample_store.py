"""The embedded store: a thread that writes the requests of Prometheus and Loki, and rows of views.

Theory of operation. ``submit`` puts a request into a queue and does not wait. The thread decodes
it, writes it in one transaction and reports an HTTP status, as a server would: 204; 400 if it
cannot be decoded; 503 while the file is locked or the disk is full. ``core/delivery/verdict``
interprets the status, as for every destination. Between requests the thread runs retention, one
step at a time.

All workers of a data directory write to the same file (WAL mode: one writer at a time, and
readers and writers do not block each other). The first worker that finds the file damaged renames
it and creates a new one; the others notice that the file was replaced.

A write-ahead log of SQLite that was removed or cut off looks like one that never had more. So the
file counts the requests, and a high-water mark beside it has the latest count.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

from openqoe.core.config.worker_config import Config
from openqoe.core.effects import Delivery, HttpResult, RemoteWrite, StoreViews
from openqoe.shells.service import logs
from openqoe.shells.service.clock import now_ms
from openqoe.shells.storage.high_water_marks import HighWaterMarks
from openqoe.shells.storage.private_files import (
    create_private_file,
    create_private_folder,
    restrict_data_directory,
)
from openqoe.shells.storage.salvage import damaged_name
from openqoe.shells.storage.storage_errors import StorageError

from .payload_decoder import UndecodableError
from .retention import MIN_INTERVAL, Retention
from .sample_schema import FILE, open_writer
from .sample_writer import SampleWriter

Report = Callable[[Delivery, HttpResult], None]

RESERVE: Final = 64 * 1024 * 1024
"""Bytes left free on the file system. The journal leaves fewer, so that batches are still accepted
when the store is out of space."""

PAUSE: Final = 0.02
"""Seconds between two steps of retention, in which other processes can write."""

MARK_FILE: Final = f"{FILE}.high-water-mark"

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class EmbeddedStore:
    """The store of this process.

    Args:
        config: The settings.
        log: Where damage is reported.
        reserve: Bytes left free on the file system.

    Raises:
        StorageError: The file cannot be created or used.
    """

    def __init__(self, config: Config, log: logs.Log, *, reserve: int = RESERVE) -> None:
        self._config = config
        self._log = log
        self._reserve = reserve
        self._path = Path(config.data_dir) / FILE
        self._queue: SimpleQueue[Delivery | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._closed = False
        self._retention = Retention(config)
        self._sweep: Iterator[None] | None = None
        try:
            create_private_folder(self._path.parent)
            restrict_data_directory(self._path.parent)
            self._open_or_replace()
        except OSError as error:
            raise StorageError(
                f"cannot use the data directory {self._path.parent}: {error.strerror} "
                "(set OPENQOE_DATA_DIR, or OPENQOE_EMBEDDED=off)"
            ) from None
        except sqlite3.Error as error:
            raise StorageError(f"cannot open {self._path}: {error}") from None

    def start(self, report: Report) -> None:
        """Start the thread.

        Args:
            report: Is called in the store's thread with the result of each request.
        """
        self._thread = Thread(target=self._run, args=(report,), name="openqoe-embedded")
        self._thread.daemon = True
        self._thread.start()

    def submit(self, effect: Delivery) -> None:
        """Queue a request to be written. Does not wait."""
        self._queue.put(effect)

    def close(self) -> None:
        """Write the requests in the queue, and close the file."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._close_file()

    # The store's thread

    def _run(self, report: Report) -> None:
        while True:
            try:
                effect = self._queue.get(
                    timeout=MIN_INTERVAL / 1000 if self._sweep is None else PAUSE
                )
            except Empty:
                self._run_retention()
                continue
            if effect is None:
                return
            report(effect, self._write(effect))
            self._run_retention()  # also when the queue is never empty

    def _write(self, effect: Delivery) -> HttpResult:
        try:
            if self._free_bytes() < 0:
                megabytes = self._reserve // 2**20
                return _failure(503, f"less than {megabytes} MiB left on the disk")
            self._check_file()
            try:
                self._store(effect)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._replace_damaged(error)
                self._store(effect)
        except UndecodableError as error:
            return _failure(400, str(error))
        except (sqlite3.Error, OSError, StorageError) as error:
            return _failure(503, str(error))
        except Exception as error:
            self._log.exception("embedded store failed")
            return _failure(500, type(error).__name__)
        return HttpResult(204)

    def _store(self, effect: Delivery) -> None:
        if isinstance(effect, RemoteWrite):
            self._writer.write_metrics(effect.body)
        elif isinstance(effect, StoreViews):
            self._writer.write_views(effect.body)
        else:
            headers = {name.lower(): value for name, value in effect.headers}
            self._writer.write_logs(effect.body, headers.get("content-type", ""))
        self._mark.write(0, self._writer.writes)

    def _run_retention(self) -> None:
        """Run one step of retention, or start a sweep if one is due."""
        try:
            if self._sweep is None:
                self._check_file()
                self._sweep = self._retention.sweep(self._database, now_ms())
            next(self._sweep)
        except StopIteration:
            self._sweep = None
        except (sqlite3.Error, OSError, StorageError) as error:
            self._sweep = None  # locked, full or damaged: the next request reports it
            self._log.debug("retention failed", reason=str(error))

    def _free_bytes(self) -> int:
        """Bytes that may still be used on the file system."""
        try:
            system = os.statvfs(self._path.parent)
        except OSError:
            return sys.maxsize  # then the write itself fails
        return system.f_bavail * system.f_frsize - self._reserve

    # The file

    def _open(self) -> None:
        # Before the file: other processes may write meanwhile.
        self._mark = HighWaterMarks(self._path.with_name(MARK_FILE), 1)
        is_new = self._current_inode() is None
        try:
            self._database = open_writer(self._path, full=self._config.durability == "full")
        except BaseException:
            self._mark.close()
            raise
        self._inode = self._current_inode()
        self._writer = SampleWriter(self._database, self._config)
        self._sweep = None
        missing = self._mark.found[0] - self._writer.writes
        if missing > 0 and not is_new:
            self._log.error("the embedded store has lost the end of its log", requests=missing)
        self._mark.write(0, self._writer.writes)

    def _close_file(self) -> None:
        self._database.close()
        self._mark.close()

    def _open_or_replace(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._inode = self._current_inode()
            self._move_aside(error)
            self._open()

    def _check_file(self) -> None:
        """Reopen the file if it was removed, or replaced by another process."""
        if self._inode != self._current_inode():
            self._close_file()
            create_private_folder(self._path.parent)
            self._open_or_replace()

    def _replace_damaged(self, error: sqlite3.DatabaseError) -> None:
        """Replace the open file, which is damaged."""
        self._close_file()
        self._move_aside(error)
        self._open_or_replace()

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename the damaged file, unless another process has done so."""
        lock_path = self._path.with_name(f"{FILE}.lock")
        create_private_file(lock_path)
        with lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._inode != self._current_inode():
                return
            damaged = damaged_name(self._path)
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").rename(f"{damaged}{suffix}")
        self._log.error(
            "embedded store was damaged; started a new file",
            reason=str(error),
            kept_as=damaged.name,
        )

    def _current_inode(self) -> int | None:
        try:
            return self._path.stat().st_ino
        except OSError:
            return None


def _failure(status: int, message: str) -> HttpResult:
    return HttpResult(status, {}, message.encode())


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE
