"""Answers about the worker itself: ``/health``, ``/ready``, ``/metrics``."""

from ..http.messages import Response
from ..metrics import exposition
from ..metrics.health_metrics import Health
from ..version import VERSION
from . import answers


def health_response(now: int) -> Response:
    """The process lives."""
    return answers.json_response(
        200,
        {
            "status": "healthy",
            "timestamp": now,
            "service": "openqoe-worker",
            "version": VERSION,
        },
    )


def readiness_response(*, draining: bool, storage_failure: str) -> Response:
    """Whether traffic may be sent here."""
    if draining:
        return answers.unavailable("Draining", answers.RETRY_AFTER_S)
    if storage_failure:
        return answers.unavailable("Storage is not available", answers.RETRY_AFTER_S)
    return answers.json_response(200, {"status": "ready"})


def metrics_response(health: Health) -> Response:
    """The worker's own metrics, as text."""
    return Response(200, (("Content-Type", exposition.CONTENT_TYPE),), health.render())
