"""Routes: the table from paths to endpoints."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..access.api_key import Scope


class Route(Enum):
    """Route of a request; the values are label values of the worker's own metrics."""

    EVENTS = "events"
    CMCD = "cmcd"
    HEALTH = "health"
    READY = "ready"
    STATS = "stats"
    METRICS = "metrics"
    ERASE = "erase"
    DASHBOARD = "dashboard"
    PREFLIGHT = "preflight"
    NONE = "none"


INGEST: Final = (Route.EVENTS, Route.CMCD)
"""Routes that accept batches."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A route.

    Attributes:
        route: The route.
        methods: Its methods.
        needs_key: Whether it requires an API key, where any is configured.
        scope: The scope of that key.
        is_cross_origin: Whether pages of other origins may read its responses.
    """

    route: Route
    methods: tuple[str, ...]
    needs_key: bool = False
    scope: Scope = Scope.INGEST
    is_cross_origin: bool = True


ENDPOINTS: Final = {
    "/events": Endpoint(Route.EVENTS, ("POST",), needs_key=True),
    "/cmcd": Endpoint(Route.CMCD, ("POST",), needs_key=True),
    "/health": Endpoint(Route.HEALTH, ("GET", "HEAD")),
    "/ready": Endpoint(Route.READY, ("GET", "HEAD")),
    "/stats": Endpoint(
        Route.STATS, ("GET", "HEAD"), needs_key=True, scope=Scope.READ, is_cross_origin=False
    ),
    "/metrics": Endpoint(Route.METRICS, ("GET", "HEAD"), is_cross_origin=False),
    "/admin/erase": Endpoint(
        Route.ERASE, ("POST",), needs_key=True, scope=Scope.ADMIN, is_cross_origin=False
    ),
}

VERSIONS: Final = ("/v1", "/v2")
"""Optional prefixes of every path; each serves both SDK generations, and CMCD."""

DASHBOARD: Final = Endpoint(Route.DASHBOARD, ("GET", "HEAD", "POST"), is_cross_origin=False)
"""``/`` and all paths below ``/dashboard``, without versions; see ``dashboard_access``."""

_EXACT: Final = {
    version + path: endpoint for version in ("", *VERSIONS) for path, endpoint in ENDPOINTS.items()
}


NOT_CROSS_ORIGIN: Final = frozenset(
    endpoint.route.value
    for endpoint in (*ENDPOINTS.values(), DASHBOARD)
    if not endpoint.is_cross_origin
)
"""Routes whose responses get no CORS headers, as label values."""


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
