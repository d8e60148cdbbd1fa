"""The log sink: events to Loki entries, kept until the flush.

What Loki would refuse is put right here, because a refused entry is lost and can take its
whole request along (the limits are Loki's defaults):

- an entry far behind or ahead of the newest of its stream goes under its arrival time;
- a line that is too long loses its largest members, and says so;
- label values and label counts are within bounds by construction (``core/qoe/labeller.py``).
"""

from collections.abc import Iterable, Iterator

import msgspec

from ..delivery.payload import Payload
from ..events.event_types import IDENTITY, Event, Text
from ..qoe.event_context import EventContext
from ..qoe.labeller import Labeller
from ..wire.loki_push import Entry, LokiEncoding, Metadata

MAX_LINE = 262_144
"""Bytes in a line (Loki's max_line_size)."""

MAX_BEHIND = 50 * 60_000
"""ms. Loki refuses an entry more than an hour behind the newest of its stream, and the
newest may be up to five minutes ahead of us by its player's clock."""

MAX_AHEAD = 9 * 60_000
"""ms. Loki refuses an entry ten minutes ahead."""

ENTRY_OVERHEAD = 24
"""Bytes that an entry takes beside its line and its metadata, about."""

MAX_CACHED_METADATA = 10_000

_IDENTITY = (*IDENTITY, "event_time")

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LogBuffer:
    """Entries by stream, until they are flushed.

    Attributes:
        size: Bytes of entries, about as many as they take in a request.
        adjusted: How many entries were put right, by reason (grow only).
    """

    def __init__(self, encoding: LokiEncoding, *, with_metadata: bool) -> None:
        self._encoding = encoding
        self._with_metadata = with_metadata
        self._streams: dict[str, list[Entry]] = {}
        self._metadata: dict[tuple[str, str, str, Text], bytes] = {}
        self.size = 0
        self.adjusted = {"late": 0, "early": 0, "line_shortened": 0}

    def add_events(
        self, events: Iterable[tuple[Event, bytes, EventContext]], labeller: Labeller, now: int
    ) -> None:
        """Add the events of a batch.

        Args:
            events: Events, each with its JSON as received and its context.
            labeller: Knows the labels of their streams.
            now: Time of arrival in ms.
        """
        # One call a batch: a call for each event costs as much again as what is done for it.
        earliest, latest = now - MAX_BEHIND, now + MAX_AHEAD
        streams, size = self._streams, 0
        for event, line, context in events:
            timestamp = int(event.event_time)
            if not earliest <= timestamp <= latest:
                self.adjusted["late" if timestamp < now else "early"] += 1
                timestamp = now
            if len(line) > MAX_LINE:
                line = shorten_line(line, event)
                self.adjusted["line_shortened"] += 1
            labels, event_type = context.labels, event.event_type
            stream = labels.streams.get(event_type) or labeller.stream_labels(
                labels, event_type, now
            )
            entries = streams.get(stream)
            if entries is None:
                entries = streams[stream] = []
            metadata = context.metadata
            entries.append((timestamp, line, metadata))
            size += len(line) + len(metadata) + ENTRY_OVERHEAD
        self.size += size

    def drain_payloads(
        self, now: int, max_bytes: int, *, full_only: bool = False
    ) -> Iterator[Payload]:
        """Take out what there is, in requests of about ``max_bytes`` before compression.

        Args:
            now: Current time in ms.
            max_bytes: Bound for each request.
            full_only: Whether what does not fill a request stays: one of a few entries costs
                its receiver and us nearly as much.
        """
        streams, self._streams = self._streams, {}
        self.size = 0
        chunk: list[tuple[str, list[Entry]]] = []
        size = items = 0
        for labels, entries in streams.items():
            total = sum(
                [len(line) + len(metadata) + ENTRY_OVERHEAD for _, line, metadata in entries]
            )
            if size + total <= max_bytes:  # most streams fit: no need to go through them
                chunk.append((labels, entries))
                size += total
                items += len(entries)
                continue
            for entry in entries:
                if items and size + _size(entry) > max_bytes:
                    yield self._payload(chunk, items, now)
                    chunk, size, items = [], 0, 0
                if not chunk or chunk[-1][0] != labels:
                    chunk.append((labels, []))
                chunk[-1][1].append(entry)
                size += _size(entry)
                items += 1
        if full_only:
            self._streams, self.size = dict(chunk), size
        elif items:
            yield self._payload(chunk, items, now)

    def split_payload(self, payload: Payload) -> tuple[Payload, ...]:
        """Halve a payload that a destination finds too large."""
        return tuple(
            Payload("logs", payload.headers, body, items, payload.created, payload.oldest)
            for body, items in self._encoding.split_request(payload.body)
        )

    def _payload(self, chunk: list[tuple[str, list[Entry]]], items: int, now: int) -> Payload:
        return Payload(
            "logs", self._encoding.headers, self._encoding.encode_request(chunk), items, now
        )

    def encode_metadata(self, event: Event) -> bytes:
        """The structured metadata of an event, encoded."""
        if not self._with_metadata:
            return b""
        video = event.video
        key = (
            event.view_id,
            event.session_id,
            event.viewer_id,
            None if video is None else video.id,
        )
        encoded = self._metadata.get(key)
        if encoded is None:
            if len(self._metadata) >= MAX_CACHED_METADATA:
                self._metadata.clear()
            encoded = self._metadata[key] = self._encoding.encode_metadata(_metadata(*key))
        return encoded


def _metadata(view: str, session: str, viewer: str, video: Text) -> Metadata:
    """The structured metadata of an event."""
    ids = (("view_id", view), ("session_id", session), ("viewer_id", viewer))
    return ids if video is None or video == "" else (*ids, ("video_id", str(video)))


def _size(entry: Entry) -> int:
    return len(entry[1]) + len(entry[2]) + ENTRY_OVERHEAD


def shorten_line(line: bytes, event: Event, limit: int = MAX_LINE) -> bytes:
    """Make a line fit by replacing its largest members with a note of their size.

    The members of ``data`` go first, one by one, then those of the event itself, but never
    what identifies the event. What stays is as it was received.

    Args:
        line: The event's JSON.
        event: The event.
        limit: How many bytes the line may have.
    """
    try:
        members = _decode_members(line)
        if members.get("data", b"")[:1] == b"{":
            data = _decode_members(members["data"])
            excess = len(line) - limit
            members["data"] = _object(_thinned(data, excess, kept=()))
        line = _object(members)
        if len(line) > limit:
            line = _object(_thinned(members, len(line) - limit, kept=_IDENTITY))
    except (RecursionError, msgspec.DecodeError):  # nested as deeply as events can be, or odd
        return _bare(event)
    # Or thousands of small members, or large names.
    return line if len(line) <= limit else _bare(event)


def _decode_members(text: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in _decode_object(text).items()}


def _thinned(members: dict[str, bytes], excess: int, kept: tuple[str, ...]) -> dict[str, bytes]:
    """Members without the largest of them, until at least ``excess`` bytes are gone."""
    thinned = dict(members)
    for name in sorted(members, key=lambda name: (-len(members[name]), name)):
        if excess <= 0:
            break
        note = b'"[%d bytes left out]"' % len(members[name])
        gain = len(members[name]) - len(note)
        if gain > 0 and name not in kept:
            thinned[name] = note
            excess -= gain
    return thinned


def _object(members: dict[str, bytes]) -> bytes:
    pairs = (b"%b:%b" % (msgspec.json.encode(name), value) for name, value in members.items())
    return b"{%b}" % b",".join(pairs)


def _bare(event: Event) -> bytes:
    """The line of an event of which nothing is left but its identity."""
    return msgspec.json.encode({name: getattr(event, name) for name in _IDENTITY})
