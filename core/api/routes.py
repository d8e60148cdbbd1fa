"""Routes: which path and method leads where. One table."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Route(Enum):
    """Where a request leads; the values are the label values of the worker's own metrics."""

    EVENTS = "events"
    HEALTH = "health"
    READY = "ready"
    STATS = "stats"
    METRICS = "metrics"
    DASHBOARD = "dashboard"
    PREFLIGHT = "preflight"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route, its methods, and whether it needs a key."""

    route: Route
    methods: tuple[str, ...]
    needs_key: bool = False


ENDPOINTS: Final = {
    "/events": Endpoint(Route.EVENTS, ("POST",), needs_key=True),
    "/health": Endpoint(Route.HEALTH, ("GET", "HEAD")),
    "/ready": Endpoint(Route.READY, ("GET", "HEAD")),
    "/stats": Endpoint(Route.STATS, ("GET", "HEAD"), needs_key=True),
    "/metrics": Endpoint(Route.METRICS, ("GET", "HEAD")),
}

VERSIONS: Final = ("/v1", "/v2")
"""Prefixes under which every path exists as well; both serve both SDK generations."""


DASHBOARD: Final = Endpoint(Route.DASHBOARD, ("GET", "HEAD", "POST"))
"""``/`` and everything below ``/dashboard``, without versions; see ``api/dashboard``."""

_EXACT: Final = {
    version + path: endpoint for version in ("", *VERSIONS) for path, endpoint in ENDPOINTS.items()
}


def find_endpoint(path: str) -> Endpoint | None:
    """The endpoint of a path, with or without a version and a slash at the end."""
    if path in _EXACT:
        return _EXACT[path]
    if path in ("/", "/dashboard") or path.startswith("/dashboard/"):
        return DASHBOARD
    for version in VERSIONS:
        if path.startswith(version + "/"):
            path = path[len(version) :]
            break
    return ENDPOINTS.get(path.rstrip("/"))
