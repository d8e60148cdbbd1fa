"""What the worker says of itself: ``/health``, ``/ready``, ``/metrics``, ``/stats``."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from openqoe.core.api import answers
from openqoe.core.delivery.queue import DeliveryQueue
from openqoe.core.governance.dimension import Dimension
from openqoe.core.http.messages import Response
from openqoe.core.ingest import Ingest
from openqoe.core.metrics import exposition
from openqoe.core.metrics.health import Health
from openqoe.core.version import VERSION


def healthy(now: int) -> Response:
    """The process lives."""
    return answers.reply(
        200,
        {
            "status": "healthy",
            "timestamp": now,
            "service": "openqoe-worker",
            "version": VERSION,
        },
    )


def ready(*, draining: bool, storage_failure: str) -> Response:
    """Whether traffic may be sent here."""
    if draining:
        return answers.unavailable("Draining", answers.RETRY_AFTER)
    if storage_failure:
        return answers.unavailable("Storage is not available", answers.RETRY_AFTER)
    return answers.reply(200, {"status": "ready"})


def metrics(health: Health) -> Response:
    """The worker's own metrics, as text."""
    return Response(200, (("Content-Type", exposition.CONTENT_TYPE),), health.render())


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
            return answers.failure(400, f"Unknown dimension: there are {', '.join(dimensions)}")
        values = ingest.governor.values(dimension.name, now)
        return answers.reply(
            200,
            {
                "dimension": dimension.name,
                "cardinality": len(values),
                "values": values[: answers.MAX_LISTED],
            },
        )
    return answers.reply(
        200,
        {
            "cardinality_limits": {name: _limit(d) for name, d in dimensions.items()},
            "worker_version": VERSION,
            "instance": instance,
            "cardinality": ingest.governor.cardinality(now),
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
