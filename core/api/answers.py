"""JSON responses of the API.

Every 2xx to the SDK has a body, because the SDK treats an empty one as a failure and sends the
batch again.
"""

from functools import lru_cache
from typing import Any

import msgspec

from ..access.key_ring import Refusal
from ..events.faults import Fault
from ..http.messages import Response

RETRY_AFTER_S = 5
"""Seconds after which a rejected client should retry."""

MAX_LISTED = 100
"""Maximum errors listed in one response."""

JSON = ("Content-Type", "application/json")

CHALLENGE = ("WWW-Authenticate", 'Bearer realm="OpenQoE"')
"""Header of every 401 (RFC 9110, 11.6.1)."""

_encode = msgspec.json.encode

CACHED_RESPONSES = 1024
"""Cached 202 responses; they differ in the number of events and the ms, which is mostly 0."""


def json_response(status: int, content: dict[str, Any], *headers: tuple[str, str]) -> Response:
    """Return a response with a JSON body."""
    return Response(status, (JSON, *headers), _encode(content))


def without_caching(response: Response) -> Response:
    """Return a response that no cache stores, unless it says itself what a cache may do."""
    if any(name.lower() == "cache-control" for name, _ in response.headers):
        return response
    headers = (*response.headers, ("Cache-Control", "no-store"))
    return Response(response.status, headers, response.body)


def error_response(status: int, message: str, *headers: tuple[str, str]) -> Response:
    """Return a JSON response with an error message."""
    return json_response(status, {"success": False, "message": message}, *headers)


@lru_cache(maxsize=CACHED_RESPONSES)
def accepted(received: int, elapsed: int) -> Response:
    """202: all events were accepted, now or as a duplicate of an earlier batch."""
    return json_response(
        202,
        {
            "success": True,
            "message": "Events accepted",
            "events_received": received,
            "processing_time_ms": elapsed,
        },
    )


def thinned(received: int, left_out: int, elapsed: int) -> Response:
    """202: the events are valid, and those of some views were left out by sampling."""
    return json_response(
        202,
        {
            "success": True,
            "message": "Events accepted, thinned by sampling",
            "events_received": received,
            "events_thinned": left_out,
            "processing_time_ms": elapsed,
        },
    )


def partially_accepted(
    received: int, good: int, faults: tuple[Fault, ...], elapsed: int
) -> Response:
    """207: some events were accepted, others rejected."""
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
    """400: no event is valid."""
    return json_response(
        400, {"success": False, "message": "Validation failed", "errors": _listed(faults)}
    )


def not_json(error: str) -> Response:
    """400: the body is not JSON."""
    content = {"success": False, "message": "Invalid JSON in request body", "error": error}
    return json_response(400, content)


def unauthorized() -> Response:
    """401: the request has no valid API key."""
    return error_response(401, "Unauthorized: Invalid or missing API key", CHALLENGE)


def forbidden(refusal: Refusal) -> Response:
    """401 or 403: why a request may not do what it asks for."""
    if refusal is Refusal.KEY:
        return unauthorized()
    return error_response(403, refusal.value)


def gone() -> Response:
    """410: the API key was revoked. It makes hls.js and dash.js stop reporting for the session."""
    return error_response(410, "This API key was revoked")


def too_many_wrong_keys(wait: int) -> Response:
    """429, to a reader, never to a player: too many wrong API keys."""
    return error_response(429, "Too many wrong API keys", ("Retry-After", str(wait)), CHALLENGE)


def unavailable(message: str, retry_after: int) -> Response:
    """503: retry later. Never 429, because the SDK drops a batch on a 4xx and retries on a 5xx."""
    return error_response(503, message, ("Retry-After", str(retry_after)))


def _listed(faults: tuple[Fault, ...]) -> list[dict[str, Any]]:
    return [fault.as_json() for fault in faults[:MAX_LISTED]]
