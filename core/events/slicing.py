"""Cuts a body into its events without decoding them: each is a slice of the body.

Nothing here costs more than a few passes over the body, whatever it holds: no objects are
made for what a batch may not hold, and only a body of moderate size is mended.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial

import msgspec

from .faults import Fault, NotJsonError, WrongShapeError
from .sanitize import sanitize_json
from .tokenizer import scan_events

Slice = bytes | msgspec.Raw

SMALL_BODY_BYTES = 1024 * 1024
"""Bodies up to this size cannot hold enough elements to matter, whatever they are. They take
the fastest way: compacted as a whole, then cut."""

MAX_SANITIZED_BYTES = 4 * 1024 * 1024
"""Larger bodies must be sound JSON: mending costs ten times what reading does. A thousand
events are half of this."""


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


class _LargeEnvelope(msgspec.Struct):
    events: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_large_envelope = msgspec.json.Decoder(_LargeEnvelope).decode


def slice_events(body: bytes, most: int) -> Sequence[Slice]:
    """The events of a body; of a large one no more than the first ``most``.

    Those of a ``SMALL_BODY_BYTES`` body are compact, if they are JSON.

    Raises:
        NotJsonError: The body as a whole cannot be read.
        WrongShapeError: It is JSON, but holds no list.
    """
    read = _all_of if len(body) <= SMALL_BODY_BYTES else partial(_first_of, most)
    try:
        return read(body)
    except (msgspec.DecodeError, RecursionError) as error:
        is_deep = isinstance(error, RecursionError)
        said = "it is nested too deeply" if is_deep else str(error)
    if len(body) > MAX_SANITIZED_BYTES:
        raise NotJsonError(said)
    mended = sanitize_json(body)
    if mended == body and not is_deep:
        raise NotJsonError(said)
    try:
        return read(mended)
    except RecursionError:
        return [compact_json(piece) for piece in scan_events(mended)]
    except msgspec.DecodeError as error:
        raise NotJsonError(str(error)) from None


def slice_compact_events(body: bytes) -> list[bytes]:
    """The events of a body that is known to hold some, compact."""
    # Senders write all events of a body alike, so the first tells whether there is white space
    # between tokens; that is a tenth of the cost of writing all of them anew. Line ends and
    # tabs cannot stand in strings, so they are found without reading any.
    if not (b"\n" in body or b"\r" in body or b"\t" in body):
        events = _decode_envelope(body).events
        first = bytes(events[0])
        if compact_json(first) == first:
            return list(map(bytes, events))
    return list(map(bytes, _decode_envelope(msgspec.json.format(body, indent=-1)).events))


def compact_json(text: Slice) -> bytes:
    """JSON without white space; what is no JSON as it is."""
    try:
        # Cheaper than to find out whether there is any white space.
        return msgspec.json.format(bytes(text), indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return bytes(text)  # its decoder will say what is wrong


def _all_of(body: bytes) -> Sequence[Slice]:
    try:
        return _decode_envelope(msgspec.json.format(body, indent=-1)).events
    except msgspec.ValidationError as error:
        raise WrongShapeError(_shape_fault(str(error))) from None


def _first_of(most: int, body: bytes) -> Sequence[Slice]:
    try:
        elements = _first_elements(most)(_decode_large_envelope(body).events)
    except msgspec.ValidationError as error:
        raise WrongShapeError(_shape_fault(str(error))) from None
    return [element for element in msgspec.structs.astuple(elements) if element]


@cache
def _first_elements(most: int) -> Callable[[msgspec.Raw], msgspec.Struct]:
    """A decoder of a list that only skips what follows its first elements, as structs do."""
    fields = [(f"element_{i}", msgspec.Raw, msgspec.Raw()) for i in range(most)]
    elements = msgspec.defstruct("_Elements", fields, array_like=True)
    return msgspec.json.Decoder(elements).decode


def _shape_fault(message: str) -> Fault:
    if message.startswith("Expected `object`") and "$" not in message:
        return Fault(None, "body", 'must be an object with a list "events"', "wrong_shape")
    if "missing required field" in message:
        return Fault(None, "events", "is required", "wrong_shape")
    return Fault(None, "events", "must be a list of events", "wrong_shape")
