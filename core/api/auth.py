"""API keys: where clients put them, and whether they are right."""

from hmac import compare_digest
from urllib.parse import parse_qs

from ..http.messages import Request


def offered_keys(request: Request) -> list[str]:
    """The keys that a request offers, in all places where it may.

    One place does not hide another: a proxy in front may set an Authorization of its own.
    Besides headers the query is read (``?api_key=``), because a beacon, which carries the
    last events of most views, cannot set headers.
    """
    keys = []
    authorization = request.headers.get("authorization", "").strip()
    if authorization:
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() == "bearer" and credentials:
            keys.append(credentials.strip())
        else:
            keys.append(authorization)
    for name in ("x-api-key", "x-api-token"):
        if key := request.headers.get(name, "").strip():
            keys.append(key)
    if "api_key=" in request.query:
        keys += parse_qs(request.query, max_num_fields=100).get("api_key", [])
    return keys


def is_authorized(request: Request, keys: tuple[str, ...]) -> bool:
    """Whether a request offers one of the keys, or none is needed."""
    if not keys:
        return True
    try:
        offered = offered_keys(request)
    except ValueError:  # more fields in the query than anybody needs
        return False
    # All keys are compared, each in constant time: the time taken tells nothing about them.
    matches = [
        compare_digest(key.encode("utf-8", "surrogatepass"), known.encode())
        for key in offered
        for known in keys
    ]
    return any(matches)
