"""Writes requests into the tables.

A flush sends every live series, changed or not. A sample is stored when its value differs from the
one before, and every five minutes while the series is live. So the newest sample at or before a
time is the value at that time, if it is no older than five minutes and a flush interval.

Writing is idempotent: a request that is sent again (its answer was lost, its process killed)
changes nothing.
"""

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from openqoe.core.config.worker_config import Config
from openqoe.core.events.event_types import Text
from openqoe.core.governance.dimension import label_for_value, overflow_label
from openqoe.core.primitives.bounded_cache import BoundedCache
from openqoe.core.primitives.memory_size import OBJECT_BYTES, memory_size
from openqoe.core.qoe.labeller import label_text
from openqoe.core.qoe.view_rows import DETAILS, IDENTITY, LABELS, ViewRow

from .payload_decoder import (
    Description,
    Series,
    Stream,
    decode_labels,
    decode_logs,
    decode_metrics,
    decode_views,
    stream_labels,
)
from .sample_schema import SEEN_EVERY, SERIES_LABELS, STREAM_LABELS, transaction

REPEAT_INTERVAL: Final = 300_000
"""ms after which an unchanged value is stored again."""

CACHED_BESIDES: Final = 10_000
"""Series that are cached besides the series of views: the worker's own."""

CACHED_SERIES_BYTES: Final = 210
"""Bytes of a cached series: entry of the dictionary, digest, row, and its numbers."""

MAX_STREAMS_BYTES: Final = 6 * 1024 * 1024
"""Approximate bytes of cached streams: about 20,000."""

MAX_VIDEOS_BYTES: Final = 4 * 1024 * 1024
"""Approximate bytes of cached videos: about 17,000."""

_SERIES_COLUMNS: Final = (
    *("name", "labels", *SERIES_LABELS),
    *("le", "first_seen", "last_seen", "hash"),
)
_STREAM_COLUMNS: Final = ("labels", *STREAM_LABELS, "last_seen")
_ENTRY_COLUMNS: Final = (
    *("at", "stream", "event_type", "view_id", "session_id", "viewer_id", "video_id"),
    *("line", "hash"),
)


def _insert(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


_INSERT_SERIES: Final = _insert("series", _SERIES_COLUMNS)
_INSERT_STREAM: Final = _insert("streams", _STREAM_COLUMNS)
_INSERT_ENTRY: Final = (
    _insert("entries", _ENTRY_COLUMNS) + " ON CONFLICT (at, stream, hash) DO NOTHING"
)
_INSERT_VIDEO: Final = (
    "INSERT INTO videos VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
    "title = coalesce(excluded.title, title), last_seen = max(excluded.last_seen, last_seen)"
)


_VIEW_COLUMNS: Final = ViewRow.__struct_fields__
_UPSERT_VIEW: Final = (
    _insert("views", _VIEW_COLUMNS)
    + f" ON CONFLICT ({', '.join(IDENTITY)}) DO UPDATE SET "
    # A worker that shares a view may know its state without having received its latest events.
    + ", ".join(
        f"{name} = coalesce(excluded.{name}, {name})"
        if name in LABELS or name in DETAILS
        else f"{name} = excluded.{name}"
        for name in _VIEW_COLUMNS
        if name not in IDENTITY
    )
    # A request that is sent again may be older than what is stored.
    + " WHERE excluded.updated_at >= updated_at"
)


class _CachedSeries(msgspec.Struct, gc=False):
    """A series of the file.

    Attributes:
        id: Its row.
        seen: Its ``last_seen``.
        value: The sample stored last.
        at: When that was; -infinity if there is none.
    """

    id: int
    seen: int
    value: float | None = None
    at: float = -math.inf


class _CachedStream(msgspec.Struct, gc=False):
    """A stream of the file.

    Attributes:
        id: Its row.
        seen: Its ``last_seen``.
        event_type: Its event type.
    """

    id: int
    seen: int
    event_type: str | None


class _CachedVideo(msgspec.Struct, gc=False):
    """A video of the file with a title; ``seen`` is its ``last_seen``."""

    seen: int


class _Video(msgspec.Struct):
    id: Text = None
    title: Text = None


class _Line(msgspec.Struct):
    """The members of an event that are read; the ids only where the entry has none."""

    view_id: Text = None
    session_id: Text = None
    viewer_id: Text = None
    video: _Video | None = None


_decode_line = msgspec.json.Decoder(_Line).decode
_NO_LINE: Final = _Line()


class SampleWriter:
    """Writes requests into an open file.

    Caches its rows to save queries. Clients choose the texts that identify a row, so the caches are
    bounded in bytes, and digests of the texts are their keys.

    Args:
        database: The file.
        config: The limit of governance for video ids, and the maximum number of series.

    Attributes:
        writes: How many requests the file held after the latest one of this writer.
    """

    def __init__(self, database: sqlite3.Connection, config: Config) -> None:
        self._database = database
        self._video_limit = config.cardinality_limits["video_id"]
        # All live series must fit: each flush sends all of them.
        self._max_series = config.max_series + CACHED_BESIDES
        self._series: dict[bytes, _CachedSeries] = {}
        self._streams: BoundedCache[bytes, _CachedStream] = BoundedCache(MAX_STREAMS_BYTES)
        self._videos: BoundedCache[bytes, _CachedVideo] = BoundedCache(MAX_VIDEOS_BYTES)
        self._removals: tuple[int] | None = None
        (self.writes,) = database.execute("SELECT writes FROM upkeep").fetchone()

    def write_metrics(self, body: bytes) -> None:
        """Write a remote-write request, in one transaction.

        Raises:
            UndecodableError: The bytes are malformed.
            sqlite3.Error: Nothing was written.
        """
        series, described = decode_metrics(body)
        self._transaction(lambda: self._write_metrics(series, described))

    def write_logs(self, body: bytes, content_type: str) -> None:
        """Write a Loki push request, in one transaction.

        Raises:
            UndecodableError: The bytes are malformed.
            sqlite3.Error: Nothing was written.
        """
        streams = decode_logs(body, content_type)
        self._transaction(lambda: self._write_logs(streams))

    def write_views(self, body: bytes) -> None:
        """Write rows of views, in one transaction.

        Raises:
            UndecodableError: The bytes are malformed.
            sqlite3.Error: Nothing was written.
        """
        rows = [msgspec.structs.astuple(row) for row in decode_views(body)]
        with transaction(self._database):
            self._database.executemany(_UPSERT_VIEW, rows)
            self._count_write()

    def _transaction(self, write: Callable[[], None]) -> None:
        try:
            with transaction(self._database):
                row = self._database.execute("SELECT removals FROM upkeep").fetchone()
                if row != self._removals:
                    self._clear_cache()
                    self._removals = row
                write()
                self._count_write()
        except BaseException:
            self._clear_cache()  # its rows may have been rolled back
            raise

    def _count_write(self) -> None:
        self._database.execute("UPDATE upkeep SET writes = writes + 1")
        (self.writes,) = self._database.execute("SELECT writes FROM upkeep").fetchone()

    def _clear_cache(self) -> None:
        self._series.clear()
        self._streams.clear()
        self._videos.clear()

    def _write_metrics(self, series: Iterable[Series], described: Iterable[Description]) -> None:
        samples: list[tuple[int, int, float | None]] = []
        seen: list[tuple[int, int]] = []
        at = 0
        for one in series:
            if not one.samples:
                continue
            key = _digest(b"".join(one.labels))
            known = self._series.get(key)
            if known is None:
                known = self._find_series(key, one)
            for time, value in one.samples:
                if time != at:  # the series of a flush share one number for their time
                    at = time
                if at <= known.at or (value == known.value and at - known.at < REPEAT_INTERVAL):
                    continue
                samples.append((known.id, at, value))
                known.at, known.value = at, value
            if at - known.seen >= SEEN_EVERY:
                seen.append((at, known.id))
                known.seen = at
            if known.value is None:  # the series has ended
                del self._series[key]
        database = self._database
        database.executemany("INSERT OR IGNORE INTO samples VALUES (?, ?, ?)", samples)
        database.executemany("UPDATE series SET last_seen = max(last_seen, ?) WHERE id = ?", seen)
        database.executemany(
            "INSERT OR REPLACE INTO metrics VALUES (?, ?, ?, ?)",
            [(one.name, one.type, one.help, one.unit) for one in described],
        )

    def _find_series(self, key: bytes, series: Series) -> _CachedSeries:
        labels = decode_labels(series.labels)
        name = labels.pop("__name__", "")
        text = json.dumps(labels, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        database, digest = self._database, _hash(text)
        row = database.execute(
            "SELECT id, last_seen FROM series WHERE name = ? AND hash = ?", (name, digest)
        ).fetchone()
        if row is None:
            first, last = series.samples[0][0], series.samples[-1][0]
            columns = [labels.get(label) for label in SERIES_LABELS]
            made = database.execute(
                _INSERT_SERIES,
                (name, text, *columns, _bound(labels.get("le")), first, last, digest),
            )
            known = _CachedSeries(made.lastrowid or 0, last)
        else:
            known = _CachedSeries(*row)
            latest = database.execute(
                "SELECT at, value FROM samples WHERE series = ? ORDER BY at DESC LIMIT 1",
                (known.id,),
            ).fetchone()
            if latest is not None:
                known.at, known.value = latest
        if len(self._series) >= self._max_series:
            self._series.clear()
        self._series[key] = known
        return known

    def _write_logs(self, streams: Iterable[Stream]) -> None:
        entries: list[tuple[object, ...]] = []
        for stream in streams:
            if not stream.entries:
                continue
            newest = max(at for at, _, _ in stream.entries)
            for at, line, metadata in stream.entries:
                known = self._find_stream(stream.labels, metadata, newest)
                try:
                    event = _decode_line(line)
                except (
                    msgspec.DecodeError
                ):  # for example an id that is an object; the entry is kept
                    event = _NO_LINE
                video = event.video
                video_id = None if video is None or video.id in (None, "") else str(video.id)
                if video_id is not None and video is not None:
                    self._store_video(video_id, video.title, at)
                entries.append(
                    (
                        at,
                        known.id,
                        known.event_type,
                        metadata.get("view_id") or _text(event.view_id),
                        metadata.get("session_id") or _text(event.session_id),
                        metadata.get("viewer_id") or _text(event.viewer_id),
                        metadata.get("video_id") or video_id,
                        line,
                        _hash(line),
                    )
                )
        self._database.executemany(_INSERT_ENTRY, entries)

    def _find_stream(self, labels: str, metadata: Mapping[str, str], newest: int) -> _CachedStream:
        """Find or store the stream of an entry.

        Labels that the worker sends as structured metadata belong to it, too: here, streams have
        no limit. The worker's instance does not.
        """
        database = self._database
        key = _digest(repr((labels, *map(metadata.get, STREAM_LABELS))).encode())
        known = self._streams.get(key)
        if known is None:
            pairs = stream_labels(labels)
            pairs.pop("instance", None)
            pairs |= {name: metadata[name] for name in STREAM_LABELS if name in metadata}
            text = json.dumps(pairs, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
            row = database.execute(
                "SELECT id, last_seen FROM streams WHERE labels = ?", (text,)
            ).fetchone()
            if row is None:
                columns = [pairs.get(label) for label in STREAM_LABELS]
                made = database.execute(_INSERT_STREAM, (text, *columns, newest))
                row = (made.lastrowid or 0, newest)
            event_type = pairs.get("event_type")
            known = _CachedStream(row[0], row[1], event_type)
            self._streams.add(key, known, OBJECT_BYTES + memory_size(event_type))
        if newest - known.seen >= SEEN_EVERY:
            database.execute("UPDATE streams SET last_seen = ? WHERE id = ?", (newest, known.id))
            known.seen = newest
        return known

    def _store_video(self, video_id: str, title: Text, at: int) -> None:
        """Store which video a governed label stands for."""
        text = None if title in (None, "") else str(title)
        key = _digest(repr((video_id, text)).encode())
        known = self._videos.get(key)
        if known is None:
            self._videos.add(key, _CachedVideo(at), OBJECT_BYTES)
        elif at - known.seen < SEEN_EVERY:
            return
        else:
            known.seen = at
        label = label_for_value(label_text(video_id), self._video_limit)
        if label is None:
            return
        database = self._database
        database.execute(_INSERT_VIDEO, (label, video_id, text, at))
        # Only the worker knows whether the value was admitted; its series show it.
        folded = overflow_label(label)
        if database.execute("SELECT 1 FROM series WHERE video_id = ?", (folded,)).fetchone():
            database.execute(_INSERT_VIDEO, (folded, video_id, text, at))


def _text(value: Text) -> str | None:
    return None if value is None else str(value)


def _bound(text: str | None) -> float | None:
    """The upper bound of a histogram's bucket."""
    if text is None:
        return None
    try:
        return math.inf if text == "+Inf" else float(text)
    except ValueError:
        return None


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=12).digest()


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
