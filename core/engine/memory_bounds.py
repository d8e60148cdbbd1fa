"""The memory that clients can pin, computed from the settings.

Each row is a number times the bytes of one. Numbers are settings or constants of the modules that
enforce them; the bytes were measured (``tests/end_to_end/test_memory_limits.py`` fills the tables
over sockets and compares). ``docs/security.md`` shows the rows for the default settings.
"""

from typing import NamedTuple

from ..access.tenants import MAX_CACHED as MAX_CACHED_ORGS
from ..api.dashboard_access import MAX_ENDED_SESSIONS
from ..api.failed_keys import MAX_ADDRESSES
from ..cluster.concurrency_sync import MAX_MARKED_BYTES, MAX_TEXT_BYTES
from ..config.cardinality_limits import EXTRA_DIMENSIONS
from ..config.worker_config import Config
from ..delivery.payload_buffer import MAX_LOADED
from ..events.batch_queue import MOST_DECODED_BYTES
from ..events.cmcd_target import CACHE_BYTES as CMCD_CACHE_BYTES
from ..governance.dimension import MAX_CANDIDATES
from ..metrics.registry import MAX_CACHE_BYTES as MAX_SERIES_CACHE_BYTES
from ..metrics.registry import SAMPLE_BYTES
from ..qoe.labeller import MAX_CACHE_BYTES as MAX_LABEL_CACHE_BYTES
from ..qoe.view_rows import MAX_DETAILS_BYTES
from ..sinks.log_buffer import MAX_FULL_REQUESTS, MAX_METADATA_BYTES

KIB = 1024
MIB = 1024 * KIB

CONNECTION_BYTES = 7 * KIB
"""Bytes of an idle connection: 3.4 KiB on asyncio, 6.2 KiB on Trio."""

ADDRESS_BYTES = KIB
VIEW_BYTES = 800
VIEW_ID_BYTES = 288
"""Bytes of the id of a view whose key has a hash instead (``core/qoe/view_rows.py``)."""
DEDUP_BYTES = 200
ADMITTED_BYTES = 420
CANDIDATE_BYTES = 250
STREAM_BYTES = 700
ORG_BYTES = 3 * KIB
SESSION_BYTES = 200
STORED_SERIES_BYTES = 210
"""Bytes of a series that the embedded store caches."""

SMALL_CACHES = 10 * MIB
"""Heads of requests (8 MiB), headers of responses (1 MiB), answers."""

ENCODING_CACHES = 12 * MIB
"""Interned labels (4 + 2 MiB), interned texts of views (2 MiB), encoded labels (4 MiB)."""

DECODED_FACTOR = 10
"""Bytes of a decoded event by bytes of its JSON."""

DASHBOARD_CACHE = 8 * MIB
"""Bytes of cached answers of the dashboard."""

OWN_SERIES = 10_000
"""Series that the embedded store caches besides those of views."""

STORE_CACHES = 10 * MIB
"""Bytes of cached streams and videos of the embedded store."""


class MemoryBound(NamedTuple):
    """The memory of one table or buffer.

    Attributes:
        what: Its content.
        number: Maximum number of its entries.
        size: Maximum bytes of one entry, on average over a full table.
    """

    what: str
    number: int
    size: int

    @property
    def total(self) -> int:
        """Maximum bytes."""
        return self.number * self.size


def _may_have_tenants(config: Config) -> bool:
    """Whether organisations may have tenants of their own. A keys file may name them later."""
    return config.tenant_template is not None or config.keys_file is not None


def _log_bytes(config: Config) -> int:
    """Bytes of log entries before they are pushed."""
    return config.loki_batch_bytes * (MAX_FULL_REQUESTS if _may_have_tenants(config) else 1)


def _queues(config: Config) -> MemoryBound:
    """The bodies that wait for delivery: the others are in the outbox, if there is one."""
    destinations = (
        *config.metrics_destinations,
        *config.logs_destinations,
        *config.views_destinations,
    )
    size = config.queue_max_bytes if config.durability == "memory" else MAX_LOADED
    return MemoryBound("bodies in the queue of each destination", len(destinations), size)


def _optional_bounds(config: Config) -> tuple[MemoryBound, ...]:
    """Return the bounds of what depends on settings."""
    bounds: list[MemoryBound] = []
    if config.is_embedded:
        bounds += (
            MemoryBound("long ids of views", config.max_views, VIEW_ID_BYTES),
            MemoryBound("details of views that changed since a flush", MAX_DETAILS_BYTES, 1),
            MemoryBound(
                "series cached by the embedded store",
                config.max_series + OWN_SERIES,
                STORED_SERIES_BYTES,
            ),
            MemoryBound("streams and videos cached by it", STORE_CACHES, 1),
        )
    if config.has_dashboard:
        bounds += (
            MemoryBound("answers of the dashboard", DASHBOARD_CACHE, 1),
            MemoryBound("sessions of the dashboard that ended", MAX_ENDED_SESSIONS, SESSION_BYTES),
        )
    if _may_have_tenants(config):
        bounds.append(MemoryBound("tenants by organisation", MAX_CACHED_ORGS, ORG_BYTES))
    if config.kv_url != "none":
        bounds.append(
            MemoryBound("labels of concurrent views", MAX_TEXT_BYTES + 2 * MAX_MARKED_BYTES, 1)
        )
    return tuple(bounds)


def bounds_without_key(config: Config) -> tuple[MemoryBound, ...]:
    """Return what a client without an API key can fill."""
    return (
        MemoryBound("connections", config.max_connections, CONNECTION_BYTES),
        MemoryBound("requests in transfer, and responses not read", config.max_waiting_bytes, 1),
        MemoryBound("caches of heads, headers and answers", SMALL_CACHES, 1),
        MemoryBound("addresses that sent wrong keys", MAX_ADDRESSES, ADDRESS_BYTES),
    )


def bounds_with_key(config: Config) -> tuple[MemoryBound, ...]:
    """Return what a client with an API key of a page can fill besides."""
    unused = set(EXTRA_DIMENSIONS).difference(config.extra_labels)
    limits = [
        limit
        for name, limit in config.cardinality_limits.items()
        if limit.max_cardinality and name not in unused
    ]
    places = sum(limit.max_cardinality or 0 for limit in limits)
    return (
        MemoryBound("series", config.max_series, SAMPLE_BYTES),
        MemoryBound("views", config.max_views, VIEW_BYTES),
        MemoryBound("batches in the deduplication window", config.dedup_max, DEDUP_BYTES),
        MemoryBound("batches that wait", config.max_waiting_bytes, 1),
        MemoryBound("their events, decoded", MOST_DECODED_BYTES, DECODED_FACTOR),
        MemoryBound("caches of labels (one in use, one that is freed)", MAX_LABEL_CACHE_BYTES, 2),
        MemoryBound("caches of series by label set", MAX_SERIES_CACHE_BYTES, 1),
        MemoryBound("interned and encoded labels", ENCODING_CACHES, 1),
        MemoryBound("admitted values of dimensions", places, ADMITTED_BYTES),
        MemoryBound("values seen once", len(limits) * MAX_CANDIDATES, CANDIDATE_BYTES),
        MemoryBound("log entries before a push, encoded and not", _log_bytes(config), 4),
        MemoryBound("metadata of log entries", MAX_METADATA_BYTES, 1),
        MemoryBound("live log streams", 2 * config.loki_max_streams, STREAM_BYTES),
        _queues(config),
        MemoryBound("targets of CMCD reports (two caches)", CMCD_CACHE_BYTES, 2),
        *_optional_bounds(config),
    )
