"""Decoding of CMCD version 2 bodies: one record a line to one event a record.

Nothing in a record can cost another one: a key that cannot be read is ignored, and a record that
cannot be used becomes a fault. Source: CTA-5004-B, sections 3 and 6.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from ..config.worker_config import Config
from .cmcd_record import (
    EVENTS,
    KEYS,
    RESPONSE,
    VERSION,
    CmcdEvent,
    CmcdRecord,
    log_value,
    logged_record,
    make_record,
    read_keys,
)
from .cmcd_target import CmcdTarget, unwrap, wrap
from .cmcd_tokenizer import parse_dictionary
from .decoded_batch import DecodedBatch
from .event_types import Cmcd, Device, Event, Family, Player, Video
from .faults import Fault, NotCmcdError

PLAYER_BY_FORMAT: Final = {"d": "dash", "h": "hls"}
"""Name of the player by streaming format, where the target names none."""

DEFAULT_PLAYER: Final = "cmcd"

MAX_RECORD: Final = 8 * 1024
"""Maximum bytes of a record; those of players have 100 to 700."""

LATEST_POSITION: Final = 10**11
"""ms. Larger positions are times since the epoch (live streams)."""

UNKNOWN_EVENT: Final = "other"

_encode = msgspec.json.Encoder().encode


class CmcdDecoder:
    """Decodes wrapped CMCD bodies within the limits of a configuration."""

    def __init__(self, config: Config, clock_shift: Callable[[float, float, int], float]) -> None:
        """
        Args:
            config: The settings.
            clock_shift: By how many ms to shift the times of a body, from its earliest and latest
                time and that of its arrival.
        """
        self._clock_shift = clock_shift
        self._max_records = config.max_events
        self._max_record = min(MAX_RECORD, config.max_event_bytes)
        self._max_id = config.max_id_length
        self._max_age = config.max_event_age
        self._max_lead = config.max_event_lead
        self._logged = _LOGGED[config.cmcd_log]

    def decode(self, body: bytes, now: int) -> DecodedBatch:
        """Decode a body.

        Args:
            body: Target and records, see ``cmcd_target``.
            now: Time to which the age of records is compared, ms since the epoch.

        Raises:
            NotCmcdError: The body has no readable record, or too many.
        """
        target, content = unwrap(body)
        # Blank lines may stand between the records; counted first, because splitting costs memory.
        is_too_large = content.count(b"\n") > 2 * self._max_records
        lines = [] if is_too_large else [line for line in content.split(b"\n") if line.strip()]
        if is_too_large or len(lines) > self._max_records:
            message = f"more than {self._max_records} records in request body"
            raise NotCmcdError(message, is_too_large=True)
        read: list[tuple[int, dict[str, Any]]] = []
        faults: list[Fault] = []
        ignored: list[str] = []
        is_readable = False
        for index, line in enumerate(lines):
            if len(line) > self._max_record:
                error = f"is larger than {self._max_record} bytes"
                faults.append(Fault(index, "", error, "too_large"))
                is_readable = True
                continue
            try:
                members, skipped = parse_dictionary(line.decode().strip())
            except UnicodeDecodeError:
                faults.append(Fault(index, "", "is not valid UTF-8", "not_utf8"))
                continue
            if b"=" in line:
                is_readable = True
            values, wrong = read_keys(members)
            ignored += [f"cmcd.{key}" for key in wrong]
            ignored += ["cmcd"] * (skipped > 0)
            read.append((index, values))
        if not is_readable:
            raise NotCmcdError("the body is empty" if not lines else "no record is readable")
        times = [values["ts"] for _, values in read if "ts" in values]
        shift = self._clock_shift(min(times), max(times), now) if times else 0
        builder = _EventBuilder(target, self._max_id, shift)
        events: list[tuple[Event, bytes]] = []
        for index, values in read:
            fault = self._check_record(values, index, now - shift)
            if fault is not None:
                faults.append(fault)
                continue
            record = make_record(values)
            event = builder.build(record, values)
            events.append((event, builder.log_line(event, values) if self._logged(record) else b""))
        faults.sort(key=lambda fault: fault.index or 0)
        return DecodedBatch(
            len(lines),
            tuple(events),
            tuple(faults),
            tuple(ignored),
            clock_corrected=bool(shift and events),
        )

    def _check_record(self, values: Mapping[str, Any], index: int, now: float) -> Fault | None:
        """Return why a record cannot be used; None if it can."""
        if values.get("v", VERSION) > VERSION:
            return Fault(index, "v", f"is later than {VERSION}", "version")
        if not values.get("e"):
            return Fault(index, "e", "is missing: not a record of event mode", "no_event")
        if "ts" not in values:
            return Fault(index, "ts", "is missing", "no_time")
        if not values.get("sid"):
            return Fault(index, "sid", "is missing: the playback is unknown", "no_sid")
        age = now - values["ts"]
        if age > self._max_age:
            return Fault(index, "ts", "is too old", "too_old")
        if -age > self._max_lead:
            return Fault(index, "ts", "is too far in the future", "too_new")
        return None


class _Logged(msgspec.Struct, frozen=True):
    """The members of a log line that are read again."""

    event_type: str
    event_time: int | float
    org_id: str = ""
    player_id: str = ""
    view_id: str = ""
    playback_time: float | None = None
    player: Player | None = None
    video: Video | None = None
    cmcd: dict[str, Any] = {}


_RECORD: Final = b'"event_type":"cmcd_'

_decode_logged = msgspec.json.Decoder(_Logged).decode


def event_of_line(line: bytes) -> CmcdEvent | None:
    """Return the event of a log line of a record, without its labels; None of another line."""
    if _RECORD not in line:
        return None
    try:
        logged = _decode_logged(line)
        record = logged_record(logged.cmcd)
    except (msgspec.DecodeError, TypeError):
        return None
    return CmcdEvent(
        event_type=logged.event_type,
        event_time=logged.event_time,
        viewer_time=logged.event_time,
        org_id=logged.org_id,
        player_id=logged.player_id,
        view_id=logged.view_id,
        session_id=logged.view_id,
        viewer_id="",
        playback_time=logged.playback_time,
        player=logged.player,
        video=logged.video,
        record=record,
    )


def keep_records(body: bytes, is_kept: Callable[[str], bool]) -> bytes:
    """Return a wrapped body with the records of some sessions only.

    Args:
        body: Target and records; it has been decoded before.
        is_kept: Whether a session is kept.
    """
    target, content = unwrap(body)
    kept = []
    for line in content.split(b"\n"):
        session = parse_dictionary(line.decode("utf-8", "replace").strip())[0].get("sid")
        if isinstance(session, str) and is_kept(session):
            kept.append(line)
    return wrap(target, b"\n".join(kept))


class _EventBuilder:
    """Builds the events of one body; all have the same target."""

    def __init__(self, target: CmcdTarget, longest: int, shift: float) -> None:
        self._shift = shift
        self._target = target
        self._longest = longest
        self._device = _named(Device, target.device_category)
        self._os = _named(Family, target.os_family)
        self._browser = _named(Family, target.browser_family)

    def build(self, record: CmcdRecord, values: Mapping[str, Any]) -> CmcdEvent:
        target, sid = self._target, values["sid"][: self._longest]
        name = target.player_name or PLAYER_BY_FORMAT.get(record.sf or "", DEFAULT_PLAYER)
        cid = values.get("cid")
        position = record.pt
        return CmcdEvent(
            event_type=f"cmcd_{record.e if record.e in EVENTS else UNKNOWN_EVENT}",
            event_time=record.ts + self._shift,
            viewer_time=record.ts + self._shift,
            org_id=target.org_id,
            player_id=target.player_id,
            view_id=sid,
            session_id=sid,
            viewer_id=_viewer(values)[: self._longest],
            playback_time=position
            if position is not None and 0 <= position < LATEST_POSITION
            else None,
            env=target.env,
            app_name=target.app_name,
            app_version=target.app_version,
            device=self._device,
            os=self._os,
            browser=self._browser,
            player=Player(name),
            video=None if cid is None else Video(id=cid),
            cmcd=None if record.st is None else Cmcd(record.st),
            record=record,
        )

    def log_line(self, event: CmcdEvent, values: Mapping[str, Any]) -> bytes:
        """Return the log line of a record, in the form of an SDK event."""
        members = {
            "event_type": event.event_type,
            "event_time": event.event_time,
            "playback_time": event.playback_time,
            "org_id": event.org_id,
            "player_id": event.player_id,
            "view_id": event.view_id,
            "session_id": event.session_id,
            "viewer_id": event.viewer_id,
            "env": event.env,
            "app_name": event.app_name,
            "app_version": event.app_version,
            "device": event.device,
            "os": event.os,
            "browser": event.browser,
            "player": event.player,
            "video": None if event.video is None else {"id": event.video.id},
        }
        line = {name: member for name, member in members.items() if member}
        line["cmcd"] = log_value(values)
        return _encode(line)


def _named(kind: Callable[[str], Any], name: str | None) -> Any:
    return None if name is None else kind(name)


def _viewer(values: Mapping[str, Any]) -> str:
    """Return the viewer's id, which only a custom key of the site can hold; "" without."""
    for key, value in values.items():
        if key.endswith("-viewer_id") and key not in KEYS and isinstance(value, str):
            return value
    return ""


def _is_failed_request(record: CmcdRecord) -> bool:
    return record.rc is not None and (record.rc == 0 or record.rc >= 400)


_LOGGED: Final[dict[str, Callable[[CmcdRecord], bool]]] = {
    "all": lambda record: True,
    "events": lambda record: record.e != RESPONSE or _is_failed_request(record),
    "none": lambda record: False,
}
"""Whether a record is logged, by the setting ``OPENQOE_CMCD_LOG``."""
