"""Answers about the workers themselves, from their health metrics."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

from openqoe.core.config.cardinality_limits import CardinalityLimit

from .counter_increases import increases
from .gauge_values import readings
from .query_parameters import Scope
from .sample_reader import Reader

PREFIX: Final = "openqoe_worker_"

WorkerState = Mapping[str, Any]
"""The content of ``/stats`` of the worker that answers."""

WORKER_GAUGES: Final = (
    "build_info",
    "storage_ok",
    "series_live",
    "views_live",
    "kv_ok",
    "flush_interval_seconds",
)

QUEUE_GAUGES: Final = ("queue_length", "queue_bytes", "queue_age_seconds", "queue_behind")

LARGEST: Final = ("queue_age_seconds", "queue_behind")
"""Gauges of which the largest of all workers is shown, not the sum."""

DELIVERY_COUNTERS: Final = (
    "deliveries_total",
    "items_delivered_total",
    "items_rejected_total",
    "delivery_bytes_total",
    "dropped_total",
)

INTAKE_COUNTERS: Final = (
    "events_accepted_total",
    "events_rejected_total",
    "batches_rejected_total",
    "batches_duplicate_total",
)


def cardinality(
    reader: Reader, scope: Scope, lookback: int, limits: Mapping[str, CardinalityLimit]
) -> dict[str, Any]:
    """The number of admitted values of each dimension, and its limit.

    Workers that share a store admit the same values, so the largest number is shown.
    """
    scope = Scope(scope.since, scope.until, {})
    admitted: dict[str, float] = {}
    for reading in readings(reader, (PREFIX + "cardinality",), scope, lookback, ("dimension",)):
        name = str(reading.labels[0])
        admitted[name] = max(admitted.get(name, 0.0), reading.value)
    folded: dict[str, float] = defaultdict(float)
    for one in increases(reader, (PREFIX + "cardinality_folded_total",), scope, ("dimension",)):
        folded[str(one.labels[0])] += one.amount
    return {
        "dimensions": [
            {
                "dimension": name,
                "action": limit.action,
                "limit": limit.max_cardinality,
                "admitted": admitted.get(name),
                "folded": folded[name],
            }
            for name, limit in limits.items()
        ]
    }


def delivery(
    reader: Reader, scope: Scope, lookback: int, own: WorkerState | None = None
) -> dict[str, Any]:
    """The state of each destination and worker, and the rate of accepted events.

    Args:
        reader: The store.
        scope: Range and filters.
        lookback: How long a sample is valid at most, in ms.
        own: The current state of this worker. What the store holds of it comes through the queues,
            so it is late exactly when they are. None: use the store.
    """
    scope = Scope(scope.since, scope.until, {})
    destinations: dict[str, dict[str, Any]] = {}

    def of(name: object) -> dict[str, Any]:
        return destinations.setdefault(
            str(name),
            {
                "destination": str(name),
                "queue_length": 0.0,
                "queue_bytes": 0.0,
                "queue_age_seconds": 0.0,
                "queue_behind": 0.0,
                "requests": {},
                "items_delivered": 0.0,
                "items_rejected": 0.0,
                "bytes": 0.0,
                "dropped": {},
            },
        )

    gauges = tuple(PREFIX + name for name in QUEUE_GAUGES)

    def add_gauge(found: dict[str, Any], name: str, value: float) -> None:
        found[name] = max(found[name], value) if name in LARGEST else found[name] + value

    for reading in readings(reader, gauges, scope, lookback, ("destination", "instance")):
        destination, instance = reading.labels
        if own is None or instance != own["instance"]:
            add_gauge(of(destination), reading.name.removeprefix(PREFIX), reading.value)
    for queue in () if own is None else own["destinations"]:
        found = of(queue["destination"])
        add_gauge(found, "queue_length", queue["payloads"])
        add_gauge(found, "queue_bytes", queue["bytes"])
        add_gauge(found, "queue_age_seconds", (queue["oldest_age"] or 0) / 1000)
        add_gauge(found, "queue_behind", queue["is_behind"])
    counters = tuple(PREFIX + name for name in DELIVERY_COUNTERS)
    for one in increases(reader, counters, scope, ("destination", "outcome", "reason")):
        destination, outcome, reason = one.labels
        found, name = of(destination), one.name.removeprefix(PREFIX)
        if name == "deliveries_total":
            found["requests"][str(outcome)] = one.amount
        elif name == "dropped_total":
            found["dropped"][str(reason)] = one.amount
        elif name == "delivery_bytes_total":
            found["bytes"] += one.amount
        else:
            found[name.removesuffix("_total")] += one.amount
    return {
        "destinations": [destinations[name] for name in sorted(destinations)],
        "workers": _workers(reader, scope, lookback, own),
        "intake": _intake(reader, scope),
    }


def _workers(
    reader: Reader, scope: Scope, lookback: int, own: WorkerState | None
) -> list[dict[str, Any]]:
    workers: dict[str, dict[str, Any]] = {}
    gauges = tuple(PREFIX + name for name in WORKER_GAUGES)
    for reading in readings(reader, gauges, scope, lookback, ("instance", "version")):
        instance, version = reading.labels
        worker = workers.setdefault(
            str(instance),
            {
                "instance": str(instance),
                "version": None,
                "storage_ok": None,
                "shared_store_ok": None,
                "series": None,
                "views": None,
                "flush_interval_seconds": None,
            },
        )
        name = reading.name.removeprefix(PREFIX)
        if name == "build_info":
            worker["version"] = version
        elif name == "storage_ok":
            worker["storage_ok"] = bool(reading.value)
        elif name == "kv_ok":
            worker["shared_store_ok"] = bool(reading.value)
        else:
            worker[name.removesuffix("_live")] = reading.value
    if own is not None:
        interval, shared_store = own["flush_interval_ms"], own["shared_store"]
        workers[own["instance"]] = {
            "instance": own["instance"],
            "version": own["worker_version"],
            "storage_ok": own["storage_failure"] is None,
            "shared_store_ok": None if shared_store is None else not shared_store["failure"],
            "series": own["series"]["live"],
            "views": own["views"],
            "flush_interval_seconds": interval["current"] / 1000,
        }
    return [workers[name] for name in sorted(workers)]


def _intake(reader: Reader, scope: Scope) -> dict[str, Any]:
    counters = tuple(PREFIX + name for name in INTAKE_COUNTERS)
    totals: dict[str, float] = dict.fromkeys(
        (name.removesuffix("_total") for name in INTAKE_COUNTERS), 0.0
    )
    reasons: dict[str, float] = defaultdict(float)
    for one in increases(reader, counters, scope, ("reason",)):
        totals[one.name.removeprefix(PREFIX).removesuffix("_total")] += one.amount
        if one.labels[0] is not None and one.amount:
            reasons[str(one.labels[0])] += one.amount
    return {**totals, "reasons": dict(sorted(reasons.items(), key=lambda item: -item[1]))}
