"""The JSON of every answer.

Every 2xx has a body: the SDK takes an empty one for a failure and sends the batch again.
"""

from functools import lru_cache
from typing import Any

import msgspec

from ..events.faults import Fault
from ..http.messages import Response

RETRY_AFTER_S = 5
"""s after which a client that could not be served should try again."""

MAX_LISTED = 100
"""Errors listed in one answer."""

JSON = ("Content-Type", "application/json")

CHALLENGE = ("WWW-Authenticate", 'Bearer realm="OpenQoE"')
"""Goes along with every 401 (RFC 9110)."""

_encode = msgspec.json.encode

CACHED_ANSWERS = 1024
"""Answers to good batches that are kept: they tell a number of events and some ms, mostly 0."""


def json_response(status: int, content: dict[str, Any], *headers: tuple[str, str]) -> Response:
    """An answer with a JSON body."""
    return Response(status, (JSON, *headers), _encode(content))


def error_response(status: int, message: str, *headers: tuple[str, str]) -> Response:
    """An answer that says what went wrong."""
    return json_response(status, {"success": False, "message": message}, *headers)


@lru_cache(maxsize=CACHED_ANSWERS)
def accepted(received: int, elapsed: int) -> Response:
    """All events were accepted (or the batch had been before)."""
    return json_response(
        202,
        {
            "success": True,
            "message": "Events accepted",
            "events_received": received,
            "processing_time_ms": elapsed,
        },
    )


def partially_accepted(
    received: int, good: int, faults: tuple[Fault, ...], elapsed: int
) -> Response:
    """Some events were accepted, some refused."""
    return json_response(
        207,
        {
            "success": True,
            "message": "Events partially accepted",
            "events_received": received,
            "events_accepted": good,
            "events_rejected": received - good,
            "errors": _listed(faults),
            "processing_time_ms": elapsed,
        },
    )


def invalid(faults: tuple[Fault, ...]) -> Response:
    """No event could be used."""
    return json_response(
        400, {"success": False, "message": "Validation failed", "errors": _listed(faults)}
    )


def not_json(where: str) -> Response:
    return json_response(
        400,
        {"success": False, "message": "Invalid JSON in request body", "error": where},
    )


def unauthorized() -> Response:
    return error_response(
        401,
        "Unauthorized: Invalid or missing API key",
        CHALLENGE,
    )


def unavailable(message: str, retry_after: int) -> Response:
    """Come back later. Never 429: the SDK drops a batch on any 4xx and retries a 5xx."""
    return error_response(503, message, ("Retry-After", str(retry_after)))


def _listed(faults: tuple[Fault, ...]) -> list[dict[str, Any]]:
    return [fault.as_json() for fault in faults[:MAX_LISTED]]
