"""API keys: where clients put them, and whether they are right."""

from hmac import compare_digest
from urllib.parse import parse_qs

from openqoe.core.http.messages import Request


def offered_key(request: Request) -> str | None:
    """The key that a request offers.

    Besides headers the query is read (``?api_key=``), because a beacon, which carries the
    last events of most views, cannot set headers.
    """
    authorization = request.headers.get("authorization", "").strip()
    if authorization:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer" and credentials:
            return credentials.strip()
        return authorization
    for name in ("x-api-key", "x-api-token"):
        if key := request.headers.get(name, "").strip():
            return key
    if "api_key=" in request.query:
        return parse_qs(request.query, max_num_fields=100).get("api_key", [None])[-1]
    return None


def is_allowed(request: Request, keys: tuple[str, ...]) -> bool:
    """Whether a request offers one of the keys, or none is needed."""
    if not keys:
        return True
    try:
        key = offered_key(request)
    except ValueError:  # more fields in the query than anybody needs
        return False
    if key is None:
        return False
    offered = key.encode("utf-8", "surrogatepass")
    # All keys are compared, each in constant time: the time taken tells nothing about them.
    matches = [compare_digest(offered, known.encode()) for known in keys]
    return any(matches)
