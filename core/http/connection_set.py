"""The connections of one server: how many there may be, and how they end together."""

from typing import TYPE_CHECKING

from .connection import Connection
from .connection_limits import HttpLimits
from .memory_budget import MemoryBudget
from .parser_choice import select_parser
from .refusal import MakeRefusal

if TYPE_CHECKING:
    from ..config.worker_config import Config


class ConnectionSet:
    """Makes the connections of a server and knows which are open.

    Args:
        config: The settings: limits, parser, how many connections there may be.
        refuse: Makes the answer to a request that cannot be read.
        is_secure: Whether they are TLS connections.

    Raises:
        ImportError: The parser that the settings name is not installed.
    """

    def __init__(self, config: "Config", refuse: MakeRefusal, *, is_secure: bool = False) -> None:
        self._limits = HttpLimits.from_config(config)
        self._parser = select_parser(config.http_parser)
        self._max = config.max_connections
        self._refuse = refuse
        self._is_secure = is_secure
        self._budget = MemoryBudget(config.max_waiting_bytes)
        self._open: set[Connection] = set()
        self._is_stopping = False

    def open(self, now: int) -> Connection:
        """A connection for a client that has come; one too many is turned away."""
        connection = Connection(
            self._limits,
            now,
            self._parser,
            refuse=self._refuse,
            is_secure=self._is_secure,
            budget=self._budget,
        )
        self._open.add(connection)
        if self._is_stopping:
            connection.stop(now)
        elif len(self._open) > self._max:
            connection.refuse_client(now)
        return connection

    def close(self, connection: Connection) -> None:
        """The client is gone."""
        self._open.discard(connection)
        connection.release()

    def stop(self, now: int) -> None:
        """Let each connection end behind the request that has begun."""
        self._is_stopping = True
        for connection in self._open:
            connection.stop(now)
