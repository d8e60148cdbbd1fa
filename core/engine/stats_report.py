"""The answer to ``/stats``: cardinality limits and counts, views, state of each destination."""

from dataclasses import asdict
from typing import Any
from urllib.parse import parse_qs

from ..api import answers
from ..delivery.queue_group import QueueGroup
from ..governance.dimension import Dimension
from ..http.messages import Response
from ..version import VERSION
from .components import Components


def stats(query: str, components: Components, instance: str, now: int) -> Response:
    """Report cardinality, views and delivery, or the values of one dimension (``?dimension=``)."""
    applier = components.applier
    dimensions = applier.governor.dimensions
    asked = parse_qs(query).get("dimension")
    if asked:
        dimension = dimensions.get(asked[-1])
        if dimension is None:
            return answers.error_response(
                400, f"Unknown dimension: there are {', '.join(dimensions)}"
            )
        values = applier.governor.admitted_values(dimension.name, now)
        return answers.json_response(
            200,
            {
                "dimension": dimension.name,
                "cardinality": len(values),
                "values": values[: answers.MAX_LISTED],
            },
        )
    return answers.json_response(200, overview(components, instance, now))


def overview(components: Components, instance: str, now: int) -> dict[str, Any]:
    """Return the state of a worker: cardinality, views, flushes and delivery."""
    applier, coordinator, pace = components.applier, components.coordinator, components.pace
    dimensions = applier.governor.dimensions
    return {
        "cardinality_limits": {name: _limit(d) for name, d in dimensions.items()},
        "worker_version": VERSION,
        "instance": instance,
        "cardinality": applier.governor.count_values(now),
        "series": {
            "live": applier.registry.size,
            "overflowed": applier.registry.overflowed,
        },
        "views": len(applier.recorder.views),
        "refused": components.ingest.rejected,
        "storage_failure": components.storage_failure or None,
        "shared_store": None if coordinator is None else coordinator.status(now),
        "flush_interval_ms": {"configured": pace.configured, "current": pace.interval},
        "destinations": [
            _destination(group, components, now) for group in components.delivery.groups
        ],
    }


def _destination(group: QueueGroup, components: Components, now: int) -> dict[str, Any]:
    shown = asdict(group.status(now))
    shown["is_behind"] = group.destination.name in components.pace.behind
    if group.destination.has_tenants and components.tenants.is_used:
        failing = [asdict(one) for one in group.failing_tenants(now)]
        shown["tenants"] = {"count": len(group.tenants), "failing": failing}
    return shown


def _limit(dimension: Dimension) -> dict[str, Any]:
    limit = dimension.limit
    shown: dict[str, Any] = {"action": limit.action, "max_cardinality": limit.max_cardinality}
    if limit.action == "bucket":
        shown["bucket_size"] = limit.bucket_size
    for member in ("allow", "deny"):
        if values := getattr(limit, member):
            shown[member] = sorted(values)
    return shown
