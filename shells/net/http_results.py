"""What all attempts to reach a destination have in common, whichever client makes them."""

from collections.abc import AsyncIterator

from openqoe.core.effects import NetworkFailure

MAX_ANSWER = 8192
"""Bytes of an answer that are read: enough for its words."""


async def read_start(pieces: AsyncIterator[bytes]) -> bytes:
    """The first MAX_ANSWER bytes of an answer, or all of it if it is shorter."""
    body = b""
    async for piece in pieces:
        body += piece
        if len(body) >= MAX_ANSWER:
            break
    return body[:MAX_ANSWER]


def timeout_failure(timeout: float) -> NetworkFailure:
    """No answer came within so many seconds."""
    return NetworkFailure(f"no answer within {timeout:g} s")


def network_failure(error: Exception) -> NetworkFailure:
    """No answer came, for what the runtime says."""
    return NetworkFailure(str(error) or type(error).__name__)
