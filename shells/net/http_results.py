"""Results of HTTP requests to destinations, shared by the clients."""

from collections.abc import AsyncIterator
from contextlib import suppress

from openqoe.core.effects import NetworkFailure

MAX_ANSWER = 8192
"""Bytes of an answer that are read; enough for an error message."""


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
