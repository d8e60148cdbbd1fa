"""Results of HTTP requests to destinations, shared by the clients."""

from collections.abc import AsyncIterator
from contextlib import suppress

from openqoe.core.effects import NetworkFailure

MAX_ANSWER = 8192
"""Bytes of an answer that are read; enough for an error message."""

MAX_HEAD = 65_536
"""Bytes of a status line or header that a client must accept."""

SUCCESS_BODY_S = 0.25
"""s in which the body of a success may end. It is of no interest, but a connection can only be used
again when the body has been read; a slower one closes the connection."""


def is_success(status: int) -> bool:
    """Whether a request with this status is done."""
    return 200 <= status <= 299


async def read_start(pieces: AsyncIterator[bytes]) -> bytes:
    """Read the first MAX_ANSWER bytes of an answer.

    A body that is truncated or badly encoded ends early: the status has arrived, and it decides.
    """
    body = b""
    with suppress(Exception):
        async for piece in pieces:
            body += piece
            if len(body) >= MAX_ANSWER:
                break
    return body[:MAX_ANSWER]


def timeout_failure(timeout: float) -> NetworkFailure:
    """Return the result of a request without an answer within ``timeout`` s."""
    return NetworkFailure(f"no answer within {timeout:g} s")


def network_failure(error: Exception) -> NetworkFailure:
    """Return the result of a request that failed with an exception."""
    return NetworkFailure(str(error) or type(error).__name__)
