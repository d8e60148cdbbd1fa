"""API keys that a request offers, in headers and query."""

from urllib.parse import parse_qs

from ..http.messages import Request


def offered_keys(request: Request) -> list[str]:
    """Return the API keys in a request's headers and query.

    All places are read, because a proxy may add an Authorization header of its own. Beacons, which
    carry the last events of most views, cannot set headers and use the query (``?api_key=``).

    Raises:
        ValueError: The query has more than 100 fields.
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
    return keys + [utf8 for key in keys if (utf8 := _from_utf8(key))]


def _from_utf8(key: str) -> str:
    """Return the key of a header that was sent in UTF-8 and read as Latin-1; "" if it was not."""
    if key.isascii():
        return ""
    try:
        return key.encode("latin-1").decode()
    except UnicodeError:
        return ""


def offers_key(request: Request) -> bool:
    """Whether a request offers any key."""
    try:
        return bool(offered_keys(request))
    except ValueError:
        return True
