"""Limits of HTTP connections: bytes and ms of one, memory of all together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..config.worker_config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of one connection; the defaults are those of the settings.

    Attributes:
        max_header_bytes: Maximum bytes of the request line and all header fields, and separately
            of all chunk extensions and trailer fields of one body.
        max_body_bytes: Maximum bytes of a body without its chunked coding.
        request_timeout: Maximum time from the first byte of a request to its last, ms.
        keep_alive_timeout: Maximum idle time before a request, ms.
    """

    max_header_bytes: int = 32 * 1024
    max_body_bytes: int = 5 * 1024 * 1024
    request_timeout: int = 30_000
    keep_alive_timeout: int = 75_000

    @classmethod
    def from_config(cls, config: "Config") -> Self:
        """Return the limits of a configuration."""
        return cls(
            max_header_bytes=config.max_header_bytes,
            max_body_bytes=config.max_body_bytes,
            request_timeout=config.request_timeout,
            keep_alive_timeout=config.keep_alive_timeout,
        )


class MemoryBudget:
    """Bytes of incomplete and unread requests on all connections of a server.

    Attributes:
        limit: Maximum bytes.
        used: Current bytes.
    """

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether more bytes are used than the limit allows."""
        return self.used > self.limit
