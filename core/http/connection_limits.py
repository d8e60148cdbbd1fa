"""What a connection grants its client: bytes and milliseconds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ..config.worker_config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Limits of one connection. The defaults are those of the settings.

    Attributes:
        max_header_bytes: Bytes of a request line and its header fields together, and
            again of all chunk extensions and trailer fields of one body.
        max_body_bytes: Bytes of a request's body, the chunked coding removed.
        request_timeout: How long a request may take from its first byte to its last, ms.
        keep_alive_timeout: How long a connection may be idle before a request, ms.
    """

    max_header_bytes: int = 32 * 1024
    max_body_bytes: int = 5 * 1024 * 1024
    request_timeout: int = 30_000
    keep_alive_timeout: int = 75_000

    @classmethod
    def from_config(cls, config: "Config") -> Self:
        """Take the limits out of the settings."""
        return cls(
            max_header_bytes=config.max_header_bytes,
            max_body_bytes=config.max_body_bytes,
            request_timeout=config.request_timeout,
            keep_alive_timeout=config.keep_alive_timeout,
        )
