"""Cuts a body into its events without decoding them: each is a slice of the body.

Nothing here costs more than a few passes over the body, whatever it holds: no objects are
made for what a batch may not hold, and only a body of moderate size is mended.
"""

from collections.abc import Callable, Sequence
from functools import cache

import msgspec

from openqoe.core.events.faults import Fault, NotJsonError, WrongShapeError
from openqoe.core.events.mend import mend
from openqoe.core.events.split import split_events

Slice = bytes | msgspec.Raw

SMALL = 64 * 1024
"""Bodies up to this size cannot hold enough elements to matter."""

MAX_MENDED = 4 * 1024 * 1024
"""Larger bodies must be sound JSON: mending costs ten times what reading does. A thousand
events are half of this."""


class _Envelope(msgspec.Struct):
    events: list[msgspec.Raw]


class _LargeEnvelope(msgspec.Struct):
    events: msgspec.Raw


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_large_envelope = msgspec.json.Decoder(_LargeEnvelope).decode


def cut(body: bytes, most: int) -> Sequence[Slice]:
    """The events of a body. Of a large one no more than the first ``most``.

    Raises:
        NotJsonError: The body as a whole cannot be read.
        WrongShapeError: It is JSON, but holds no list.
    """
    try:
        return _events_of(body, most)
    except RecursionError:
        _demand_moderate_size(body, "it is nested too deeply")
        return split_events(mend(body))
    except msgspec.DecodeError as error:
        _demand_moderate_size(body, str(error))
        mended = mend(body)
        if mended == body:
            raise NotJsonError(str(error)) from None
    try:
        return _events_of(mended, most)
    except RecursionError:
        return split_events(mended)
    except msgspec.DecodeError as error:
        raise NotJsonError(str(error)) from None


def _events_of(body: bytes, most: int) -> Sequence[Slice]:
    try:
        if len(body) <= SMALL:
            return _decode_envelope(body).events
        elements = _first_elements(most)(_decode_large_envelope(body).events)
        return [element for element in msgspec.structs.astuple(elements) if element]
    except msgspec.ValidationError as error:
        raise WrongShapeError(_shape_fault(str(error))) from None


@cache
def _first_elements(most: int) -> Callable[[msgspec.Raw], msgspec.Struct]:
    """A decoder of a list that only skips what follows its first elements, as structs do."""
    fields = [(f"element_{i}", msgspec.Raw, msgspec.Raw()) for i in range(most)]
    elements = msgspec.defstruct("_Elements", fields, array_like=True)
    return msgspec.json.Decoder(elements).decode


def _demand_moderate_size(body: bytes, error: str) -> None:
    if len(body) > MAX_MENDED:
        raise NotJsonError(error)


def _shape_fault(message: str) -> Fault:
    if message.startswith("Expected `object`") and "$" not in message:
        return Fault(None, "body", 'must be an object with a list "events"', "wrong_shape")
    if "missing required field" in message:
        return Fault(None, "events", "is required", "wrong_shape")
    return Fault(None, "events", "must be a list of events", "wrong_shape")
