"""Reads the embedded store: one connection per question, with a time limit."""

import sqlite3
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from openqoe.embedded import open_reader
from openqoe.shells.service.clock import monotonic

from .visible_rows import restrict

TIME_LIMIT: Final = 8.0
"""Seconds for all queries of one answer."""

_CHECK_INTERVAL: Final = 20_000
"""Instructions of SQLite's virtual machine between two checks of the time: well below 1 ms."""

Values = Mapping[str, str | int | float | None]


class QueryTimeoutError(Exception):
    """The queries exceeded the time limit."""


class Reader:
    """A connection to the store for one answer; a context manager that closes it.

    Readers and writers do not block each other.

    Args:
        path: The store's file.
        time_limit: Seconds after which queries are aborted.
        orgs: Organisations whose rows are visible; None for all rows.
        hides_viewers: Whether views show no ids of viewers and sessions.

    Raises:
        sqlite3.Error: The file is missing or damaged.
    """

    def __init__(
        self,
        path: Path,
        time_limit: float = TIME_LIMIT,
        *,
        orgs: Collection[str] | None = None,
        hides_viewers: bool = False,
    ) -> None:
        self._database = open_reader(path)
        try:
            restrict(self._database, orgs, hides_viewers=hides_viewers)
        except BaseException:
            self._database.close()
            raise
        self._end = monotonic() + time_limit
        self._database.set_progress_handler(self._is_late, _CHECK_INTERVAL)

    def __enter__(self) -> Self:
        # All queries of an answer read the same snapshot.
        self._database.execute("BEGIN")
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._database.close()

    def rows(self, statement: str, values: Values) -> list[tuple[Any, ...]]:
        """The rows of a query.

        Raises:
            QueryTimeoutError: The time limit is exceeded.
            sqlite3.Error: The file is damaged.
        """
        try:
            return self._database.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise QueryTimeoutError from None
            raise

    def _is_late(self) -> bool:
        return monotonic() > self._end
