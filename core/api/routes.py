"""Routes: the table from paths to endpoints."""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Route(Enum):
    """Route of a request; the values are label values of the worker's own metrics."""

    EVENTS = "events"
    CMCD = "cmcd"
    HEALTH = "health"
    READY = "ready"
    STATS = "stats"
    METRICS = "metrics"
    DASHBOARD = "dashboard"
    PREFLIGHT = "preflight"
    NONE = "none"


INGEST: Final = (Route.EVENTS, Route.CMCD)
"""Routes that accept batches."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route, its methods, and whether it requires an API key."""

    route: Route
    methods: tuple[str, ...]
    needs_key: bool = False


ENDPOINTS: Final = {
    "/events": Endpoint(Route.EVENTS, ("POST",), needs_key=True),
    "/cmcd": Endpoint(Route.CMCD, ("POST",), needs_key=True),
    "/health": Endpoint(Route.HEALTH, ("GET", "HEAD")),
    "/ready": Endpoint(Route.READY, ("GET", "HEAD")),
    "/stats": Endpoint(Route.STATS, ("GET", "HEAD"), needs_key=True),
    "/metrics": Endpoint(Route.METRICS, ("GET", "HEAD")),
}

VERSIONS: Final = ("/v1", "/v2")
"""Optional prefixes of every path; each serves both SDK generations, and CMCD."""

DASHBOARD: Final = Endpoint(Route.DASHBOARD, ("GET", "HEAD", "POST"))
"""``/`` and all paths below ``/dashboard``, without versions; see ``dashboard_access``."""

_EXACT: Final = {
    version + path: endpoint for version in ("", *VERSIONS) for path, endpoint in ENDPOINTS.items()
}


def find_endpoint(path: str) -> Endpoint | None:
    """Return the endpoint of a path; the path may have a version prefix and a trailing slash."""
    if path in _EXACT:
        return _EXACT[path]
    if path in ("/", "/dashboard") or path.startswith("/dashboard/"):
        return DASHBOARD
    for version in VERSIONS:
        if path.startswith(version + "/"):
            path = path[len(version) :]
            break
    return ENDPOINTS.get(path.rstrip("/"))
