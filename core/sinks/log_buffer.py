"""The log sink: turns events into Loki entries, and keeps them until the flush.

Loki rejects some entries, and a rejected entry is lost and may fail its whole request. So the
entries are adjusted beforehand (the limits are Loki's defaults):

- an entry far behind or ahead of the newest of its stream gets its arrival time;
- a line that is too long loses its largest members, each replaced by a note;
- label values and label counts are within bounds by construction (``core/qoe/labeller.py``).
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec

from ..access.tenants import Tenants
from ..delivery.payload import Payload
from ..events.event_types import IDENTITY, Event, Text
from ..primitives.bounded_cache import BoundedCache
from ..primitives.memory_size import memory_size
from ..qoe.event_context import EventContext
from ..qoe.labeller import Labeller, LabelSet
from ..wire.loki_push import Entry, LokiEncoding, Metadata

MAX_LINE = 262_144
"""Maximum bytes of a line (Loki's max_line_size)."""

MAX_BEHIND = 50 * 60_000
"""ms. Loki rejects entries more than an hour behind the newest of their stream, which may be up to
five minutes ahead of us by its player's clock."""

MAX_AHEAD = 9 * 60_000
"""ms. Loki rejects entries ten minutes ahead."""

ENTRY_OVERHEAD = 24
"""Approximate bytes of an entry besides its line and its metadata."""

MAX_METADATA_BYTES = 4 * 1024 * 1024
"""Approximate bytes of cached metadata: 5,000 views with ids of usual length."""

MAX_STREAM_KEY = 512
"""Characters of the labels of a live stream; longer ones are replaced by a hash."""

STREAM_LIFETIME = 30 * 60_000
"""ms without an entry after which Loki ends a stream (chunk_idle_period)."""

STREAM_SCAN_INTERVAL = 60_000
"""ms between two searches for streams that have ended."""

NEAR_STREAM_LIMIT = 0.8
"""The part of the limit of streams from which there is a notice."""

_IDENTITY = (*IDENTITY, "event_time")

MAX_FULL_REQUESTS = 8
"""Requests that entries of several tenants fill before they are sent without waiting."""

_Streams = dict[str, list[Entry]]

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LogBuffer:
    """Entries by stream, until they are flushed.

    Attributes:
        size: Approximate bytes of the entries in a request.
        adjusted: Adjusted entries by reason; the numbers never decrease.
    """

    def __init__(
        self,
        encoding: LokiEncoding,
        *,
        with_metadata: bool,
        max_streams: int = 5_000,
        tenants: Tenants | None = None,
    ) -> None:
        self._tenants = tenants
        self._encoding = encoding
        self._with_metadata = with_metadata
        self._max_streams = max_streams
        self._live: dict[str, int] = {}  # when each stream last had an entry
        self._scanned_at = 0
        self._streams: _Streams = {}  # of the default tenant
        self._others: dict[str, _Streams] = {}  # by tenant
        self._metadata: BoundedCache[tuple[str, str, str, Text], bytes] = BoundedCache(
            MAX_METADATA_BYTES
        )
        self.size = 0
        self.adjusted = {"late": 0, "early": 0, "line_shortened": 0}

    def add_events(
        self, events: Iterable[tuple[Event, bytes, EventContext]], labeller: Labeller, now: int
    ) -> None:
        """Adds the events of a batch.

        Args:
            events: Events, each with its JSON as received and its context.
            labeller: Formats the labels of their streams.
            now: Time of arrival in ms.
        """
        # One call per batch: one per event would double the cost.
        earliest, latest = now - MAX_BEHIND, now + MAX_AHEAD
        streams, size = self._streams, 0
        tenants = self._tenants
        if tenants is not None and not tenants.is_used:
            tenants = None
        for event, line, context in events:
            if not line:  # a record that is counted and not logged
                continue
            if tenants is not None:
                streams = self._streams_of(tenants.of_org(event.org_id))
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
                size += len(stream)
            metadata = context.metadata
            entries.append((timestamp, line, metadata))
            size += len(line) + len(metadata) + ENTRY_OVERHEAD
        self.size += size

    def _streams_of(self, tenant: str) -> _Streams:
        return self._others.setdefault(tenant, {}) if tenant else self._streams

    def is_due(self, max_bytes: int) -> bool:
        """Whether entries should be sent before the flush: they fill a request of ``max_bytes``.

        With several tenants, whose entries need a request each, they fill up to eight.
        """
        return self.size >= max_bytes * min(1 + len(self._others), MAX_FULL_REQUESTS)

    def drain_payloads(
        self, now: int, max_bytes: int, *, full_only: bool = False
    ) -> Iterator[Payload]:
        """Removes the entries and yields them as requests of about ``max_bytes`` uncompressed.

        Args:
            now: Current time in ms.
            max_bytes: Bound of each request.
            full_only: Whether to keep the rest that does not fill a request, because a request of
                few entries costs nearly as much as a full one. Entries of new streams are not kept,
                and with several tenants nothing is: the rests of all would be many.
        """
        streams, self._streams = self._streams, {}
        others, self._others = self._others, {}
        self.size = 0
        yield from self._payloads("", streams, now, max_bytes, full_only=full_only and not others)
        for tenant, streams in others.items():
            yield from self._payloads(tenant, streams, now, max_bytes, full_only=False)

    def _payloads(
        self, tenant: str, streams: _Streams, now: int, max_bytes: int, *, full_only: bool
    ) -> Iterator[Payload]:
        # Of the streams that it refuses, Loki reports the last one of a request, and nothing if
        # that is accepted. So the last is one that would be refused first: by a limit of its rate
        # the largest, by the limit of streams the latest. New ones have requests of their own.
        sizes = {labels: sum(map(_size, entries)) for labels, entries in streams.items()}
        new = self._track_streams(streams, tenant, now)
        ordered = sorted(streams, key=sizes.__getitem__)
        known = [labels for labels in ordered if labels not in new]
        for group in (known, [labels for labels in ordered if labels in new]):
            chunk: list[tuple[str, list[Entry]]] = []
            size = items = 0
            for labels in group:
                entries, total = streams[labels], sizes[labels]
                if size + total <= max_bytes:  # true of most streams
                    chunk.append((labels, entries))
                    size += total
                    items += len(entries)
                    continue
                for entry in entries:
                    if items and size + _size(entry) > max_bytes:
                        yield self._payload(tenant, chunk, items, now)
                        chunk, size, items = [], 0, 0
                    if not chunk or chunk[-1][0] != labels:
                        chunk.append((labels, []))
                    chunk[-1][1].append(entry)
                    size += _size(entry)
                    items += 1
            if full_only and group is known:
                self._streams, self.size = dict(chunk), size
            elif items:
                yield self._payload(tenant, chunk, items, now)

    def capture_streams(self) -> tuple[int, dict[str, int]]:
        """Captures the live streams, and when they were scanned, for a snapshot."""
        return self._scanned_at, dict(self._live)

    def restore_streams(self, scanned_at: int, live: dict[str, int]) -> None:
        """Restores captured live streams."""
        self._scanned_at, self._live = scanned_at, dict(live)

    @property
    def live_streams(self) -> int:
        """Number of streams with an entry in the last half hour, at most twice the limit."""
        return len(self._live)

    @property
    def is_near_stream_limit(self) -> bool:
        """Whether the number of streams is near the limit of Loki."""
        return len(self._live) >= self._max_streams * NEAR_STREAM_LIMIT

    def _track_streams(self, streams: Iterable[str], tenant: str, now: int) -> set[str]:
        """Records that streams are live; returns those that were not."""
        live, most = self._live, 2 * self._max_streams
        if not 0 <= now - self._scanned_at < STREAM_SCAN_INTERVAL:
            self._scanned_at = now
            live = self._live = {
                stream: at for stream, at in live.items() if now - at < STREAM_LIFETIME
            }
        new = set()
        for labels in streams:
            key = _stream_key(f"{tenant}/{labels}" if tenant else labels)
            if key not in live:
                new.add(labels)
            if key in live or len(live) < most:
                live[key] = now
        return new

    def redate_payload(self, payload: Payload, earliest: int, timestamp: int) -> Payload:
        """Gives entries that a destination would reject as too old another timestamp.

        Their lines keep ``event_time``.
        """
        body, count = self._encoding.redate_request(payload.body, earliest, timestamp)
        self.adjusted["late"] += count
        return payload.with_body(body)

    def encode_metadata(self, event: Event, labels: LabelSet) -> bytes:
        """Encodes the structured metadata of an event: ids, and labels that its stream lacks."""
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
            encoded = self._encoding.encode_metadata(_metadata(*key))
            self._metadata.add(key, encoded, memory_size(key) + memory_size(encoded))
        return self._encoding.join_metadata(labels.metadata, encoded)

    def _payload(
        self, tenant: str, chunk: list[tuple[str, list[Entry]]], items: int, now: int
    ) -> Payload:
        body = self._encoding.encode_request(chunk)
        return Payload("logs", self._encoding.headers, body, items, now, tenant=tenant)


def _stream_key(labels: str) -> str:
    """A stream in the table of live ones: its labels, or their hash if they are long."""
    if len(labels) <= MAX_STREAM_KEY and labels.isascii():
        return labels
    return blake2b(labels.encode(), digest_size=16).hexdigest()


def _metadata(view: str, session: str, viewer: str, video: Text) -> Metadata:
    """The structured metadata of an event, as pairs."""
    ids: Metadata = (("view_id", view), ("session_id", session))
    if viewer:  # players without the SDK do not know one
        ids = (*ids, ("viewer_id", viewer))
    return ids if video is None or video == "" else (*ids, ("video_id", str(video)))


def _size(entry: Entry) -> int:
    return len(entry[1]) + len(entry[2]) + ENTRY_OVERHEAD


def shorten_line(line: bytes, event: Event, limit: int = MAX_LINE) -> bytes:
    """Shortens a line by replacing its largest members with a note of their size.

    The members of ``data`` go first, one by one, then those of the event itself, except its
    identity. The rest stays as received.

    Args:
        line: The event's JSON.
        event: The event.
        limit: Maximum bytes of the line.
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
    except (RecursionError, msgspec.DecodeError):  # nested as deep as events may be, or malformed
        return _bare(event)
    # It may have thousands of small members, or long names.
    return line if len(line) <= limit else _bare(event)


def _decode_members(text: bytes) -> dict[str, bytes]:
    return {name: bytes(value) for name, value in _decode_object(text).items()}


def _thinned(members: dict[str, bytes], excess: int, kept: tuple[str, ...]) -> dict[str, bytes]:
    """Replaces the largest members, until at least ``excess`` bytes are gone."""
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
    """The line of an event reduced to its identity."""
    return msgspec.json.encode({name: getattr(event, name) for name in _IDENTITY})
