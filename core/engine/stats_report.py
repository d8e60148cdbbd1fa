"""The answer to ``/stats``: cardinality limits and counts, views, state of each destination."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from ..api import answers
from ..delivery.delivery_queue import DeliveryQueue
from ..governance.dimension import Dimension
from ..http.messages import Response
from ..version import VERSION
from .ingest import Ingest


def stats(
    query: str,
    ingest: Ingest,
    queues: Iterable[DeliveryQueue],
    shared: Mapping[str, object] | None,
    instance: str,
    now: int,
) -> Response:
    """Cardinality, sharing and delivery, or the values of one dimension (``?dimension=``)."""
    dimensions = ingest.governor.dimensions
    asked = parse_qs(query).get("dimension")
    if asked:
        dimension = dimensions.get(asked[-1])
        if dimension is None:
            return answers.error_response(
                400, f"Unknown dimension: there are {', '.join(dimensions)}"
            )
        values = ingest.governor.admitted_values(dimension.name, now)
        return answers.json_response(
            200,
            {
                "dimension": dimension.name,
                "cardinality": len(values),
                "values": values[: answers.MAX_LISTED],
            },
        )
    return answers.json_response(
        200,
        {
            "cardinality_limits": {name: _limit(d) for name, d in dimensions.items()},
            "worker_version": VERSION,
            "instance": instance,
            "cardinality": ingest.governor.count_values(now),
            "series": {
                "live": ingest.registry.size,
                "overflowed": ingest.registry.overflowed,
            },
            "views": len(ingest.meter.views),
            "refused": ingest.refused,
            "shared_store": shared,
            "destinations": [queue.status(now) for queue in queues],
        },
    )


def _limit(dimension: Dimension) -> dict[str, Any]:
    limit = dimension.limit
    shown: dict[str, Any] = {"action": limit.action, "max_cardinality": limit.max_cardinality}
    if limit.action == "bucket":
        shown["bucket_size"] = limit.bucket_size
    return shown
