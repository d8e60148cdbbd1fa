"""Responses about the worker itself: ``/health``, ``/ready``, ``/metrics``."""

from collections.abc import Sequence

from ..http.messages import Response
from ..metrics import exposition
from ..metrics.health_metrics import Health
from ..version import VERSION
from . import answers


def health_response(now: int) -> Response:
    """200: the process is alive. ``now`` is in ms since the epoch."""
    content = {
        "status": "healthy",
        "timestamp": now,
        "service": "openqoe-worker",
        "version": VERSION,
    }
    return answers.json_response(200, content)


def readiness_response(
    *,
    draining: bool,
    storage_failure: str,
    behind: Sequence[str] = (),
    stretched_interval: int | None = None,
) -> Response:
    """200 if the worker accepts traffic, 503 while it drains or its storage fails.

    Args:
        draining: Whether the process is about to stop.
        storage_failure: Why nothing can be written; "" if it can.
        behind: Destinations whose queues grow. The worker accepts traffic all the same.
        stretched_interval: The flush interval (ms) if the configured one cannot be kept.
    """
    if draining:
        return answers.unavailable("Draining", answers.RETRY_AFTER_S)
    if storage_failure:
        return answers.unavailable("Storage is not available", answers.RETRY_AFTER_S)
    content: dict[str, object] = {"status": "ready"}
    if behind:
        content["behind"] = behind
    if stretched_interval is not None:
        content["flush_interval_seconds"] = stretched_interval / 1000
    return answers.json_response(200, content)


def metrics_response(health: Health, *, with_details: bool) -> Response:
    """200: the worker's own metrics in the text exposition format.

    Args:
        health: The metrics.
        with_details: Whether to include series that name customers (by their keys).
    """
    headers = (("Content-Type", exposition.CONTENT_TYPE),)
    return Response(200, headers, health.render(with_details=with_details))
