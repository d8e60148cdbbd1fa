"""Worker health: ingestion, counting and delivery of events."""

from boards import variables
from boards.board import Row, board
from boards.panels import Column, Limits, Panel, bars, graph, number, rows
from boards.promql import RANGE, STEP, Scope

ANY = Limits(0.5, 1)
"""Any value above 0 is bad."""

BELOW_ONE = Limits(1, 0.5)


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope('job=~"$job",instance=~"$instance"')
    return board(
        "worker",
        "Worker health",
        "Ingestion, counting and delivery of the events that players send.",
        [
            variables.source(),
            variables.way_of_health(),
            variables.metric_label(
                "instance", "Worker", "openqoe_worker_build_info", narrowed=("job",)
            ),
        ],
        [
            Row("Now", _now(scope)),
            Row("Requests", _requests(scope)),
            Row("Delivery", _delivery(scope)),
            Row("Cardinality and memory", _cardinality(scope)),
            Row("Several workers", _shared_store(scope)),
        ],
        time="now-3h",
        refresh="30s",
        runbooks=runbooks,
    )


def _now(scope: Scope) -> list[Panel]:
    refused = scope.rate("openqoe_worker_events_rejected_total", over=RANGE)
    accepted = scope.rate("openqoe_worker_events_accepted_total", over=RANGE)
    lost = scope.increase("openqoe_worker_dropped_total", 'reason!="thinned"')
    return [
        number(
            "Workers",
            "Workers that report.",
            f"count({scope.series('openqoe_worker_build_info')})",
            decimals=0,
            limits=BELOW_ONE,
            alert="OpenQoENoData",
        ),
        number(
            "Events accepted",
            "Events accepted and counted.",
            scope.increase("openqoe_worker_events_accepted_total"),
            decimals=0,
        ),
        number(
            "Events refused",
            "Fraction of all events that were refused.",
            f"({refused} or 0 * {accepted}) / ({accepted} + ({refused} or 0 * {accepted}) > 0)",
            unit="percentunit",
            decimals=2,
            limits=Limits(0.01, 0.05),
            alert="OpenQoEEventsRejected",
        ),
        number(
            "Delivery delay",
            "Age of the oldest payload in the delivery queues.",
            f"max({scope.series('openqoe_worker_queue_age_seconds')})",
            unit="s",
            limits=Limits(60, 300),
            alert="OpenQoEDeliveryLate",
        ),
        number(
            "Dropped",
            "Samples and log entries that were lost. Thinned metrics are not lost.",
            f"{lost} or vector(0)",
            decimals=0,
            limits=ANY,
            alert="OpenQoEDataDropped",
        ),
        number(
            "Disk",
            "1 while every worker can write its journal and outbox.",
            f"min({scope.series('openqoe_worker_storage_ok')})",
            limits=BELOW_ONE,
            alert="OpenQoEStorageFailing",
        ),
    ]


def _requests(scope: Scope) -> list[Panel]:
    duration = "openqoe_worker_request_duration_seconds"
    return [
        graph(
            "Requests a second, by status",
            "Event batches only. 202: accepted; 207: accepted in part; 4xx: players discard the "
            "batch; 5xx: players resend it.",
            [
                (
                    scope.rate("openqoe_worker_requests_total", 'route="events"', by="status"),
                    "{{status}}",
                )
            ],
            stacked=True,
            alert="OpenQoERequestsRefused",
        ),
        graph(
            "Request duration",
            "Time from the last byte of a request until its response is passed to the network.",
            [
                (scope.quantile(q, duration, 'route="events"', over=STEP), legend)
                for q, legend in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ],
            unit="s",
            alert="OpenQoERequestsFailing",
        ),
        graph(
            "Events a second",
            "Accepted events, and refused events by reason.",
            [
                (scope.rate("openqoe_worker_events_accepted_total"), "accepted"),
                (scope.rate("openqoe_worker_events_rejected_total", by="reason"), "{{reason}}"),
            ],
            alert="OpenQoEEventsRejected",
        ),
        bars(
            "Refused and ignored",
            "Refused events and batches, duplicate batches, wrong clocks, ignored fields.",
            [
                (
                    scope.increase("openqoe_worker_events_rejected_total", by="reason"),
                    "events: {{reason}}",
                ),
                (
                    scope.increase("openqoe_worker_batches_rejected_total", by="reason"),
                    "batches: {{reason}}",
                ),
                (
                    scope.increase("openqoe_worker_requests_refused_total", by="reason"),
                    "batches, overload: {{reason}}",
                ),
                (scope.increase("openqoe_worker_batches_duplicate_total"), "duplicate batches"),
                (
                    scope.increase("openqoe_worker_clock_corrected_total"),
                    "batches: clock corrected",
                ),
                (
                    scope.increase("openqoe_worker_events_thinned_total") + " or vector(0)",
                    "events: thinned by a key",
                ),
                (
                    scope.increase("openqoe_worker_fields_ignored_total", by="field"),
                    "ignored: {{field}}",
                ),
            ],
            alert="OpenQoEEventsRejected",
        ),
    ]


def _delivery(scope: Scope) -> list[Panel]:
    return [
        graph(
            "Delivery delay, by destination",
            "Age of the oldest queued payload. While metrics cannot be delivered, only scraping "
            "shows it.",
            [
                (
                    f"max by (destination) ({scope.series('openqoe_worker_queue_age_seconds')})",
                    "{{destination}}",
                )
            ],
            unit="s",
            limits=Limits(60, 300),
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Queues that grow, by destination",
            "1 while the oldest payload has waited for more than three flush intervals.",
            [
                (
                    f"max by (destination) ({scope.series('openqoe_worker_queue_behind')})",
                    "{{destination}}",
                )
            ],
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Flush interval, by worker",
            "Longer than OPENQOE_FLUSH_INTERVAL while flushes or deliveries take too long for it.",
            [
                (
                    f"max by (instance) ({scope.series('openqoe_worker_flush_interval_seconds')})",
                    "{{instance}}",
                )
            ],
            unit="s",
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Queued bytes, by destination",
            "Limit: OPENQOE_OUTBOX_MAX_BYTES, or OPENQOE_QUEUE_MAX_BYTES in memory.",
            [(scope.sum("openqoe_worker_queue_bytes", by="destination"), "{{destination}}")],
            unit="bytes",
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Tenants, and those that fail by destination",
            "Organisations with a tenant of their own have a queue of their own. "
            "`/stats` names the tenants that fail. Refused: organisations that share the default "
            "tenant, because there are 200 tenants or no tenant may have their name.",
            [
                (f"max({scope.series('openqoe_worker_tenants')}) or vector(0)", "tenants"),
                (
                    f"max by (destination) ({scope.series('openqoe_worker_tenants_failing')})"
                    " or vector(0)",
                    "{{destination}} failing",
                ),
                (
                    scope.increase("openqoe_worker_tenants_refused_total", by="reason")
                    + " or vector(0)",
                    "refused: {{reason}}",
                ),
            ],
            width=24,
        ),
        graph(
            "Queued payloads, by destination",
            "Requests in the delivery queue.",
            [(scope.sum("openqoe_worker_queue_length", by="destination"), "{{destination}}")],
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Requests to destinations a minute, by outcome",
            "delivered; rejected: the destination stored the valid part; dropped: refused "
            "completely; split: too large; retried: failed temporarily.",
            [
                (
                    "60 * "
                    + scope.rate("openqoe_worker_deliveries_total", by="destination, outcome"),
                    "{{destination}} {{outcome}}",
                )
            ],
            alert="OpenQoEItemsRefused",
        ),
        graph(
            "Samples and log entries delivered a second",
            "Samples and log entries that destinations accepted.",
            [
                (
                    scope.rate("openqoe_worker_items_delivered_total", by="destination"),
                    "{{destination}}",
                )
            ],
        ),
        graph(
            "Bytes sent a second",
            "Compressed size, retries included.",
            [
                (
                    scope.rate("openqoe_worker_delivery_bytes_total", by="destination"),
                    "{{destination}}",
                )
            ],
            unit="binBps",
        ),
        _counted(
            scope,
            "Dropped, by reason",
            "Samples and log entries that were dropped.",
            [("destination", "Destination"), ("reason", "Reason")],
            ("Dropped", "openqoe_worker_dropped_total"),
            alert="OpenQoEDataDropped",
        ),
        _counted(
            scope,
            "Partially refused requests",
            "Samples and log entries in requests of which the destination stored the valid part.",
            [("destination", "Destination")],
            ("Items", "openqoe_worker_items_rejected_total"),
            alert="OpenQoEItemsRefused",
        ),
        _counted(
            scope,
            "Missing records",
            "Acknowledged batches that a start did not find in the journal: a file was damaged, "
            "truncated or deleted.",
            [("instance", "Worker")],
            ("Batches", "openqoe_worker_records_missing_total"),
            alert="OpenQoERecordsMissing",
        ),
        bars(
            "Adjusted entries and held flushes",
            "Log entries adjusted to Loki's limits, and flushes of metrics that were postponed "
            "because the queue was full.",
            [
                (
                    scope.increase("openqoe_worker_log_entries_adjusted_total", by="reason"),
                    "log entries: {{reason}}",
                ),
                (
                    f"{scope.increase('openqoe_worker_flushes_held_total')} or vector(0)",
                    "flushes held",
                ),
            ],
            width=8,
            height=9,
        ),
    ]


def _counted(
    scope: Scope,
    title: str,
    text: str,
    labels: list[tuple[str, str]],
    counter: tuple[str, str],
    *,
    alert: str,
) -> Panel:
    """The increase of a counter by labels, a third of the width.

    Args:
        labels: Its labels with their titles.
        counter: Title of the column, and name of the metric.
    """
    name, metric = counter
    by = ", ".join(label for label, _ in labels)
    column = Column(name, scope.increase(metric, by=by), decimals=0)
    return rows(title, text, labels, [column], width=8, alert=alert)


def _cardinality(scope: Scope) -> list[Panel]:
    return [
        graph(
            "Series in memory",
            "Live series, as Prometheus counts them. Limit: OPENQOE_MAX_SERIES (200,000) per "
            "worker.",
            [(scope.sum("openqoe_worker_series_live", by="instance"), "{{instance}}")],
            alert="OpenQoESeriesOverflow",
        ),
        graph(
            "Values by dimension",
            "Admitted values (CARDINALITY_LIMITS); values over the limit are hashed.",
            [
                (
                    f"max by (dimension) ({scope.series('openqoe_worker_cardinality')})",
                    "{{dimension}}",
                )
            ],
            alert="OpenQoECardinalityFolded",
        ),
        graph(
            "Views in memory",
            "Ended views included. Limit: OPENQOE_MAX_VIEWS (1,000,000) per worker.",
            [(scope.sum("openqoe_worker_views_live", by="instance"), "{{instance}}")],
            alert="OpenQoEViewsForgotten",
        ),
        graph(
            "Live log streams",
            "Streams with a log entry in the last half hour. Loki limits the streams of all "
            "workers together (5,000 for each tenant by default); see docs/grafana.md.",
            [(scope.sum("openqoe_worker_log_streams", by="instance"), "{{instance}}")],
            stacked=True,
        ),
        bars(
            "Limits reached",
            "Folded values by dimension; label sets counted in overflow series; views and batches "
            "evicted early; shortened label values; faults of governance.",
            [
                (
                    scope.increase("openqoe_worker_cardinality_folded_total", by="dimension")
                    + " > 0",
                    "folded: {{dimension}}",
                ),
                (scope.increase("openqoe_worker_series_overflowed_total"), "overflowed series"),
                (scope.increase("openqoe_worker_views_forgotten_total"), "views evicted"),
                (scope.increase("openqoe_worker_batches_forgotten_total"), "batches evicted"),
                (scope.increase("openqoe_worker_labels_shortened_total"), "labels shortened"),
                (scope.increase("openqoe_worker_governance_faults_total"), "governance faults"),
            ],
            width=24,
            alert="OpenQoESeriesOverflow",
        ),
    ]


def _shared_store(scope: Scope) -> list[Panel]:
    started = scope.series("openqoe_worker_start_time_seconds")
    return [
        graph(
            "Shared store reachable",
            "1 while a worker reaches the shared store; absent without a shared store.",
            [(scope.series("openqoe_worker_kv_ok"), "{{instance}}")],
            most=1,
            alert="OpenQoESharedStoreAway",
        ),
        graph(
            "Batches waiting for the shared store",
            "Batches that are accepted but not counted yet.",
            [(scope.sum("openqoe_worker_kv_batches_waiting", by="instance"), "{{instance}}")],
            alert="OpenQoESharedStoreAway",
        ),
        graph(
            "Exchanges with the shared store a second",
            "Exchanges by outcome.",
            [(scope.rate("openqoe_worker_kv_updates_total", by="outcome"), "{{outcome}}")],
            alert="OpenQoESharedStoreAway",
        ),
        graph(
            "Batches counted alone, a minute",
            "Batches counted without the shared store after a long outage: a view that two workers "
            "saw may count twice.",
            [(f"60 * {scope.rate('openqoe_worker_kv_batches_alone_total')}", "batches")],
            alert="OpenQoECountedAlone",
        ),
        graph(
            "Events counted without their view, a minute",
            "Events of views with more than 128 batches in ten seconds, where workers share a "
            "store: a page probably sends one view_id for all viewers.",
            [(f"60 * {scope.rate('openqoe_worker_view_events_unfollowed_total')}", "events")],
        ),
        rows(
            "Workers",
            "Uptime of each worker, and its restarts in the selected time range.",
            [("instance", "Worker")],
            [
                Column("Uptime", f"time() - max by (instance) ({started})", "dtdurations"),
                Column(
                    "Restarts",
                    f"sum by (instance) (changes({started}[{RANGE}]))",
                    limits=Limits(1, 4),
                    decimals=0,
                ),
            ],
            alert="OpenQoERestartLoop",
        ),
        rows(
            "Versions",
            "The version that each worker runs.",
            [("instance", "Worker"), ("version", "Version")],
            [
                Column(
                    "Workers",
                    f"sum by (instance, version) ({scope.series('openqoe_worker_build_info')})",
                    decimals=0,
                )
            ],
        ),
    ]
