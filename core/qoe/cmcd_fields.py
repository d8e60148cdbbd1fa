"""Reads the keys of CMCD records in canonical units: seconds, bit/s."""

from typing import Final

from ..events.cmcd_record import ByType, CmcdEvent, CmcdRecord
from ..events.event_types import Event
from . import fields
from .fields import MAX_BPS
from .observation import Observation

VIDEO_TYPES: Final = ("v", "av", "")
"""Object types of the picture, in order of preference: "" is untyped."""

OBJECT_TYPES: Final = frozenset({"m", "a", "v", "av", "i", "c", "tt", "k", "o"})
"""Object types of CTA-5004-B."""

MAX_REQUEST_MS: Final = 10_000_000
"""dash.js sends the time of day as the time to the first byte, which is far beyond."""

MAX_LATENCY_MS: Final = 86_400_000


def record_of(observation: Observation) -> CmcdRecord | None:
    """The record of an observation's event; None if the event is none."""
    event = observation.event
    return event.record if isinstance(event, CmcdEvent) else None


def of_picture(numbers: ByType | None) -> float | None:
    """The number of the picture; that of the sound if there is no picture."""
    if not numbers:
        return None
    for object_type in VIDEO_TYPES:
        if object_type in numbers:
            return numbers[object_type]
    return numbers.get("a")


def bitrate_bps(record: CmcdRecord) -> float | None:
    """The bit rate of the picture: that shown, else that selected, else the aggregate."""
    for kbps in map(of_picture, (record.pb, record.br, record.ab)):
        if kbps is not None and 0 < kbps * 1000 <= MAX_BPS:
            return kbps * 1000
    return None


def buffer_s(event: Event) -> float | None:
    """The length of the buffer. With CMCD it is the shortest of all object types: playback stops
    when one is empty."""
    if not isinstance(event, CmcdEvent):
        return fields.buffer_s(event)
    if not event.record.bl:
        return None
    shortest = min(event.record.bl.values())
    return shortest / 1000 if 0 <= shortest <= MAX_LATENCY_MS else None


def throughput_bps(observation: Observation) -> float | None:
    record = record_of(observation)
    kbps = None if record is None else of_picture(record.mtp)
    return None if kbps is None or not 0 < kbps * 1000 <= MAX_BPS else kbps * 1000


def live_latency_s(observation: Observation) -> float | None:
    record = record_of(observation)
    if record is None or record.ltc is None or not 0 <= record.ltc <= MAX_LATENCY_MS:
        return None
    return record.ltc / 1000


def object_type(observation: Observation) -> str:
    record = record_of(observation)
    return record.ot if record is not None and record.ot in OBJECT_TYPES else "unknown"


def code_class(observation: Observation) -> str:
    """The class of a status code: "2xx"; "none" without an answer, "unknown" if not reported."""
    record = record_of(observation)
    if record is None or record.rc is None:
        return "unknown"
    if record.rc == 0:
        return "none"
    return f"{record.rc // 100}xx" if 100 <= record.rc <= 599 else "unknown"


def first_byte_s(observation: Observation) -> float | None:
    record = record_of(observation)
    if record is None or record.ttfb is None or not 0 <= record.ttfb < MAX_REQUEST_MS:
        return None
    if record.ttlb is not None and record.ttfb > record.ttlb:
        return None
    return record.ttfb / 1000


def last_byte_s(observation: Observation) -> float | None:
    record = record_of(observation)
    if record is None or record.ttlb is None or not 0 <= record.ttlb < MAX_REQUEST_MS:
        return None
    return record.ttlb / 1000
