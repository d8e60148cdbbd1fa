"""Slicing of a body into the bytes of its events, without decoding them.

The cost is bounded by a few passes over the body, whatever its content: elements beyond the limit
of a batch create no objects, and only a body of moderate size is sanitized.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial

import msgspec

from .faults import Fault, NotJsonError, WrongShapeError
from .sanitize import sanitize_json
from .tokenizer import scan_events

Slice = bytes | msgspec.Raw

SMALL_BODY_BYTES = 1024 * 1024
"""Bodies up to this size are compacted as a whole and then sliced, which is fastest; they cannot
hold enough elements to cost much."""

MAX_SANITIZED_BYTES = 4 * 1024 * 1024
"""Larger bodies are not sanitized, because that costs ten times as much as reading. A thousand
events are half of this."""


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


class _LargeEnvelope(msgspec.Struct):
    events: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_large_envelope = msgspec.json.Decoder(_LargeEnvelope).decode


def slice_events(body: bytes, max_events: int) -> Sequence[Slice]:
    """Return the events of a body; of a large one at most the first ``max_events``.

    The events of a body up to ``SMALL_BODY_BYTES`` are compact, if they are JSON.

    Raises:
        NotJsonError: The body is not JSON.
        WrongShapeError: The body has no list of events.
    """
    read = _slice_all if len(body) <= SMALL_BODY_BYTES else partial(_slice_first, max_events)
    try:
        return read(body)
    except (msgspec.DecodeError, RecursionError) as error:
        is_deep = isinstance(error, RecursionError)
        message = "it is nested too deeply" if is_deep else str(error)
    if len(body) > MAX_SANITIZED_BYTES:
        raise NotJsonError(message)
    sanitized = sanitize_json(body)
    if sanitized == body and not is_deep:
        raise NotJsonError(message)
    try:
        return read(sanitized)
    except RecursionError:
        return [compact_json(piece) for piece in scan_events(sanitized)]
    except msgspec.DecodeError as error:
        raise NotJsonError(str(error)) from None


def slice_compact_events(body: bytes) -> list[bytes]:
    """Return the compact events of a body that is known to be valid and to have some."""
    # A sender formats all events of a body alike, so the first shows whether there is white space
    # between tokens. This check is a tenth of the cost of reformatting all events. Line ends and
    # tabs cannot occur in strings, so a search of the bytes finds them.
    if not (b"\n" in body or b"\r" in body or b"\t" in body):
        events = _decode_envelope(body).events
        first = bytes(events[0])
        if compact_json(first) == first:
            return list(map(bytes, events))
    return list(map(bytes, _decode_envelope(msgspec.json.format(body, indent=-1)).events))


def join_events(events: Iterable[bytes]) -> bytes:
    """Return a body of these events."""
    return b'{"events":[%b]}' % b",".join(events)


def compact_json(text: Slice) -> bytes:
    """Return JSON without white space; text that is not JSON unchanged."""
    try:
        return msgspec.json.format(bytes(text), indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return bytes(text)  # its decoder will report the fault


def _slice_all(body: bytes) -> Sequence[Slice]:
    try:
        return _decode_envelope(msgspec.json.format(body, indent=-1)).events
    except msgspec.ValidationError as error:
        raise WrongShapeError(_shape_fault(str(error))) from None


def _slice_first(max_events: int, body: bytes) -> Sequence[Slice]:
    try:
        elements = _first_elements(max_events)(_decode_large_envelope(body).events)
    except msgspec.ValidationError as error:
        raise WrongShapeError(_shape_fault(str(error))) from None
    return [element for element in msgspec.structs.astuple(elements) if element]


@cache
def _first_elements(max_events: int) -> Callable[[msgspec.Raw], msgspec.Struct]:
    """Return a decoder of a list that skips all after the first elements, without objects."""
    fields = [(f"element_{i}", msgspec.Raw, msgspec.Raw()) for i in range(max_events)]
    elements = msgspec.defstruct("_Elements", fields, array_like=True)
    return msgspec.json.Decoder(elements).decode


def _shape_fault(message: str) -> Fault:
    if message.startswith("Expected `object`") and "$" not in message:
        return Fault(None, "body", 'must be an object with a list "events"', "wrong_shape")
    if "missing required field" in message:
        return Fault(None, "events", "is required", "wrong_shape")
    return Fault(None, "events", "must be a list of events", "wrong_shape")
