"""The worker's own health: what ``/metrics`` shows and remote write sends along.

Numbers that are kept elsewhere anyway (queues, dimensions, the registry) are read when they
are shown; only what happens at a request is counted here.
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
    "When the process began its work, in seconds since the epoch: it changes with every restart.",
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
    "batches_rejected_total", COUNTER, "Requests of which nothing could be read.", "reason"
)
REFUSED = _metric(
    "requests_refused_total",
    COUNTER,
    "Batches refused unread because of too much work (answered 503), by what was too much: wait "
    "(it had waited too long), bytes (of batches that wait), store (batches that wait for the "
    "shared store).",
    "reason",
)
DUPLICATES = _metric(
    "batches_duplicate_total", COUNTER, "Batches acknowledged again and not counted again."
)
DUPLICATES_FORGOTTEN = _metric(
    "batches_forgotten_total",
    COUNTER,
    "Batches no longer known for duplicates before their time, because there were too many.",
)
IGNORED = _metric(
    "fields_ignored_total",
    COUNTER,
    "Optional fields ignored because their type was wrong.",
    "field",
)
SERIES = _metric("series_live", GAUGE, "Series in memory, as Prometheus counts them.")
OVERFLOWED = _metric(
    "series_overflowed_total",
    COUNTER,
    "New label sets that were sent to an overflow series because there are too many series.",
)
VIEWS = _metric("views_live", GAUGE, "Views that are remembered.")
VIEWS_FORGOTTEN = _metric(
    "views_forgotten_total", COUNTER, "Views forgotten before they ended: there were too many."
)
CARDINALITY = _metric("cardinality", GAUGE, "Values admitted, by dimension.", "dimension")
FOLDED = _metric(
    "cardinality_folded_total",
    COUNTER,
    "Label values replaced because their dimension was full; equal label sets are worked out "
    "once an hour, so this tells that it happens, not how often.",
    "dimension",
)
GOVERNANCE_FAULTS = _metric(
    "governance_faults_total", COUNTER, "Label values folded because governance failed on them."
)
LABELS_SHORTENED = _metric(
    "labels_shortened_total",
    COUNTER,
    "Label values cut to the 2048 bytes that receivers take.",
)
LOGS_ADJUSTED = _metric(
    "log_entries_adjusted_total",
    COUNTER,
    "Log entries put right before they were sent, by reason.",
    "reason",
)
FLUSHES_HELD = _metric(
    "flushes_held_total",
    COUNTER,
    "Flushes of metrics put off because their queue was full; the registry counts on.",
)
QUEUE_PAYLOADS = _metric(
    "queue_length", GAUGE, "Payloads that wait for a destination.", "destination"
)
QUEUE_BYTES = _metric(
    "queue_bytes", GAUGE, "Bytes that wait for a destination.", "destination", unit="bytes"
)
QUEUE_AGE = _metric(
    "queue_age_seconds",
    GAUGE,
    "Age of the oldest payload that waits for a destination.",
    "destination",
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
    "Samples or log entries in requests of which the destination took only the good ones.",
    "destination",
)
DROPPED = _metric(
    "dropped_total", COUNTER, "Samples or log entries given up.", "destination", "reason"
)
BYTES_OUT = _metric(
    "delivery_bytes_total", COUNTER, "Bytes sent to destinations.", "destination", unit="bytes"
)

KV_OK = _metric(
    "kv_ok", GAUGE, "1 while the shared key-value store answers, else 0 (only where there is one)."
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
    "Batches accepted and not counted yet, because the shared store has not answered.",
)
KV_ALONE = _metric(
    "kv_batches_alone_total",
    COUNTER,
    "Batches counted without the shared store, because it was away for too long: views that "
    "other workers saw as well may be counted twice.",
)
STORAGE_OK = _metric(
    "storage_ok", GAUGE, "1 while the journal and the outbox can be written, else 0."
)

METRICS: tuple[Metric, ...] = tuple(
    value for value in globals().values() if isinstance(value, Metric)
)


class Health:
    """Counts what happens and shows how the worker does.

    Attributes:
        registry: The series, for export beside the QoE metrics.
    """

    def __init__(self) -> None:
        # Every label here has values of the worker's own choosing, so there is no limit.
        self.registry = Registry(max_series=1_000_000)
        self._counted: dict[tuple[object, ...], Series] = {}

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add to a counter, or observe a histogram."""
        # Several times in each request: found as the labels come, without sorting them.
        key = (metric, *labels.items())
        series = self._counted.get(key)
        if series is None:
            series = self.registry.find_or_create(metric, tuple(sorted(labels.items())))
            self._counted[key] = series
        series.observe(amount)

    def restore_state(
        self, state: RegistryState, table: LabelTable, metrics: Mapping[MetricName, Metric]
    ) -> None:
        """Take the series of a snapshot."""
        self.registry.restore_state(state, table, metrics)
        self._counted.clear()

    def render(self) -> bytes:
        """The text that ``/metrics`` answers."""
        return exposition.render(self.registry)

    def set_gauge(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge to a value that is kept elsewhere."""
        series = self.registry.find_or_create(metric, tuple(sorted(labels.items())))
        assert isinstance(series, Gauge)
        series.set(value)

    def set_total(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a counter to a total that is kept elsewhere."""
        series = self.registry.find_or_create(metric, tuple(sorted(labels.items())))
        assert isinstance(series, Counter)
        series.value = value
