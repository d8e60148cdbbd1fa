"""A strict in-memory Loki: the push endpoint with the default limits of a real server.

`rejected` holds the entries that a real server discards silently, or with a 400 that stores the
rest; `reason` is Loki's label of `loki_discarded_samples_total`. Each rule has a test in
`tests/support_tests/test_loki_double.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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


class _Stream:
    """The stored entries of one label set of one tenant."""

    def __init__(self, labels: dict[str, str]) -> None:
        self.labels = labels
        self.entries: list[PushEntry] = []
        self.seen: set[tuple[int, str]] = set()
        self.newest_ns: int | None = None


class LokiDouble(HttpDouble):
    """`POST /loki/api/v1/push` with the responses of a real Loki.

    `entries()` returns the stored lines; `rejected` and `duplicates` hold the others.
    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int] = system_now_ms,
        basic_auth: tuple[str, str] | None = None,
        max_body_bytes: int | None = None,
        require_tenant: bool = False,
    ) -> None:
        super().__init__(now_ms=now_ms, basic_auth=basic_auth, max_body_bytes=max_body_bytes)
        self.require_tenant = require_tenant
        self.rejected: list[Rejection] = []
        self.duplicates: list[LogEntry] = []
        """Entries equal to a stored one. Loki stores them once, so they are harmless."""
        self._streams: dict[tuple[str, frozenset[tuple[str, str]]], _Stream] = {}

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
        """Return 204, or 400 with the reasons; a request with a 400 may be stored in part."""
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
        except WireError as fault:
            self.rejected.append(Rejection("invalid_request", str(fault), tenant, {}))
            return Reply(400, f"{fault}\n".encode())
        now_ns = self.now_ms() * 1_000_000
        refused: list[Rejection] = []
        for stream in streams:
            if not stream.labels:
                message = "at least one label pair is required per stream"
                self.rejected.append(Rejection("missing_labels", message, tenant, {}))
                continue
            refused.extend(self._push(tenant, stream, now_ns))
        self.rejected.extend(refused)
        if refused:
            return Reply(400, "".join(f"{item.message}\n" for item in refused).encode())
        return Reply(204)

    def _push(self, tenant: str, pushed: PushStream, now_ns: int) -> Iterator[Rejection]:
        text = format_labels(pushed.labels)
        fault = _stream_fault(pushed.labels, text)
        if fault is not None:
            yield Rejection(*fault, tenant, pushed.labels)
            return
        for entry in pushed.entries:
            fault = _entry_fault(entry, text, now_ns) or self._keep(tenant, pushed.labels, entry)
            if fault is not None:
                yield Rejection(*fault, tenant, pushed.labels, entry.timestamp_ns, entry.line)

    def _keep(
        self, tenant: str, labels: dict[str, str], entry: PushEntry
    ) -> tuple[str, str] | None:
        """Store an entry in its stream, unless it is a duplicate or too far behind the newest."""
        key = (tenant, frozenset(labels.items()))
        stream = self._streams.get(key) or _Stream(labels)
        if (entry.timestamp_ns, entry.line) in stream.seen:
            self.duplicates.append(LogEntry(labels, entry.timestamp_ns, entry.line, entry.metadata))
            return None
        if stream.newest_ns is not None:
            oldest_ns = stream.newest_ns - OUT_OF_ORDER_WINDOW_NS
            if entry.timestamp_ns < oldest_ns:
                return (
                    "too_far_behind",
                    f"entry with timestamp {_time(entry.timestamp_ns)} ignored, reason: "
                    f"'entry too far behind, entry timestamp is: {_time(entry.timestamp_ns)}, "
                    f"oldest acceptable timestamp is: {_time(oldest_ns)}'",
                )
        self._streams[key] = stream
        stream.seen.add((entry.timestamp_ns, entry.line))
        stream.entries.append(entry)
        stream.newest_ns = max(stream.newest_ns or 0, entry.timestamp_ns)
        return None


def _stream_fault(labels: Mapping[str, str], text: str) -> tuple[str, str] | None:
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


def _entry_fault(entry: PushEntry, text: str, now_ns: int) -> tuple[str, str] | None:
    """Reason and message if an entry is rejected by itself, independent of its stream."""
    if entry.timestamp_ns < now_ns - MAX_AGE_NS:
        return (
            "greater_than_max_sample_age",
            f"entry for stream '{text}' has timestamp too old: {_time(entry.timestamp_ns)}, "
            f"oldest acceptable timestamp is: {_time(now_ns - MAX_AGE_NS)}",
        )
    if entry.timestamp_ns > now_ns + GRACE_PERIOD_NS:
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
