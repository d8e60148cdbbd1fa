"""Lenient decoding of an event that does not match ``event_types``; the slow path.

It either reports every required field that is missing or invalid, or ignores the optional fields of
the wrong type. Declared members are decoded one by one; undeclared ones are skipped and cost no
objects.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from .event_types import IDENTITY, TIMES, Event, Text
from .faults import Fault

MAX_TIME = 1e300

NUMBER_STARTS = tuple(b"%c" % digit for digit in b"-0123456789")
"""First bytes of a JSON number."""

DECODE_ERRORS = (msgspec.DecodeError, ValueError, RecursionError)
"""Errors of a decoder; ValueError is for a whole number of more than 4,300 digits."""


def repair_event(raw: bytes, index: int) -> tuple[Event | None, tuple[Fault, ...], tuple[str, ...]]:
    """Decode one event leniently.

    Args:
        raw: JSON of the event.
        index: Index of the event in its batch, for the faults.

    Returns:
        The event or None, its faults if it is None, and the paths of ignored fields.
    """
    try:
        members = _members(raw, Event)
    except RecursionError:
        return None, (Fault(index, "", "is nested too deeply", "malformed"),), ()
    except msgspec.ValidationError:
        return None, (Fault(index, "", "must be an object", "wrong_type"),), ()
    except msgspec.DecodeError as error:
        return None, (Fault(index, "", f"is not JSON: {error}", "malformed"),), ()
    if faults := _required(members, index):
        return None, faults, ()
    kept, ignored = _fitting(members, Event, "")
    return msgspec.convert(kept, Event), (), tuple(ignored)


def _required(members: dict[str, bytes], index: int) -> tuple[Fault, ...]:
    faults = []
    for name in IDENTITY:
        member = members.get(name, b"null")
        if member == b"null":
            faults.append(Fault(index, name, "is required", "missing"))
        elif not member.startswith(b'"'):
            faults.append(Fault(index, name, "must be a string", "wrong_type"))
        elif member == b'""':
            faults.append(Fault(index, name, "must not be empty", "missing"))
    for name in TIMES:
        member = members.get(name, b"null")
        if member == b"null":
            faults.append(Fault(index, name, "is required", "missing"))
        elif not member.startswith(NUMBER_STARTS):
            faults.append(Fault(index, name, "must be a number", "wrong_type"))
        elif not _is_time(member):
            faults.append(Fault(index, name, "must be a finite number", "wrong_type"))
    return tuple(faults)


def _is_time(member: bytes) -> bool:
    try:
        return bool(abs(_decoder(int | float)(member)) <= MAX_TIME)
    except DECODE_ERRORS:
        return False


def _fitting(
    members: dict[str, bytes], struct: type[msgspec.Struct], path: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the members of an object that match the struct, and the paths of the others."""
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    types = _types(struct)
    for name, member in members.items():
        structs = _structs(types[name])
        if structs and member.startswith(b"{"):
            kept[name], below = _fitting(_members(member, structs[0]), structs[0], f"{path}{name}.")
            ignored += below
            continue
        try:
            kept[name] = _value(member, types[name])
        except DECODE_ERRORS:
            ignored.append(path + name)
    return kept, ignored


def _value(member: bytes, field_type: Any) -> Any:
    try:
        return _decoder(field_type)(member)
    except msgspec.ValidationError:
        if field_type != Text:
            raise
        return repr(_decoder(float)(member)).removesuffix(".0")  # a number with a fraction


def _members(raw: bytes, struct: type[msgspec.Struct]) -> dict[str, bytes]:
    """Return the JSON of those members of an object that the struct declares, in its order."""
    found = msgspec.structs.asdict(_decoder(_undecoded(struct))(raw))
    return {name: bytes(member) for name, member in found.items() if member}


@cache
def _undecoded(struct: type[msgspec.Struct]) -> type[msgspec.Struct]:
    fields = [(name, msgspec.Raw, msgspec.Raw()) for name in _types(struct)]
    return msgspec.defstruct(f"Undecoded{struct.__name__}", fields)


@cache
def _decoder(wanted: Any) -> Callable[[bytes], Any]:
    return msgspec.json.Decoder(wanted).decode


@cache
def _types(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _structs(field_type: Any) -> list[type[msgspec.Struct]]:
    members = getattr(field_type, "__args__", (field_type,))
    return [m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)]
