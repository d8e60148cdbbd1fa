"""The slow path for one event that does not fit the types of ``schema.py``.

It either names every required field that is missing or wrong, or drops the optional
fields of the wrong type and returns the event without them.
"""

import json
import math
from functools import cache
from typing import Any

import msgspec

from openqoe.core.events.faults import Fault
from openqoe.core.events.schema import IDENTITY, TIMES, Event, Text

MISSING = object()

MAX_TIME = 1e300

MAX_DIGITS = 400
"""Digits past which a whole number is beyond every range; Python refuses to convert 4,300."""


def repair(raw: bytes, index: int) -> tuple[Event | None, tuple[Fault, ...], tuple[str, ...]]:
    """Decode one event leniently.

    Returns:
        The event or None, the faults if it is None, and the paths of ignored fields.
    """
    try:
        # json, unlike msgspec, takes numbers beyond the range of a float (as infinity), so
        # one such number does not hide the rest of the event.
        value = json.loads(raw, parse_int=_integer)
    except RecursionError:
        return None, (Fault(index, "", "is nested too deeply", "malformed"),), ()
    except UnicodeDecodeError:
        return None, (Fault(index, "", "is not valid UTF-8", "not_utf8"),), ()
    except ValueError as error:
        return None, (Fault(index, "", f"is not JSON: {error}", "malformed"),), ()
    if not isinstance(value, dict):
        return None, (Fault(index, "", "must be an object", "wrong_type"),), ()
    if faults := _required(value, index):
        return None, faults, ()
    kept, ignored = _fitting(value, Event, "")
    return msgspec.convert(kept, Event), (), tuple(ignored)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else math.inf


def _required(event: dict[str, Any], index: int) -> tuple[Fault, ...]:
    faults = []
    for name in IDENTITY:
        value = event.get(name, MISSING)
        if value is MISSING or value is None:
            faults.append(Fault(index, name, "is required", "missing"))
        elif not isinstance(value, str):
            faults.append(Fault(index, name, "must be a string", "wrong_type"))
        elif not value:
            faults.append(Fault(index, name, "must not be empty", "missing"))
    for name in TIMES:
        value = event.get(name, MISSING)
        if value is MISSING or value is None:
            faults.append(Fault(index, name, "is required", "missing"))
        elif isinstance(value, bool) or not isinstance(value, int | float):
            faults.append(Fault(index, name, "must be a number", "wrong_type"))
        elif not abs(value) <= MAX_TIME:  # NaN too; isfinite would refuse a long integer
            faults.append(Fault(index, name, "must be a finite number", "wrong_type"))
    return tuple(faults)


@cache
def _types(struct: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _structs(field_type: Any) -> list[type[msgspec.Struct]]:
    members = getattr(field_type, "__args__", (field_type,))
    return [m for m in members if isinstance(m, type) and issubclass(m, msgspec.Struct)]


def _fitting(
    value: dict[str, Any], struct: type[msgspec.Struct], path: str
) -> tuple[dict[str, Any], list[str]]:
    """The members of an object that fit the struct, and the paths of those that do not."""
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    for name, field_type in _types(struct).items():
        if name not in value:
            continue
        member = value[name]
        structs = _structs(field_type)
        if isinstance(member, dict) and structs:
            kept[name], below = _fitting(member, structs[0], f"{path}{name}.")
            ignored += below
            continue
        if field_type == Text and isinstance(member, float) and math.isfinite(member):
            member = repr(member).removesuffix(".0")
        if isinstance(member, float) and not math.isfinite(member):
            ignored.append(path + name)
            continue
        try:
            msgspec.convert(member, field_type)
        except (msgspec.ValidationError, OverflowError):
            ignored.append(path + name)
        else:
            kept[name] = member
    return kept, ignored
