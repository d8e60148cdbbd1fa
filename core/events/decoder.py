"""Decoding and validation of a request body into a batch of events and a list of faults.

A valid event is accepted whatever the others in its batch are. Nearly all batches are flawless, so
the fast path decodes and validates all events of a body at once, at half the cost of one by one. If
anything is wrong, the body is sliced into events without decoding them, and each event is decoded,
repaired and validated separately, which gives the faults of each.

The bytes of an event are its log line.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Protocol, cast

import msgspec

from ..config.worker_config import Config
from .cmcd_decoder import CmcdDecoder
from .cmcd_target import is_wrapped
from .decoded_batch import DecodedBatch as DecodedBatch
from .event_types import IDENTITY, Event
from .faults import Fault, WrongShapeError
from .repair import repair_event
from .slicing import (
    MAX_SANITIZED_BYTES,
    SMALL_BODY_BYTES,
    compact_json,
    slice_compact_events,
    slice_events,
)

HOUR = 3_600_000
MINUTE = 60_000

FIRST_PLAUSIBLE_TIME = 1_577_836_800_000
"""2020-01-01 UTC, ms: before it, a device does not know the time."""

LAST_PLAUSIBLE_TIME = 7_258_118_400_000
"""2200-01-01 UTC, ms: a larger number is no time in ms."""

_decode_event = msgspec.json.Decoder(Event).decode
_time_of = attrgetter("event_time")


class _Events(Protocol):
    @property
    def events(self) -> list[Event]: ...


def _flawless_decoder(longest: int) -> Callable[[bytes], _Events]:
    """Return a decoder of bodies that raises if a string of the identity is empty or too long."""
    identity = Annotated[str, msgspec.Meta(min_length=1, max_length=longest)]
    bounded = msgspec.defstruct(
        "BoundedEvent",
        [(name, identity) for name in IDENTITY],
        bases=(Event,),
        frozen=True,
        gc=False,
        kw_only=True,
    )
    body = msgspec.defstruct("Body", [("events", list[bounded])])  # type: ignore[valid-type]
    return cast(Callable[[bytes], _Events], msgspec.json.Decoder(body).decode)


class BatchDecoder:
    """Decodes and validates bodies within the limits of a configuration."""

    def __init__(self, config: Config) -> None:
        self._max_events = config.max_events
        self._max_event = config.max_event_bytes
        self._max_id = config.max_id_length
        self._max_string = config.max_string_length
        self._max_age = config.max_event_age
        self._max_lead = config.max_event_lead
        self._corrects_clocks = config.clock_correction == "shift"
        self._decode_flawless = _flawless_decoder(config.max_id_length)
        self._cmcd = CmcdDecoder(config, self._clock_shift)

    def decode(self, body: bytes, now: int) -> DecodedBatch:
        """Decode a body.

        Args:
            body: JSON without content coding, or CMCD as wrapped by ``cmcd_target``.
            now: Time to which the age of events is compared, ms since the epoch.

        Raises:
            NotJsonError: The body is not JSON.
            WrongShapeError: The body has no list of 1 to ``max_events`` events.
            NotCmcdError: The body is wrapped and has no readable record.
        """
        if is_wrapped(body):
            return self._cmcd.decode(body, now)
        return self._decode_flawless_batch(body, now) or self._decode_event_by_event(body, now)

    def _decode_flawless_batch(self, body: bytes, now: int) -> DecodedBatch | None:
        """Return the batch if it has no fault at all, else None."""
        if len(body) > MAX_SANITIZED_BYTES or not _is_utf8(body):
            return None
        try:
            events = self._decode_flawless(body).events
            if not 1 <= len(events) <= self._max_events:
                return None
            lines = slice_compact_events(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        # Check the extremes only: these passes run in C and cost a tenth of a loop.
        times = list(map(_time_of, events))
        oldest, newest = min(times), max(times)
        if newest < FIRST_PLAUSIBLE_TIME and self._are_seconds(oldest, newest, now):
            return None
        shift = self._clock_shift(oldest, newest, now)
        if now - oldest - shift > self._max_age or newest + shift - now > self._max_lead:
            return None
        if shift:
            events = [_shifted(event, shift) for event in events]
        longest = max(map(len, lines))
        if longest > self._max_event:
            return None
        # A string is not longer than its event, and most events are shorter than the limit for
        # one string.
        if longest > self._max_string and any(
            len(line) > self._max_string and self._find_too_long(event) is not None
            for event, line in zip(events, lines, strict=True)
        ):
            return None
        return DecodedBatch(
            len(events),
            tuple(zip(events, lines, strict=True)),
            (),
            clock_corrected=bool(shift),
        )

    def _are_seconds(self, oldest: float, newest: float, now: int) -> bool:
        """Whether the times of a batch are in s, not ms: as s they are of the present."""
        return (
            self._corrects_clocks
            and now - oldest * 1000 <= self._max_age
            and newest * 1000 - now <= self._max_lead
        )

    def _clock_shift(self, oldest: float, newest: float, now: int) -> float:
        """Return by how many ms the times of a batch must be shifted to come from a right clock.

        A batch all of whose events lie ahead, or whose newest event is from before 2020, comes from
        a wrong clock: its newest event is taken as happening now. A single event ahead of others is
        a fault of that event.
        """
        if not self._corrects_clocks or abs(newest) > LAST_PLAUSIBLE_TIME:
            return 0
        is_ahead = newest - now > self._max_lead and oldest > now
        return now - newest if is_ahead or newest < FIRST_PLAUSIBLE_TIME else 0

    def _decode_event_by_event(self, body: bytes, now: int) -> DecodedBatch:
        # Slice two more than allowed, so that the message is exact for one more.
        slices = slice_events(body, self._max_events + 2)
        count = len(slices)
        if not 1 <= count <= self._max_events:
            more = " or more" if count == self._max_events + 2 else ""
            text = f"must hold 1 to {self._max_events} events, not {count}{more}"
            raise WrongShapeError(Fault(None, "events", text, "batch_size"))
        encoding_is_sound = _is_utf8(body)
        is_compact = len(body) <= SMALL_BODY_BYTES
        decoded: list[tuple[int, Event, bytes]] = []
        faults: list[Fault] = []
        ignored: list[str] = []
        for index, piece in enumerate(slices):
            if len(piece) > self._max_event:
                error = f"is larger than {self._max_event} bytes"
                faults.append(Fault(index, "", error, "too_large"))
                continue
            raw = bytes(piece) if is_compact else compact_json(piece)
            if not encoding_is_sound and not _is_utf8(raw):
                faults.append(Fault(index, "", "is not valid UTF-8", "not_utf8"))
                continue
            try:
                event: Event | None = _decode_event(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                event, found, dropped = repair_event(raw, index)
                faults += found
                ignored += dropped
            if event is not None:
                decoded.append((index, event, raw))
        times = [event.event_time for _, event, _ in decoded] or [now]
        are_seconds = self._are_seconds(min(times), max(times), now)
        if are_seconds:
            decoded = [(index, _in_ms(event), raw) for index, event, raw in decoded]
            times = [event.event_time for _, event, _ in decoded]
        shift = self._clock_shift(min(times), max(times), now)
        events: list[tuple[Event, bytes]] = []
        for index, event, raw in decoded:
            shifted = _shifted(event, shift) if shift else event
            fault = self._check_event(shifted, raw, index, now)
            if fault is None:
                events.append((shifted, raw))
            else:
                faults.append(fault)
        faults.sort(key=lambda fault: fault.index or 0)
        return DecodedBatch(
            count,
            tuple(events),
            tuple(faults),
            tuple(ignored),
            clock_corrected=are_seconds or bool(shift),
        )

    def _check_event(self, event: Event, raw: bytes, index: int, now: int) -> Fault | None:
        """Return the first rule that a well-formed event violates, or None."""
        longest = self._max_id
        # Written out, because a loop costs three times as much.
        if not (
            0 < len(event.event_type) <= longest
            and 0 < len(event.org_id) <= longest
            and 0 < len(event.player_id) <= longest
            and 0 < len(event.view_id) <= longest
            and 0 < len(event.session_id) <= longest
            and 0 < len(event.viewer_id) <= longest
        ):
            return self._identity_fault(event, index)
        age = now - event.event_time
        if age > self._max_age:
            error = f"is too old (more than {_format_duration(self._max_age)})"
            return Fault(index, "event_time", error, "too_old")
        if -age > self._max_lead:
            error = f"is too far in the future (more than {_format_duration(self._max_lead)})"
            return Fault(index, "event_time", error, "too_new")
        field = self._find_too_long(event) if len(raw) > self._max_string else None
        if field is None:
            return None
        return Fault(index, field, f"is longer than {self._max_string} characters", "too_long")

    def _identity_fault(self, event: Event, index: int) -> Fault:
        """Return the fault of the first string of the identity that is empty or too long."""
        lengths = ((name, len(getattr(event, name))) for name in IDENTITY)
        name, length = next(one for one in lengths if not 0 < one[1] <= self._max_id)
        if length == 0:
            return Fault(index, name, "must not be empty", "missing")
        return Fault(index, name, f"is longer than {self._max_id} characters", "too_long")

    def _find_too_long(self, event: Event) -> str | None:
        """Return the path of the first string that is too long for a label, or None."""
        for field, text in label_fields(event):
            if len(text) > self._max_string:
                return field
        return None


def _in_ms(event: Event) -> Event:
    return msgspec.structs.replace(event, event_time=event.event_time * 1000)


def _shifted(event: Event, shift: float) -> Event:
    return msgspec.structs.replace(event, event_time=event.event_time + shift)


def label_fields(event: Event) -> list[tuple[str, str]]:
    """Return path and text of an event's optional strings that can become labels."""
    groups = (
        ("", event, ("env", "app_name", "app_version")),
        ("device.", event.device, ("category",)),
        ("os.", event.os, ("family",)),
        ("browser.", event.browser, ("family",)),
        ("player.", event.player, ("name",)),
        ("network.", event.network, ("country_code", "country", "region")),
        ("video.", event.video, ("id", "title", "source_url", "content_type", "stream_type")),
        ("cmcd.", event.cmcd, ("st",)),
        ("data.", event.data, ("media_type", "trigger", "error_family", "error_code")),
    )
    return [
        (path + name, text)
        for path, holder, names in groups
        if holder is not None
        for name in names
        if isinstance(text := getattr(holder, name), str)
    ]


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _format_duration(ms: int) -> str:
    if ms >= HOUR:
        return f"{ms / HOUR:g} hours"
    if ms >= MINUTE:
        return f"{ms / MINUTE:g} minutes"
    return f"{ms / 1000:g} seconds"
