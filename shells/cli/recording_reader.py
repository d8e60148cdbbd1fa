"""Reads recordings: newline-delimited JSON of requests, batches or single events.

A line is one of

    {"t": 1757, "method": "POST", "path": "/v2/events", "headers": {…}, "body": "{\\"events\\":…"}
    {"t": 1802, "method": "POST", "path": "/v1/cmcd?org_id=…", "headers": {…}, "body": "e=ps,sid=…"}
    {"events": [{"event_type": …}, …]}
    {"event_type": "heartbeat", "event_time": 1760000000000, …}

and kinds may be mixed. ``t`` is in ms from any start. Single events are combined into batches as by
the SDKs. Any other line is reported, and the rest is read.
"""

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Final, cast

import msgspec

BATCH_INTERVAL: Final = 5_000
"""ms after its first event at which an SDK sends a batch that is not full."""

_EARLIEST: Final = 10**11
"""Smaller times are relative, not ms since the epoch, and are not shifted."""

_TIMES: Final = ("event_time", "viewer_time")

_CMCD_TIME: Final = re.compile(rb"(?m)((?:^|[,\s])ts=)([0-9]{12,15})(?=[,;\s]|$)")
"""The time of a CMCD record, since the epoch."""

_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """A batch of a recording.

    Attributes:
        line: Its line; of single events, the line of the first.
        body: The body of its request.
        at: When it was sent, in ms on the recording's clock; None if unknown.
        newest: The latest ``event_time`` in it, ms since the epoch; None if there is none.
        path: The path of a recorded request, of CMCD with its query; None for other lines.
        headers: The headers of a recorded request.
    """

    line: int
    body: bytes
    at: float | None = None
    newest: float | None = None
    path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A line that cannot be sent.

    Attributes:
        line: Its number, from 1 on.
        reason: Why; None if it is valid and has no events (a preflight, a request to another
            path).
    """

    line: int
    reason: str | None


class _Line(msgspec.Struct):
    """The members that a line may have; they determine its kind."""

    t: float | None = None
    method: str = "POST"
    path: str | None = None
    headers: dict[str, str] = {}
    body: str | None = None
    events: msgspec.Raw = msgspec.Raw()
    event_type: msgspec.Raw = msgspec.Raw()
    event_time: msgspec.Raw = msgspec.Raw()


class _Times(msgspec.Struct):
    event_time: msgspec.Raw = msgspec.Raw()


class _Body(msgspec.Struct):
    events: list[_Times]


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_body = msgspec.json.Decoder(_Body).decode
_decode_events = msgspec.json.Decoder(list[_Times]).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_raw_list = msgspec.json.Decoder(list[msgspec.Raw]).decode


def decompress(file: IO[bytes]) -> IO[bytes]:
    """The text of a seekable file that may be compressed with gzip."""
    start = file.read(len(_GZIP))
    file.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=file, mode="rb")) if start == _GZIP else file


def read(file: IO[bytes], batch_size: int) -> Iterator[RecordedBatch | Unusable]:
    """Read the batches of a recording in order.

    Args:
        file: The text of the recording.
        batch_size: Number of single events in a batch.

    Raises:
        OSError: The file cannot be read.
    """
    batcher = _EventBatcher(batch_size)
    number = 0
    while True:
        number += 1
        try:
            text = file.readline()
            if not text:
                break
            if not text.strip():
                continue
            line = _decode_line(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            yield Unusable(number, str(error))
            continue
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield Unusable(number, f"the rest cannot be decompressed: {error}")
            break
        if line.body is None and not line.events and line.event_type:
            yield from batcher.add(number, text.strip(), _number(line.event_time))
            continue
        yield from batcher.flush()
        yield _batch(number, text, line)
    yield from batcher.flush()


def _batch(number: int, text: bytes, line: _Line) -> RecordedBatch | Unusable:
    if line.body is not None:
        path, query = (line.path or "/events").partition("?")[::2]
        if line.method != "POST" or not line.body or not path.endswith(("/events", "/cmcd")):
            return Unusable(number, None)
        body = line.body.encode()
        newest = _newest_of_body(body)
        if path.endswith("/cmcd"):
            path = _with_identity(path, query)
        at = newest if line.t is None else line.t
        return RecordedBatch(number, body, at, newest, path if line.path else None, line.headers)
    if line.events:
        newest = _newest(line.events)
        return RecordedBatch(number, text.strip(), newest, newest)
    if line.method != "POST":
        return Unusable(number, None)
    return Unusable(number, 'neither a request ("body") nor a batch ("events") nor an event')


def _with_identity(path: str, query: str) -> str:
    """Return the path of a CMCD target with its query, without the recorded API key."""
    fields = [field for field in query.split("&") if field and not field.startswith("api_key=")]
    return f"{path}?{'&'.join(fields)}" if fields else path


class _EventBatcher:
    """Combines single events into batches by number and time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._line = 0
        self._texts: list[bytes] = []
        self._first: float | None = None
        self._newest: float | None = None

    def add(self, line: int, text: bytes, at: float | None) -> Iterator[RecordedBatch]:
        if self._first is not None and at is not None and at > self._first + BATCH_INTERVAL:
            yield from self.flush()
        if not self._texts:
            self._line, self._first = line, at
        self._texts.append(text)
        self._newest = max((t for t in (self._newest, at) if t is not None), default=None)
        if len(self._texts) >= self._size:
            yield from self.flush()

    def flush(self) -> Iterator[RecordedBatch]:
        if self._texts:
            body = b'{"events":[' + b",".join(self._texts) + b"]}"
            yield RecordedBatch(self._line, body, self._newest, self._newest)
        self._texts = []
        self._first = self._newest = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Summary of a recording.

    Attributes:
        batches: Number of batches.
        first, last: The times of its first and last batch in ms; None if unknown.
        newest: The latest ``event_time``, ms since the epoch.
        faults: The unusable lines.
        skipped: Number of lines without events.
    """

    batches: int
    first: float | None
    last: float | None
    newest: float | None
    faults: Sequence[Unusable]
    skipped: int

    @property
    def length(self) -> float:
        """Its duration in ms."""
        return 0.0 if self.first is None or self.last is None else self.last - self.first


def survey(entries: Iterator[RecordedBatch | Unusable]) -> Overview:
    """Summarise a recording."""
    batches = skipped = 0
    first = last = newest = None
    faults: list[Unusable] = []
    for entry in entries:
        match entry:
            case RecordedBatch(at=at, newest=latest):
                batches += 1
                if at is not None:
                    first = at if first is None else min(first, at)
                    last = at if last is None else max(last, at)
                if latest is not None:
                    newest = latest if newest is None else max(newest, latest)
            case Unusable(reason=None):
                skipped += 1
            case Unusable():
                faults.append(entry)
    return Overview(batches, first, last, newest, faults, skipped)


def shift_times(body: bytes, ms: int) -> bytes:
    """Add ms to the times of a batch's events. Equal bodies stay equal; other bodies are kept."""
    if _is_cmcd(body):
        return _CMCD_TIME.sub(lambda found: found[1] + b"%d" % (int(found[2]) + ms), body)
    try:
        members = _decode_members(body)
        events = _decode_raw_list(members["events"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return body
    members["events"] = msgspec.Raw(msgspec.json.encode([_shift_event(e, ms) for e in events]))
    return msgspec.json.encode(members)


def _shift_event(event: msgspec.Raw, ms: int) -> msgspec.Raw:
    try:
        members = _decode_members(event)
    except msgspec.DecodeError:
        return event
    for name in _TIMES:
        time = _number(members.get(name))
        if time is not None and time >= _EARLIEST:
            members[name] = msgspec.Raw(msgspec.json.encode(time + ms))
    return msgspec.Raw(msgspec.json.encode(members))


def _is_cmcd(body: bytes) -> bool:
    return not body.lstrip().startswith(b"{")


def count_records(body: bytes) -> int:
    """Return how many records a CMCD body has."""
    return sum(bool(line.strip()) for line in body.split(b"\n"))


def _newest_of_body(body: bytes) -> float | None:
    if _is_cmcd(body):
        return max((int(found[2]) for found in _CMCD_TIME.finditer(body)), default=None)
    try:
        return _latest(_decode_body(body).events)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _newest(events: msgspec.Raw) -> float | None:
    try:
        return _latest(_decode_events(events))
    except msgspec.DecodeError:
        return None


def _latest(events: Sequence[_Times]) -> float | None:
    times = (_number(event.event_time) for event in events)
    return max((time for time in times if time is not None), default=None)


def _number(raw: msgspec.Raw | None) -> int | float | None:
    if not raw:
        return None
    try:
        return msgspec.json.decode(raw, type=int | float)
    except msgspec.DecodeError:
        return None
