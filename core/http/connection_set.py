"""All connections of one server: their limit and their shutdown."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from .connection import Connection
from .connection_limits import HttpLimits, MemoryBudget, ignore_eviction
from .parser_choice import select_parser
from .refusal import MakeRefusal

if TYPE_CHECKING:
    from ..config.worker_config import Config


class ConnectionSet:
    """Creates the connections of a server and tracks the open ones.

    Args:
        config: Settings: limits, parser, maximum number of connections.
        refuse: Builds the response to an unreadable request.
        is_secure: Whether the connections use TLS.
        on_change: Receives the number of open connections whenever it changes.

    Raises:
        ImportError: The configured parser is not installed.
    """

    def __init__(
        self,
        config: "Config",
        refuse: MakeRefusal,
        *,
        is_secure: bool = False,
        on_change: Callable[[int], None] | None = None,
    ) -> None:
        self._limits = HttpLimits.from_config(config)
        self._parser = select_parser(config.http_parser)
        self._max = config.max_connections
        self._make_refusal = refuse
        self._is_secure = is_secure
        self._on_change = on_change
        self._budget = MemoryBudget(config.max_waiting_bytes)
        self._open: set[Connection] = set()
        self._is_stopping = False

    def open(
        self, now: int, on_eviction: Callable[[], None] = ignore_eviction, client: str = ""
    ) -> Connection:
        """Create the connection of a new client; above the maximum it responds 503 and closes.

        Args:
            now: Current time.
            on_eviction: See ``Connection``.
            client: IP address of the client; "" if unknown.
        """
        connection = Connection(
            self._limits,
            now,
            self._parser,
            refuse=self._make_refusal,
            is_secure=self._is_secure,
            budget=self._budget,
            on_eviction=on_eviction,
            client=client,
        )
        self._open.add(connection)
        self._report_change()
        if self._is_stopping:
            connection.stop(now)
        elif len(self._open) > self._max:
            connection.refuse_client(now)
        return connection

    def close(self, connection: Connection) -> None:
        """Forget the connection of a client that has disconnected."""
        self._open.discard(connection)
        self._report_change()
        connection.release()

    def _report_change(self) -> None:
        if self._on_change is not None:
            self._on_change(len(self._open))

    def stop(self, now: int) -> None:
        """Shut down: each connection closes after the request that has started."""
        self._is_stopping = True
        for connection in self._open:
            connection.stop(now)
