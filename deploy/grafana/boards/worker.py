"""Worker health: is everything taken, counted and delivered?"""

from boards import variables
from boards.board import Row, board
from boards.panels import Column, Limits, Panel, bars, graph, number, rows
from boards.promql import RANGE, STEP, Scope

ANY = Limits(0.5, 1)
"""One is too many."""

BELOW_ONE = Limits(1, 0.5)


def build(runbooks: str | None = None) -> str:
    """The dashboard as JSON."""
    scope = Scope('job=~"$job",instance=~"$instance"')
    return board(
        "worker",
        "Worker health",
        "Is everything that players send taken, counted and delivered?",
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
            Row("Several workers", _sharing(scope)),
        ],
        time="now-3h",
        refresh="30s",
        runbooks=runbooks,
    )


def _now(scope: Scope) -> list[Panel]:
    refused = scope.rate("openqoe_worker_events_rejected_total", over=RANGE)
    taken = scope.rate("openqoe_worker_events_accepted_total", over=RANGE)
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
            "Events taken",
            "Events accepted and counted.",
            scope.increase("openqoe_worker_events_accepted_total"),
            decimals=0,
        ),
        number(
            "Events refused",
            "Share of all events that could not be taken.",
            f"({refused} or 0 * {taken}) / ({taken} + ({refused} or 0 * {taken}) > 0)",
            unit="percentunit",
            decimals=2,
            limits=Limits(0.01, 0.05),
            alert="OpenQoEEventsRejected",
        ),
        number(
            "Oldest waiting",
            "Age of the oldest payload that waits for a destination.",
            f"max({scope.series('openqoe_worker_queue_age_seconds')})",
            unit="s",
            limits=Limits(60, 300),
            alert="OpenQoEDeliveryLate",
        ),
        number(
            "Given up",
            "Samples and log entries that were lost. Metrics that were only thinned are not.",
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
            "Batches of events only. 202 taken, 207 taken in part, 4xx thrown away by players, "
            "5xx sent again.",
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
            "Time of a request",
            "From a request's last byte until its answer was handed to the network.",
            [
                (scope.quantile(q, duration, 'route="events"', over=STEP), legend)
                for q, legend in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
            ],
            unit="s",
            alert="OpenQoERequestsFailing",
        ),
        graph(
            "Events a second",
            "Taken and refused.",
            [
                (scope.rate("openqoe_worker_events_accepted_total"), "taken"),
                (scope.rate("openqoe_worker_events_rejected_total", by="reason"), "{{reason}}"),
            ],
            alert="OpenQoEEventsRejected",
        ),
        bars(
            "What was wrong",
            "Events and batches refused, duplicates not counted again, fields ignored.",
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
                    "batches, too much work: {{reason}}",
                ),
                (scope.increase("openqoe_worker_batches_duplicate_total"), "duplicate batches"),
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
            "Oldest waiting, by destination",
            "Age of the oldest payload. While metrics cannot be delivered, only scraping shows it.",
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
            "Bytes waiting, by destination",
            "Limit: OPENQOE_OUTBOX_MAX_BYTES, or OPENQOE_QUEUE_MAX_BYTES in memory.",
            [(scope.sum("openqoe_worker_queue_bytes", by="destination"), "{{destination}}")],
            unit="bytes",
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Payloads waiting, by destination",
            "Requests that are ready to be sent.",
            [(scope.sum("openqoe_worker_queue_length", by="destination"), "{{destination}}")],
            alert="OpenQoEDeliveryLate",
        ),
        graph(
            "Requests to destinations a minute, by outcome",
            "delivered; rejected: the destination kept the good part; dropped: refused as a "
            "whole; split: too large; retried: not now.",
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
            "What destinations have taken.",
            [
                (
                    scope.rate("openqoe_worker_items_delivered_total", by="destination"),
                    "{{destination}}",
                )
            ],
        ),
        graph(
            "Bytes sent a second",
            "Compressed, repeated ones too.",
            [
                (
                    scope.rate("openqoe_worker_delivery_bytes_total", by="destination"),
                    "{{destination}}",
                )
            ],
            unit="binBps",
        ),
        rows(
            "Lost, refused",
            "Samples and log entries given up, by reason.",
            [("destination", "Destination"), ("reason", "Reason")],
            [
                Column(
                    "Given up",
                    scope.increase("openqoe_worker_dropped_total", by="destination, reason"),
                    decimals=0,
                )
            ],
            width=8,
            alert="OpenQoEDataDropped",
        ),
        rows(
            "In requests refused in part",
            "Samples and log entries in requests of which the destination kept the good ones.",
            [("destination", "Destination")],
            [
                Column(
                    "In such requests",
                    scope.increase("openqoe_worker_items_rejected_total", by="destination"),
                    decimals=0,
                )
            ],
            width=8,
            alert="OpenQoEItemsRefused",
        ),
        bars(
            "Put right, put off",
            "Log entries adjusted so that Loki takes them, and flushes of metrics that waited "
            "because their queue was full.",
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


def _cardinality(scope: Scope) -> list[Panel]:
    return [
        graph(
            "Series in memory",
            "Series as Prometheus counts them. Limit: OPENQOE_MAX_SERIES (200,000) a worker.",
            [(scope.sum("openqoe_worker_series_live", by="instance"), "{{instance}}")],
            alert="OpenQoESeriesOverflow",
        ),
        graph(
            "Values by dimension",
            "Values admitted (CARDINALITY_LIMITS); past the limit, values are hashed.",
            [
                (
                    f"max by (dimension) ({scope.series('openqoe_worker_cardinality')})",
                    "{{dimension}}",
                )
            ],
            alert="OpenQoECardinalityFolded",
        ),
        graph(
            "Views remembered",
            "Ended ones included. Limit: OPENQOE_MAX_VIEWS (1,000,000) a worker.",
            [(scope.sum("openqoe_worker_views_live", by="instance"), "{{instance}}")],
            alert="OpenQoEViewsForgotten",
        ),
        bars(
            "Limits reached",
            "Values folded by dimension; label sets that went to overflow series; views and "
            "batches forgotten early; label values cut; faults of governance.",
            [
                (
                    scope.increase("openqoe_worker_cardinality_folded_total", by="dimension")
                    + " > 0",
                    "folded: {{dimension}}",
                ),
                (scope.increase("openqoe_worker_series_overflowed_total"), "overflowed series"),
                (scope.increase("openqoe_worker_views_forgotten_total"), "views forgotten"),
                (scope.increase("openqoe_worker_batches_forgotten_total"), "batches forgotten"),
                (scope.increase("openqoe_worker_labels_shortened_total"), "labels cut"),
                (scope.increase("openqoe_worker_governance_faults_total"), "governance faults"),
            ],
            alert="OpenQoESeriesOverflow",
        ),
    ]


def _sharing(scope: Scope) -> list[Panel]:
    started = scope.series("openqoe_worker_start_time_seconds")
    return [
        graph(
            "Shared store reached",
            "1 while a worker reaches the store that it shares with others; nothing where there "
            "is none.",
            [(scope.series("openqoe_worker_kv_ok"), "{{instance}}")],
            most=1,
            alert="OpenQoESharedStoreAway",
        ),
        graph(
            "Batches waiting for the shared store",
            "Accepted, not counted yet.",
            [(scope.sum("openqoe_worker_kv_batches_waiting", by="instance"), "{{instance}}")],
            alert="OpenQoESharedStoreAway",
        ),
        graph(
            "Exchanges with the shared store a second",
            "By outcome.",
            [(scope.rate("openqoe_worker_kv_updates_total", by="outcome"), "{{outcome}}")],
            alert="OpenQoESharedStoreAway",
        ),
        graph(
            "Batches counted alone, a minute",
            "Counted without the store because it was away for too long: a view that two workers "
            "saw may count twice.",
            [(f"60 * {scope.rate('openqoe_worker_kv_batches_alone_total')}", "batches")],
            alert="OpenQoECountedAlone",
        ),
        rows(
            "Workers",
            "How long each has run, and its restarts in this time.",
            [("instance", "Worker")],
            [
                Column("Running for", f"time() - max by (instance) ({started})", "dtdurations"),
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
