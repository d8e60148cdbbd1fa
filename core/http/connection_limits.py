"""Limits of HTTP connections: bytes and ms of one, memory of all together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Self

if TYPE_CHECKING:
    from ..config.worker_config import Config


EVICTED_SHARE: Final = 8
"""An eighth of the memory budget is freed at a time."""


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


def ignore_eviction() -> None:
    """Do nothing; for holders whose owner checks them after each call."""


class BudgetHolder(Protocol):
    """A holder of an incomplete or unread request."""

    def held_byte_ms(self, now: int) -> int:
        """Return the bytes held times the ms since the request's first byte."""

    def evict(self, now: int) -> None:
        """Release the memory and refuse the request."""


class MemoryBudget:
    """Bytes of incomplete and unread requests, heads included, on all connections of a server.

    Above the limit, the requests that hold the most bytes for the longest time are refused, so that
    slow senders, on any number of connections, cannot keep others from sending.

    Attributes:
        limit: Maximum bytes.
        used: Current bytes.
        holders: All connections, whether or not they hold bytes.
    """

    __slots__ = ("holders", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.holders: set[BudgetHolder] = set()

    def make_room(self, now: int) -> None:
        """Evict holders, the largest and oldest first, if the limit is exceeded.

        It frees an eighth of the limit, so that the search is rare.
        """
        if self.used <= self.limit:
            return
        target = self.limit - self.limit // EVICTED_SHARE
        held = {holder: holder.held_byte_ms(now) for holder in self.holders}
        for holder in sorted(held, key=held.__getitem__, reverse=True):
            if self.used <= target or not held[holder]:
                return
            holder.evict(now)
