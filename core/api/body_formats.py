"""The two formats of a batch: the JSON of the SDKs and the records of CMCD.

A format says which bodies a route accepts, what of them is journalled, and how they are answered.
All else is the same for both.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from re import Pattern
from typing import Final

from msgspec.structs import replace

from ..config.worker_config import Config
from ..events.cmcd_target import DEFAULT_ORGANISATION, is_wrapped, read_target, wrap
from ..events.faults import Fault, NotCmcdError
from ..events.foreign_events import REASON as FOREIGN
from ..http.messages import Request, Response
from . import answers, content
from .routes import Route

Orgs = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class BodyFormat:
    """The format of the bodies of one route.

    Attributes:
        read_body: Returns the bytes to journal, by the request, the settings and the organisations
            of its key (None for all); raises ``RefusedContentError``.
        view_id: Finds the id of the first view.
        accepted: The answer to a batch of which all events are valid, or that was accepted before:
            by its number of events and ms since the request.
        partially_accepted: If some are not valid.
        thinned: If the sampling of its key has left some out.
        invalid: If none is valid: by the faults.
    """

    read_body: Callable[[Request, Config, Orgs], bytes]
    view_id: Pattern[bytes]
    accepted: Callable[[int, int], Response]
    partially_accepted: Callable[[int, int, tuple[Fault, ...], int], Response]
    thinned: Callable[[int, int, int], Response]
    invalid: Callable[[tuple[Fault, ...]], Response]

    def find_view_id(self, body: bytes) -> str | None:
        """Return the id of the first view of a body as it came, without decoding the events.

        None if there is none, or it is not found so (in a compressed body, for example).
        """
        found = self.view_id.search(body)
        try:
            return None if found is None else found[1].decode()
        except UnicodeDecodeError:
            return None


def _read_json(request: Request, config: Config, orgs: Orgs) -> bytes:
    body = content.decode_body(request, config.max_body_bytes, config.max_inflated_bytes)
    if is_wrapped(body):  # the journal would take it for records of CMCD
        raise content.RefusedContentError(400, "Invalid JSON in request body")
    return body


def _read_cmcd(request: Request, config: Config, orgs: Orgs) -> bytes:
    body = content.decode_body(
        request, config.max_body_bytes, config.max_inflated_bytes, content.CMCD_CONTENT_TYPES
    )
    try:
        target = read_target(request.query, request.headers, config.max_id_length)
    except NotCmcdError as error:
        raise content.RefusedContentError(400, str(error)) from None
    if orgs is not None and len(orgs) == 1 and target.org_id == DEFAULT_ORGANISATION:
        target = replace(target, org_id=next(iter(orgs)))  # the only one that it can mean
    return wrap(target, body)


NO_CONTENT: Final = Response(204)
"""Every acceptance of CMCD, of records without use, too. Shaka takes a 202 for a failure and sends
all twice, and no player reads a body (measured; CTA-5004-B asks for 204)."""


def _no_content(*_: object) -> Response:
    return NO_CONTENT


def _unusable(faults: tuple[Fault, ...]) -> Response:
    """204, unless the key may not write the organisation of the target: that is a wrong URL."""
    if faults and all(fault.reason == FOREIGN for fault in faults):
        return answers.error_response(403, f"org_id {faults[0].error}")
    return NO_CONTENT


BODY_FORMATS: Final = {
    Route.EVENTS.value: BodyFormat(
        _read_json,
        re.compile(rb'"view_id"\s*:\s*"([^"\\]+)"'),
        answers.accepted,
        answers.partially_accepted,
        answers.thinned,
        answers.invalid,
    ),
    Route.CMCD.value: BodyFormat(
        _read_cmcd,
        re.compile(rb'(?:^|[,\s])sid="([^"\\]+)"'),
        _no_content,
        _no_content,
        _no_content,
        _unusable,
    ),
}
"""The formats by the value of their route."""
