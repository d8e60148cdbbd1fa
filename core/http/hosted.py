"""Conversion of requests and responses for hosts with an HTTP server: WSGI, ASGI, serverless.

The host handles framing and malformed requests. The limits on the body and the rules about
responses without a body remain here.
"""

from collections.abc import Callable, Iterable

from .connection_limits import MemoryBudget, ignore_eviction
from .messages import Response
from .refusal import RefusedError


def join_headers(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers as ``Request`` requires them: names in lower case, repeated ones joined."""
    headers: dict[str, str] = {}
    for name, value in fields:
        name = name.lower()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class BodyCollector:
    """Collects the pieces of a body up to a limit, within a memory budget if there is one."""

    def __init__(self, limit: int, announced: int | None = None) -> None:
        """
        Args:
            limit: Maximum bytes of the body.
            announced: The Content-Length, or None.

        Raises:
            RefusedError: The Content-Length exceeds the limit.
        """
        self._limit = limit
        self._data = bytearray()
        self._announced = announced
        self._check(announced or 0)
        self._budget: MemoryBudget | None = None
        self._budgeted_bytes = 0
        self._started_at = 0
        self._on_eviction = ignore_eviction
        self._is_evicted = False

    def hold_budget(
        self, budget: MemoryBudget, head_bytes: int, now: int, on_eviction: Callable[[], None]
    ) -> None:
        """Count this request against a memory budget, until ``release``.

        Args:
            budget: The budget, shared with other requests.
            head_bytes: Size of the head.
            now: Current time, ms since the epoch.
            on_eviction: Called when this request is evicted to free memory; ``check_eviction``
                raises from then on.
        """
        self._budget, self._started_at, self._on_eviction = budget, now, on_eviction
        budget.holders.add(self)
        self._hold(head_bytes, now)

    def add(self, piece: bytes, now: int = 0) -> None:
        """Append a piece.

        Raises:
            RefusedError: The body exceeds the limit, or the budget is exhausted.
        """
        self._check(len(self._data) + len(piece))
        self._data += piece
        self._hold(len(piece), now)
        self.check_eviction()

    def check_eviction(self) -> None:
        """Raise RefusedError if the budget is exhausted and this request was evicted."""
        if self._is_evicted:
            raise RefusedError(503, "Too many requests at once")

    def body(self) -> bytes:
        """Return the complete body.

        Raises:
            RefusedError: The body is shorter than announced.
        """
        if len(self._data) < (self._announced or 0):
            raise RefusedError(400, "Request incomplete")
        return bytes(self._data)

    def release(self) -> None:
        """Release the memory."""
        self._data = bytearray()
        if self._budget is not None:
            self._budget.used -= self._budgeted_bytes
            self._budgeted_bytes = 0
            self._budget.holders.discard(self)

    def held_byte_ms(self, now: int) -> int:
        """Return the bytes held times the ms since the start of the request."""
        return self._budgeted_bytes * max(1, now - self._started_at)

    def evict(self, now: int) -> None:
        """Release the memory; the request is refused."""
        self._is_evicted = True
        self.release()
        self._on_eviction()

    def _hold(self, size: int, now: int) -> None:
        if self._budget is not None:
            self._budgeted_bytes += size
            self._budget.used += size
            self._budget.make_room(now)

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise RefusedError(413, "Request body too large")


def parse_content_length(text: str) -> int | None:
    """Parse the Content-Length that a host passes on; None if it is empty.

    Raises:
        RefusedError: The text is not a number of at most 18 digits.
    """
    text = text.strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RefusedError(400, "Invalid Content-Length")
    return int(text)


def to_host_response(response: Response, method: str) -> tuple[list[tuple[str, str]], bytes]:
    """Return the headers and the body of a response for a host.

    A response without content has no Content-Length; the response to HEAD has that of the omitted
    body (RFC 9110, 8.6).
    """
    headers = list(response.headers)
    if response.status not in (204, 304):
        headers.append(("Content-Length", str(len(response.body))))
    return headers, b"" if method == "HEAD" else response.body
