"""What the core asks of the outside (effects), and what it is told in return (results).

An effect is a small frozen value that needs no further thought: a shell sends the body
to the URL, or runs the operations on the store, and hands the result back with
``Worker.complete(effect.id, result, now)``. A ``Notice`` is the one effect without a
result: something an operator should read in the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class RemoteWrite:
    """POST a Prometheus remote-write request.

    Attributes:
        id: Identifies the effect in ``Worker.complete``.
        destination: Name of the destination, as in metrics and logs ("mimir").
        url: Where to POST to.
        headers: All headers, credentials too; nothing is to be added.
        body: The body as sent on the wire.
    """

    id: int
    destination: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class LokiPush:
    """POST a Loki push request. The attributes are those of ``RemoteWrite``."""

    id: int
    destination: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AddMembers:
    """Add members to a set of bounded size; those that came first keep their place.

    The reply (``KvResult.replies``) is the set after the addition, as a tuple, oldest
    member first and at most ``limit`` long (None: unlimited).

    Attributes:
        key: The set's name.
        members: What to add; members that are in the set already keep their place.
        limit: How many members the set has at the most.
        day: The current day (days since the epoch). A member that nobody has added
            again on this day or the day before has left the set.
    """

    key: str
    members: tuple[str, ...]
    limit: int | None
    day: int


KvOperation = AddMembers


@dataclass(frozen=True, slots=True)
class KvUpdate:
    """Run operations on the shared key-value store, in order."""

    id: int
    operations: tuple[KvOperation, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the operator's log. It never holds a secret or a payload.

    Attributes:
        level: Severity.
        event: What happened, in a few constant words.
        fields: Details by name.
    """

    level: Literal["info", "warning", "error"]
    event: str
    fields: tuple[tuple[str, str | int | float], ...] = ()


Effect = RemoteWrite | LokiPush | KvUpdate | Notice


@dataclass(frozen=True, slots=True)
class HttpResult:
    """A destination answered.

    Attributes:
        status: The HTTP status code.
        headers: Response headers by lower-case name.
        body: The beginning of the response body (a few KB at the most).
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class NetworkFailure:
    """No answer came: refused, reset, timed out, name not found, TLS failure.

    Attributes:
        reason: What the runtime said of it.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class KvResult:
    """The store's replies, one for each operation of the ``KvUpdate``, in order."""

    replies: tuple[tuple[str, ...], ...]


Result = HttpResult | NetworkFailure | KvResult
