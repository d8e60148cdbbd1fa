"""The two formats of a batch: the JSON of the SDKs and the records of CMCD.

A format says which bodies a route accepts, what of them is journalled, and how they are answered.
All else is the same for both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..config.worker_config import Config
from ..events.cmcd_target import is_wrapped, read_target, wrap
from ..events.decoded_batch import DecodedBatch
from ..events.faults import NotCmcdError
from ..http.messages import Request, Response
from . import answers, content
from .routes import Route


@dataclass(frozen=True, slots=True)
class BodyFormat:
    """The format of the bodies of one route.

    Attributes:
        read_body: Returns the bytes to journal; raises ``RefusedContentError``.
        accepted: The answer to a duplicate, by its number of events and ms since the request.
        answer: The answer to a decoded batch, by ms since the request.
    """

    read_body: Callable[[Request, Config], bytes]
    accepted: Callable[[int, int], Response]
    answer: Callable[[DecodedBatch, int], Response]


def _read_json(request: Request, config: Config) -> bytes:
    body = content.decode_body(request, config.max_body_bytes, config.max_inflated_bytes)
    if is_wrapped(body):  # the journal would take it for records of CMCD
        raise content.RefusedContentError(400, "Invalid JSON in request body")
    return body


def _answer_sdk(decoded: DecodedBatch, elapsed: int) -> Response:
    count, good = decoded.event_count, len(decoded.events)
    if not good:
        return answers.invalid(decoded.faults)
    if decoded.faults:
        return answers.partially_accepted(count, good, decoded.faults, elapsed)
    return answers.accepted(count, elapsed)


def _read_cmcd(request: Request, config: Config) -> bytes:
    body = content.decode_body(
        request, config.max_body_bytes, config.max_inflated_bytes, content.CMCD_CONTENT_TYPES
    )
    try:
        target = read_target(request.query, request.headers, config.max_id_length)
    except NotCmcdError as error:
        raise content.RefusedContentError(400, str(error)) from None
    return wrap(target, body)


NO_CONTENT: Final = Response(204)
"""Every acceptance of CMCD, of records without use, too. Shaka takes a 202 for a failure and sends
all twice, and no player reads a body (measured; CTA-5004-B asks for 204)."""

BODY_FORMATS: Final = {
    Route.EVENTS.value: BodyFormat(_read_json, answers.accepted, _answer_sdk),
    Route.CMCD.value: BodyFormat(
        _read_cmcd, lambda received, elapsed: NO_CONTENT, lambda decoded, elapsed: NO_CONTENT
    ),
}
"""The formats by the value of their route."""
