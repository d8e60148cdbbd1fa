"""A strict in-memory Loki: the push endpoint with the limits of a real server.

`rejected` holds the entries that a real server discards silently, or with a 400 that stores the
rest; `limited` those that it refused with a 429, so that the sender sends them again. `reason` is
Loki's label of `loki_discarded_samples_total`. `LokiLimits` has each limit with Loki's default.
Each rule has a test in `tests/support_tests/test_loki_double.py`.

The checks of the distributor (labels, age, sizes) are all reported. Those of the ingester (number
of streams, rate of a stream, order) end with the answer of the last stream: if that one is stored,
the answer is 204, whatever became of the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from tests.support.http_double import HttpDouble, ReceivedRequest, Reply, system_now_ms
from tests.support.wire_codec import PushEntry, PushStream, WireError, decode_push_request

DEFAULT_TENANT: Final = "fake"
"""Loki's name for the tenant of requests without X-Scope-OrgID."""

MAX_LABEL_NAMES: Final = 15
MAX_LABEL_NAME_BYTES: Final = 1024
MAX_LABEL_VALUE_BYTES: Final = 2048
MAX_LINE_BYTES: Final = 262_144
MAX_METADATA_BYTES: Final = 65_536
MAX_METADATA_ENTRIES: Final = 128

_SECOND_NS: Final = 1_000_000_000
OUT_OF_ORDER_WINDOW_NS: Final = 3600 * _SECOND_NS
MAX_AGE_NS: Final = 7 * 24 * 3600 * _SECOND_NS
GRACE_PERIOD_NS: Final = 600 * _SECOND_NS

_TENANT: Final = re.compile(r"[a-zA-Z0-9!\-_.*'()]{1,150}")

_RATE_REASONS: Final = frozenset({"rate_limited", "stream_limit", "per_stream_rate_limit"})
"""Reasons that are answered 429."""

Fault = tuple[str, str]
"""The reason of a rejection, and its message."""


@dataclass(frozen=True, slots=True)
class LokiLimits:
    """Limits of a Loki; None switches one off.

    Attributes:
        has_label_lexer: Whether U+FFFD in a label's value is an error of the whole request.
        has_tenant_check: Whether characters that no tenant may have are an error of the request.
        has_structured_metadata: `allow_structured_metadata`.
        max_streams: `max_global_streams_per_user`, live streams of a tenant.
        stream_idle_ns: Time without an entry after which a stream no longer counts as live.
        rate_bytes: `ingestion_rate_mb`, bytes a second of a tenant.
        burst_bytes: `ingestion_burst_size_mb`; a larger request never passes.
        stream_rate_bytes: `per_stream_rate_limit`.
        stream_burst_bytes: `per_stream_rate_limit_burst`.
        out_of_order_ns: Time that an entry may be behind the newest of its stream.
        max_age_ns: `reject_old_samples_max_age`.
        grace_period_ns: `creation_grace_period`.
        empty_status: Answer to a push without streams: 204 before Loki 3.2, then 422.
        ready_after_ns: Time after the start in which `/ready` answers 503.
    """

    has_label_lexer: bool = True
    has_tenant_check: bool = True
    has_structured_metadata: bool = True
    max_streams: int | None = 5_000
    stream_idle_ns: int = 1800 * _SECOND_NS
    rate_bytes: int | None = 4 << 20
    burst_bytes: int = 6 << 20
    stream_rate_bytes: int | None = 3 << 20
    stream_burst_bytes: int = 15 << 20
    out_of_order_ns: int | None = OUT_OF_ORDER_WINDOW_NS
    max_age_ns: int | None = MAX_AGE_NS
    grace_period_ns: int | None = GRACE_PERIOD_NS
    empty_status: int = 422
    ready_after_ns: int = 15 * _SECOND_NS


DEFAULT_LIMITS: Final = LokiLimits()


class LogEntry(NamedTuple):
    """A stored line."""

    labels: dict[str, str]
    ts_ns: int
    line: str
    metadata: dict[str, str]


class Rejection(NamedTuple):
    """A rejected line, or a rejected stream or request (`ts_ns` and `line` are None)."""

    reason: str
    message: str
    tenant: str
    labels: dict[str, str]
    ts_ns: int | None = None
    line: str | None = None


class _TokenBucket:
    """Bytes that a tenant or a stream may send now."""

    def __init__(self, burst: int, now_ns: int) -> None:
        self._tokens = float(burst)
        self._at = now_ns

    def consume(self, count: int, rate: int, burst: int, now_ns: int) -> bool:
        """Subtracts a number of bytes, unless there are fewer."""
        elapsed = max(0, now_ns - self._at) / _SECOND_NS
        self._tokens = min(float(burst), self._tokens + elapsed * rate)
        self._at = now_ns
        if count > self._tokens:
            return False
        self._tokens -= count
        return True


class _Stream:
    """The stored entries of one label set of one tenant."""

    def __init__(self, labels: dict[str, str], burst: int, now_ns: int) -> None:
        self.labels = labels
        self.entries: list[PushEntry] = []
        self.seen: set[tuple[int, str]] = set()
        self.newest_ns: int | None = None
        self.received_ns = now_ns
        self.bucket = _TokenBucket(burst, now_ns)


class LokiDouble(HttpDouble):
    """`POST /loki/api/v1/push` with the responses of a real Loki.

    `entries()` returns the stored lines; `rejected`, `limited` and `duplicates` hold the others.
    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int] = system_now_ms,
        basic_auth: tuple[str, str] | None = None,
        max_body_bytes: int | None = None,
        require_tenant: bool = False,
        limits: LokiLimits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__(now_ms=now_ms, basic_auth=basic_auth, max_body_bytes=max_body_bytes)
        self.require_tenant = require_tenant
        self.limits = limits
        self.rejected: list[Rejection] = []
        self.limited: list[Rejection] = []
        """Entries that were refused with a 429."""
        self.duplicates: list[LogEntry] = []
        """Entries equal to a stored one. Loki stores them once, so they are harmless."""
        self._streams: dict[tuple[str, frozenset[tuple[str, str]]], _Stream] = {}
        self._buckets: dict[str, _TokenBucket] = {}
        self._started_ns: int | None = None

    def start(self) -> None:
        self._started_ns = self.now_ms() * 1_000_000
        super().start()

    @property
    def push_url(self) -> str:
        """The address of the push endpoint."""
        return f"{self.url}/loki/api/v1/push"

    # --- stored entries ---------------------------------------------------------------------------

    @property
    def tenants(self) -> set[str]:
        """Tenants that have an entry."""
        with self._lock:
            return {tenant for tenant, _ in self._streams}

    def entries(self, tenant: str = DEFAULT_TENANT) -> list[LogEntry]:
        """The stored entries of a tenant, oldest first."""
        return self.query(tenant=tenant)

    def query(
        self,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        *,
        contains: str = "",
        tenant: str = DEFAULT_TENANT,
    ) -> list[LogEntry]:
        """Select entries by labels and structured metadata, oldest first.

        Equivalent to `{labels} |= "contains" | metadata`.
        """
        wanted_labels = (labels or {}).items()
        wanted_metadata = (metadata or {}).items()
        with self._lock:
            found = [
                LogEntry(stream.labels, entry.timestamp_ns, entry.line, entry.metadata)
                for (owner, _), stream in self._streams.items()
                if owner == tenant and wanted_labels <= stream.labels.items()
                for entry in stream.entries
                if wanted_metadata <= entry.metadata.items() and contains in entry.line
            ]
        return sorted(found, key=lambda entry: entry.ts_ns)

    def stream_count(self, tenant: str = DEFAULT_TENANT) -> int:
        """Number of label sets of a tenant."""
        with self._lock:
            return sum(owner == tenant for owner, _ in self._streams)

    # --- the rules --------------------------------------------------------------------------------

    def respond(self, request: ReceivedRequest) -> Reply:
        """Return 204, or the error of the last fault; a request with one may be stored in part."""
        if request.path == "/ready":
            return self._ready()
        if request.path in ("/flush", "/loki/api/v1/labels"):  # accept a push and ignore it
            return Reply(204) if request.path == "/flush" else Reply(200, b'{"status":"success"}')
        if request.path != "/loki/api/v1/push":
            return Reply(404, b"404 page not found\n")
        if request.method != "POST":
            return Reply(405, b"Method Not Allowed\n", {"Allow": "POST"})
        tenant = request.headers.get("x-scope-orgid", "")
        if not tenant and self.require_tenant:
            return Reply(401, b"no org id\n")
        tenant = tenant or DEFAULT_TENANT
        try:
            streams = decode_push_request(
                request.body,
                request.headers.get("content-type", ""),
                request.headers.get("content-encoding", ""),
            )
            self._check_request(tenant, streams)
        except WireError as fault:
            self.rejected.append(Rejection("invalid_request", str(fault), tenant, {}))
            return Reply(400, f"{fault}\n".encode())
        if not streams and self.limits.empty_status != 204:
            message = b"at least one valid stream is required for ingestion\n"
            return Reply(self.limits.empty_status, message)
        now_ns = self.now_ms() * 1_000_000
        excess = self._rate_fault(tenant, streams, now_ns)
        if excess is not None:
            self.limited += [
                Rejection(*excess, tenant, stream.labels, entry.timestamp_ns, entry.line)
                for stream in streams
                for entry in stream.entries
            ]
            return Reply(429, f"{excess[1]}\n".encode())
        return self._store(tenant, streams, now_ns)

    def _ready(self) -> Reply:
        now_ns = self.now_ms() * 1_000_000
        started_ns = now_ns if self._started_ns is None else self._started_ns
        if now_ns - started_ns < self.limits.ready_after_ns:
            return Reply(503, b"Ingester not ready: waiting for 15s after being ready\n")
        return Reply(200, b"ready\n")

    def _check_request(self, tenant: str, streams: list[PushStream]) -> None:
        """Raise WireError for a fault of the whole request."""
        limits = self.limits
        if limits.has_tenant_check:
            if "|" in tenant:
                raise WireError("multiple org IDs present")
            if not _TENANT.fullmatch(tenant) or tenant in (".", ".."):
                raise WireError(f"tenant ID {tenant!r} contains unsupported character")
        for stream in streams:
            text = format_labels(stream.labels)
            if limits.has_label_lexer and "\ufffd" in text:
                raise WireError(f"couldn't parse labels: {text}: invalid UTF-8 rune")
            if not limits.has_structured_metadata and any(e.metadata for e in stream.entries):
                raise WireError(
                    f"stream '{text}' includes structured metadata, but this feature is disallowed"
                )

    def _rate_fault(self, tenant: str, streams: list[PushStream], now_ns: int) -> Fault | None:
        """Return the fault of a request above the tenant's rate or burst."""
        rate, burst = self.limits.rate_bytes, self.limits.burst_bytes
        if rate is None:
            return None
        count = sum(_entry_bytes(entry) for stream in streams for entry in stream.entries)
        bucket = self._buckets.setdefault(tenant, _TokenBucket(burst, now_ns))
        if bucket.consume(count, rate, burst, now_ns):
            return None
        return (
            "rate_limited",
            f"ingestion rate limit exceeded for user {tenant} (limit: {rate} bytes/sec) while "
            f"attempting to ingest {count} bytes",
        )

    def _store(self, tenant: str, streams: list[PushStream], now_ns: int) -> Reply:
        invalid: list[Rejection] = []
        refused: list[Rejection] = []
        latest: list[Rejection] = []  # of the last stream that reached the ingester
        for stream in streams:
            if not stream.labels:
                message = "at least one label pair is required per stream"
                self.rejected.append(Rejection("missing_labels", message, tenant, {}))
                continue
            faults, valid = self._validate(tenant, stream, now_ns)
            invalid += faults
            if valid:
                latest = list(self._push(tenant, stream.labels, valid, now_ns))
                refused += latest
        status = 204
        if latest:
            status = 429 if latest[-1].reason in _RATE_REASONS else 400
        elif invalid:
            status = 400
        self.rejected += invalid
        for item in refused:
            is_limited = status == 429 and item.reason in _RATE_REASONS
            (self.limited if is_limited else self.rejected).append(item)
        if status == 204:
            return Reply(204)
        return Reply(status, "".join(f"{item.message}\n" for item in latest or invalid).encode())

    def _validate(
        self, tenant: str, pushed: PushStream, now_ns: int
    ) -> tuple[list[Rejection], list[PushEntry]]:
        """Return the rejections of the distributor, and the entries that pass."""
        text = format_labels(pushed.labels)
        fault = _stream_fault(pushed.labels, text)
        if fault is not None:
            return [Rejection(*fault, tenant, pushed.labels)], []
        faults, valid = [], []
        for entry in pushed.entries:
            fault = _entry_fault(entry, text, now_ns, self.limits)
            if fault is None:
                valid.append(entry)
            else:
                at, line = entry.timestamp_ns, entry.line
                faults.append(Rejection(*fault, tenant, pushed.labels, at, line))
        return faults, valid

    def _push(
        self, tenant: str, labels: dict[str, str], entries: list[PushEntry], now_ns: int
    ) -> Iterator[Rejection]:
        """Store the entries of a stream, as an ingester does."""
        key = (tenant, frozenset(labels.items()))
        limits, stream, fault = self.limits, self._streams.get(key), None
        if stream is None or not self._is_live(stream, now_ns):
            if limits.max_streams is not None and self.live_stream_count(tenant) >= (
                limits.max_streams
            ):
                fault = (
                    "stream_limit",
                    f"maximum active stream limit exceeded when trying to create stream "
                    f"{format_labels(labels)}, reduce the number of active streams",
                )
            elif stream is None:
                stream = self._streams[key] = _Stream(labels, limits.stream_burst_bytes, now_ns)
        if fault is None and limits.stream_rate_bytes is not None:
            assert stream is not None
            count = sum(len(entry.line.encode()) for entry in entries)
            rate, burst = limits.stream_rate_bytes, limits.stream_burst_bytes
            if not stream.bucket.consume(count, rate, burst, now_ns):
                fault = (
                    "per_stream_rate_limit",
                    f"Per stream rate limit exceeded (limit: {rate} bytes/sec) while attempting "
                    f"to ingest for stream '{format_labels(labels)}' totaling {count} bytes",
                )
        for entry in entries:
            if fault is not None or stream is None:
                why = fault
            else:
                stream.received_ns = now_ns
                why = self._keep(stream, entry)
            if why is not None:
                yield Rejection(*why, tenant, labels, entry.timestamp_ns, entry.line)

    def live_stream_count(self, tenant: str = DEFAULT_TENANT) -> int:
        """Number of streams of a tenant that have a recent entry."""
        now_ns = self.now_ms() * 1_000_000
        with self._lock:
            return sum(
                owner == tenant and self._is_live(stream, now_ns)
                for (owner, _), stream in self._streams.items()
            )

    def _is_live(self, stream: _Stream, now_ns: int) -> bool:
        return now_ns - stream.received_ns < self.limits.stream_idle_ns

    def _keep(self, stream: _Stream, entry: PushEntry) -> Fault | None:
        """Store an entry in its stream, unless it is a duplicate or too far behind the newest."""
        if (entry.timestamp_ns, entry.line) in stream.seen:
            self.duplicates.append(
                LogEntry(stream.labels, entry.timestamp_ns, entry.line, entry.metadata)
            )
            return None
        if stream.newest_ns is not None and self.limits.out_of_order_ns is not None:
            oldest_ns = stream.newest_ns - self.limits.out_of_order_ns
            if entry.timestamp_ns < oldest_ns:
                return (
                    "too_far_behind",
                    f"entry with timestamp {_time(entry.timestamp_ns)} ignored, reason: "
                    f"'entry too far behind, entry timestamp is: {_time(entry.timestamp_ns)}, "
                    f"oldest acceptable timestamp is: {_time(oldest_ns)}'",
                )
        stream.seen.add((entry.timestamp_ns, entry.line))
        stream.entries.append(entry)
        stream.newest_ns = max(stream.newest_ns or 0, entry.timestamp_ns)
        return None


def _entry_bytes(entry: PushEntry) -> int:
    """Bytes of an entry that count for the rate of a tenant."""
    metadata = sum(len(name) + len(value.encode()) for name, value in entry.metadata.items())
    return len(entry.line.encode()) + metadata


def _stream_fault(labels: Mapping[str, str], text: str) -> Fault | None:
    """Reason and message if the whole stream is rejected."""
    if len(labels) > MAX_LABEL_NAMES:
        return (
            "max_label_names_per_series",
            f"entry for stream '{text}' has {len(labels)} label names; limit {MAX_LABEL_NAMES}",
        )
    for name, value in labels.items():
        if len(name.encode()) > MAX_LABEL_NAME_BYTES:
            return "label_name_too_long", f"stream '{text}' has label name too long: '{name}'"
        if len(value.encode()) > MAX_LABEL_VALUE_BYTES:
            return "label_value_too_long", f"stream '{text}' has label value too long: '{value}'"
    return None


def _entry_fault(entry: PushEntry, text: str, now_ns: int, limits: LokiLimits) -> Fault | None:
    """Reason and message if an entry is rejected by itself, independent of its stream."""
    if limits.max_age_ns is not None and entry.timestamp_ns < now_ns - limits.max_age_ns:
        return (
            "greater_than_max_sample_age",
            f"entry for stream '{text}' has timestamp too old: {_time(entry.timestamp_ns)}, "
            f"oldest acceptable timestamp is: {_time(now_ns - limits.max_age_ns)}",
        )
    grace_ns = limits.grace_period_ns
    if grace_ns is not None and entry.timestamp_ns > now_ns + grace_ns:
        return (
            "too_far_in_future",
            f"entry for stream '{text}' has timestamp too new: {_time(entry.timestamp_ns)}",
        )
    line_bytes = len(entry.line.encode())
    if line_bytes > MAX_LINE_BYTES:
        return (
            "line_too_long",
            f"max entry size '{MAX_LINE_BYTES}' bytes exceeded for stream '{text}' "
            f"while adding an entry with length '{line_bytes}' bytes",
        )
    metadata_bytes = sum(
        len(name.encode()) + len(value.encode()) for name, value in entry.metadata.items()
    )
    if metadata_bytes > MAX_METADATA_BYTES:
        return (
            "structured_metadata_too_large",
            f"stream '{text}' has structured metadata too large: "
            f"'{metadata_bytes}' bytes, limit: '{MAX_METADATA_BYTES}' bytes",
        )
    if len(entry.metadata) > MAX_METADATA_ENTRIES:
        return (
            "structured_metadata_too_many",
            f"stream '{text}' has too many structured metadata labels: "
            f"'{len(entry.metadata)}', limit: '{MAX_METADATA_ENTRIES}'",
        )
    return None


def format_labels(labels: Mapping[str, str]) -> str:
    """Format labels as in Loki's messages."""
    quoted = (
        f'{name}="' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        for name, value in sorted(labels.items())
    )
    return "{" + ", ".join(quoted) + "}"


def _time(ts_ns: int) -> str:
    """Format nanoseconds since the epoch as in Loki's messages; out of range, as a number."""
    try:
        moment = datetime.fromtimestamp(ts_ns // _SECOND_NS, UTC)
    except (ValueError, OverflowError):
        return str(ts_ns)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
