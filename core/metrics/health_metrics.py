"""Metrics of the worker's own health, for ``/metrics`` and remote write.

Numbers that other components keep (queues, dimensions, the registry) are read when they are
exported. Only events of requests are counted here.
"""

from collections.abc import Mapping

from . import exposition
from .label_table import LabelTable
from .metric import Metric, MetricType
from .registry import MetricName, Registry, RegistryState
from .series import Counter, Gauge, Series

COUNTER, GAUGE, HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

_PREFIX = "openqoe_worker_"


def _metric(
    name: str,
    kind: MetricType,
    help: str,
    *labels: str,
    unit: str = "",
    buckets: tuple[float, ...] = (),
) -> Metric:
    return Metric(_PREFIX + name, kind, help, unit, labels, buckets)


BUILD = _metric("build_info", GAUGE, "Always 1; the version is the label.", "version")
STARTED = _metric(
    "start_time_seconds",
    GAUGE,
    "Start of the process, in seconds since the epoch; changes at every restart.",
    unit="seconds",
)
REQUESTS = _metric(
    "requests_total", COUNTER, "Requests answered, by route and status.", "route", "status"
)
DURATION = _metric(
    "request_duration_seconds",
    HISTOGRAM,
    "Time from a request's last byte until its answer was handed to the network.",
    "route",
    unit="seconds",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
ACCEPTED = _metric("events_accepted_total", COUNTER, "Events accepted.")
REJECTED = _metric("events_rejected_total", COUNTER, "Events refused, by reason.", "reason")
BATCHES_REJECTED = _metric(
    "batches_rejected_total", COUNTER, "Requests without any readable event.", "reason"
)
REFUSED = _metric(
    "requests_refused_total",
    COUNTER,
    "Batches refused by load shedding (answered 503), by the limit exceeded: wait (time in the "
    "queue), bytes (of queued batches), store (batches waiting for the shared store), owner "
    "(batches waiting for another worker of the host), rate (of the API key, which is named).",
    "reason",
    "key",
)
THINNED = _metric(
    "events_thinned_total",
    COUNTER,
    "Valid events left out by the sampling of an API key, by reason: sample (the key's own), quota "
    "(used up for the day). Whole views are left out.",
    "key",
    "reason",
)
DUPLICATES = _metric(
    "batches_duplicate_total", COUNTER, "Duplicate batches: acknowledged, not counted again."
)
DUPLICATES_FORGOTTEN = _metric(
    "batches_forgotten_total",
    COUNTER,
    "Batches evicted early from the deduplication window, because there were too many.",
)
IGNORED = _metric(
    "fields_ignored_total",
    COUNTER,
    "Optional fields ignored because their type was wrong, or cut because they were too long.",
    "field",
)
CLOCK_CORRECTED = _metric(
    "clock_corrected_total",
    COUNTER,
    "Batches whose times were shifted, because the client's clock was wrong.",
)
SERIES = _metric("series_live", GAUGE, "Series in memory, as Prometheus counts them.")
OVERFLOWED = _metric(
    "series_overflowed_total",
    COUNTER,
    "New label sets counted in an overflow series because the series limit was reached.",
)
VIEWS = _metric("views_live", GAUGE, "Live views in memory.")
VIEWS_FORGOTTEN = _metric(
    "views_forgotten_total", COUNTER, "Views evicted early because the view limit was reached."
)
CARDINALITY = _metric("cardinality", GAUGE, "Values admitted, by dimension.", "dimension")
FOLDED = _metric(
    "cardinality_folded_total",
    COUNTER,
    "Label values replaced because their dimension was full. Label sets are cached for an hour, so "
    "this shows that it happens, not how often.",
    "dimension",
)
GOVERNANCE_FAULTS = _metric(
    "governance_faults_total", COUNTER, "Label values replaced because governance failed on them."
)
LABELS_SHORTENED = _metric(
    "labels_shortened_total",
    COUNTER,
    "Label values cut to the receivers' limit of 2048 bytes.",
)
LOGS_ADJUSTED = _metric(
    "log_entries_adjusted_total",
    COUNTER,
    "Log entries adjusted to Loki's limits before they were sent, by reason.",
    "reason",
)
LOG_STREAMS = _metric(
    "log_streams", GAUGE, "Streams of this worker with a log entry in the last half hour."
)
FLUSHES_HELD = _metric(
    "flushes_held_total",
    COUNTER,
    "Flushes of metrics postponed because a queue was full; counting continues.",
)
QUEUE_PAYLOADS = _metric("queue_length", GAUGE, "Payloads queued for a destination.", "destination")
QUEUE_BYTES = _metric(
    "queue_bytes", GAUGE, "Bytes queued for a destination.", "destination", unit="bytes"
)
QUEUE_AGE = _metric(
    "queue_age_seconds",
    GAUGE,
    "Age of the oldest payload queued for a destination.",
    "destination",
    unit="seconds",
)
QUEUE_BEHIND = _metric(
    "queue_behind",
    GAUGE,
    "1 while the queue of a destination grows: its oldest payload has waited for more than three "
    "flush intervals; else 0.",
    "destination",
)
FLUSH_INTERVAL = _metric(
    "flush_interval_seconds",
    GAUGE,
    "Current flush interval; longer than the configured one while flushes or deliveries take too "
    "long for it.",
    unit="seconds",
)
DELIVERIES = _metric(
    "deliveries_total",
    COUNTER,
    "Requests to destinations, by outcome: delivered, rejected (in part), dropped, split, retried.",
    "destination",
    "outcome",
)
ITEMS_DELIVERED = _metric(
    "items_delivered_total", COUNTER, "Samples or log entries delivered.", "destination"
)
ITEMS_REJECTED = _metric(
    "items_rejected_total",
    COUNTER,
    "Samples or log entries in requests of which the destination stored only the valid ones.",
    "destination",
)
DROPPED = _metric(
    "dropped_total",
    COUNTER,
    "Samples or log entries dropped without delivery, by reason.",
    "destination",
    "reason",
)
BYTES_OUT = _metric(
    "delivery_bytes_total", COUNTER, "Bytes sent to destinations.", "destination", unit="bytes"
)
TENANTS = _metric(
    "tenants",
    GAUGE,
    "Tenants that get data of their own, besides the default one. Absent without tenants.",
)
TENANTS_REFUSED = _metric(
    "tenants_refused_total",
    COUNTER,
    "Organisations sent to the default tenant, by reason: limit (there are 200 tenants), name (no "
    "tenant may have it). Each is counted again after a while.",
    "reason",
)
TENANTS_FAILING = _metric(
    "tenants_failing",
    GAUGE,
    "Tenants of a destination whose latest request was not accepted. Absent without tenants.",
    "destination",
)

KV_OK = _metric(
    "kv_ok", GAUGE, "1 while the shared key-value store answers, else 0; absent without a store."
)
KV_UPDATES = _metric(
    "kv_updates_total",
    COUNTER,
    "Exchanges with the shared key-value store, by outcome: done, failed.",
    "outcome",
)
KV_WAITING = _metric(
    "kv_batches_waiting",
    GAUGE,
    "Accepted batches not counted yet, because the shared store has not answered.",
)
KV_ALONE = _metric(
    "kv_batches_alone_total",
    COUNTER,
    "Batches counted without the shared store, because it was unavailable for too long: views that "
    "other workers saw, too, may be counted twice.",
)
UNFOLLOWED = _metric(
    "view_events_unfollowed_total",
    COUNTER,
    "Events counted without the state of their view, because several workers share it and it had "
    "more than 128 batches in ten seconds: a page probably sends one view_id for all viewers.",
)
STORAGE_OK = _metric(
    "storage_ok", GAUGE, "1 while the journal and the outbox can be written, else 0."
)

RECORDS_MISSING = _metric(
    "records_missing_total",
    COUNTER,
    "Acknowledged batches that a start did not find in the journal or a snapshot, because a file "
    "was damaged, truncated or deleted. Their events are not counted.",
)

DETAILS = frozenset({"key"})
"""Labels whose values name customers: ``/metrics`` shows their series to readers only."""

METRICS: tuple[Metric, ...] = tuple(
    value for value in globals().values() if isinstance(value, Metric)
)


class Health:
    """The series of the worker's own health.

    Attributes:
        registry: The series, for export beside the QoE metrics.
    """

    def __init__(self) -> None:
        # All label values come from the worker itself, so the number of series is bounded.
        self.registry = Registry(max_series=1_000_000)
        self._counted: dict[tuple[object, ...], Series] = {}

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Adds to a counter, or observes a histogram."""
        # Called several times per request: cached by the labels as passed, without sorting.
        key = (metric, *labels.items())
        series = self._counted.get(key)
        if series is None:
            series = self.registry.find_or_create(metric, tuple(sorted(labels.items())))
            self._counted[key] = series
        series.observe(amount)

    def restore_state(
        self, state: RegistryState, table: LabelTable, metrics: Mapping[MetricName, Metric]
    ) -> None:
        """Restores the series of a snapshot."""
        self.registry.restore_state(state, table, metrics)
        self._counted.clear()

    def render(self, *, with_details: bool = True) -> bytes:
        """Renders the response body of ``/metrics``, with or without the ``DETAILS``."""
        return exposition.render(
            series
            for series in self.registry
            if with_details or not any(name in DETAILS for name, _ in series.labels)
        )

    def set_gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Sets a gauge to a value kept elsewhere."""
        series = self.registry.find_or_create(metric, tuple(sorted(labels.items())))
        assert isinstance(series, Gauge)
        series.set(value)

    def set_total(self, metric: Metric, value: float, **labels: str) -> None:
        """Sets a counter to a total kept elsewhere."""
        series = self.registry.find_or_create(metric, tuple(sorted(labels.items())))
        assert isinstance(series, Counter)
        series.value = value
