"""Effects, which the core asks a shell to carry out, and the results that it gets back.

An effect is a small frozen value: a shell sends the body to the URL, or runs the operations on the
store, and returns the result with ``Worker.complete(effect.id, result, now)``. Three effects have
no id and no result: ``Respond`` answers a request, a ``Notice`` is a line for the operator's log,
and ``Forget`` cleans the outbox.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import msgspec

from .http.messages import Response
from .kv import Operation, Reply

PayloadKind = Literal["metrics", "logs", "views", "batches"]
"""The content of a request to a destination; ``views`` are rows for the embedded store,
``batches`` are for another worker of the host."""


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """POST a payload to a destination.

    Attributes:
        id: Identifies the effect in ``Worker.complete``.
        destination: Name of the destination, as in metrics and logs ("mimir").
        url: Where to POST to.
        headers: All headers, credentials too; nothing is to be added.
        body: The body as sent on the wire.
        is_embedded: Whether it is for the embedded store instead of the network.
    """

    id: int
    destination: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    is_embedded: bool = False


@dataclass(frozen=True, slots=True)
class RemoteWrite(DeliveryRequest):
    """POST a Prometheus remote-write request."""


@dataclass(frozen=True, slots=True)
class LokiPush(DeliveryRequest):
    """POST a request to Loki: a push, or one of its delete API."""


@dataclass(frozen=True, slots=True)
class Forward(DeliveryRequest):
    """Pass batches to the worker of another slot on this host (``Worker.handle_peer``).

    The destination is the name of the slot's folder ("slot-1"); URL and headers are empty.
    """


@dataclass(frozen=True, slots=True)
class StoreViews:
    """Write rows of views into the embedded store. The attributes are those of ``RemoteWrite``."""

    id: int
    destination: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    is_embedded: bool = True


@dataclass(frozen=True, slots=True)
class KvUpdate:
    """Run operations on the shared key-value store, in order (``core/kv``)."""

    id: int
    operations: tuple[Operation, ...]


class Respond(msgspec.Struct, frozen=True, gc=False):
    """Answer a request. Whatever the answer acknowledges is safe.

    Attributes:
        request_id: The id that ``Worker.handle`` was called with. Each gets one answer.
        response: The answer.
    """

    request_id: int
    response: Response


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


class Record(msgspec.Struct, frozen=True, gc=False):
    """A batch as it was accepted: all that is needed to accept it once more after a crash.

    Attributes:
        number: Its place in the journal; numbers only grow.
        at: Time of arrival in ms since the epoch.
        body: The batch, not compressed.
        country: The viewer's country from a CDN's header.
        digest: Identifies the batch among duplicates: the digest of its idempotency key, if it has
            one, and that of its body as it was received.
        is_forwarded: Whether another worker accepted it and forwarded it to this one, which
            applies the events of its own views only.
    """

    number: int
    at: int
    body: bytes
    country: str | None
    digest: bytes
    is_forwarded: bool = False

    def __repr__(self) -> str:  # without the body, as that of all effects
        return f"Record(number={self.number}, at={self.at})"


@dataclass(frozen=True, slots=True)
class StoredPayload:
    """A payload as the outbox keeps it.

    Attributes:
        number: Identifies it in the outbox; numbers only grow.
        kind: Its content.
        headers: Headers that belong to the body; no credentials.
        body: The body as sent on the wire; empty if it was not loaded.
        size: Bytes of the body.
        items: Samples, log entries or rows of views in it.
        created: When it was flushed, ms since the epoch.
        thinnable: Whether a later payload of its kind repeats all that it says.
        destination: The name of the destination that it is for.
    """

    number: int
    kind: PayloadKind
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    size: int
    items: int
    created: int
    thinnable: bool
    destination: str


class DedupEntry(msgspec.Struct, frozen=True, gc=False):
    """An entry of the deduplication window: a batch that was accepted.

    Attributes:
        digest: Identifies the batch, or an idempotency key.
        at: When it was accepted, ms since the epoch.
        events: How many events it held.
    """

    digest: bytes
    at: int
    events: int


class Append(msgspec.Struct, frozen=True, gc=False):
    """Put a record into the journal, behind all others.

    Effects on the storage are carried out in the order in which they were given, but a record
    need not wait for a ``Persist`` before it.
    """

    id: int
    record: Record


@dataclass(frozen=True, slots=True)
class Persist:
    """Replace the snapshot, and update outbox, journal and deduplication window atomically.

    Attributes:
        id: Identifies the effect in ``Worker.complete``.
        snapshot: The new snapshot, which replaces the one before, in pieces: it may be large,
            and is best joined off the event loop.
        payloads: Payloads to add to the outbox.
        through: Records up to this number, itself included, are part of the snapshot and
            leave the journal.
        accepted: Batches journalled since the previous ``Persist``, for the deduplication window.
        accepted_since: Entries older than this time (ms) leave the deduplication window.
        max_accepted: How many entries the window holds at the most; the oldest leave first.
    """

    id: int
    snapshot: tuple[bytes, ...] = field(repr=False)
    payloads: tuple[StoredPayload, ...]
    through: int
    accepted: tuple[DedupEntry, ...]
    accepted_since: int
    max_accepted: int


@dataclass(frozen=True, slots=True)
class LoadPayload:
    """Read the body of a payload from the outbox."""

    id: int
    number: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove payloads from the outbox, some time soon. There is no result."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoadPage:
    """Make a page of the dashboard, from files and from the embedded store.

    Attributes:
        id: Identifies the effect.
        path: "/" or below "/dashboard/", without a query.
        query: The query's fields.
        worker_state: The content of ``/stats`` for the page about the worker's own health: what is
            in the embedded store may be late, if the queue is behind. None for other pages.
        orgs: Organisations whose data the page may show, sorted; None for all.
        hides_viewers: Whether the page must not show ids of viewers and sessions.
    """

    id: int
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    worker_state: Mapping[str, Any] | None = field(default=None, repr=False)
    orgs: tuple[str, ...] | None = None
    hides_viewers: bool = False


@dataclass(frozen=True, slots=True)
class RewriteStorage:
    """Remove what was deleted from the files of the outbox and snapshot, down to the last byte.

    The result is ``Stored``, or a ``StorageFailure`` if bytes may be left.
    """

    id: int


@dataclass(frozen=True, slots=True)
class Erasing:
    """A part of the erasure of a viewer. The result is ``Erased``.

    Attributes:
        id: Identifies the effect.
        org_id: The viewer's organisation.
        viewer_ids: The forms in which the viewer's id may be stored.
    """

    id: int
    org_id: str
    viewer_ids: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class EraseViewer(Erasing):
    """Delete the events and views of a viewer from the embedded store."""


@dataclass(frozen=True, slots=True)
class EraseInSlots(Erasing):
    """Ask the owners of all other slots of this host to erase a viewer.

    Each gets two requests (``Worker.handle_peer``): once all have answered the first one
    (``erasure.encode_request`` with ``only_forward``), so that no batch is between two of them,
    each gets the second.
    """


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """Read the file of API keys (the setting OPENQOE_KEYS_FILE)."""

    id: int


Delivery = RemoteWrite | LokiPush | StoreViews | Forward
StorageEffect = Append | Persist | LoadPayload | Forget | RewriteStorage
Effect = Respond | Delivery | KvUpdate | Notice | LoadPage | ReadKeys | Erasing | StorageEffect


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
        reason: The runtime's error message.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class KvResult:
    """The store's replies, one for each operation of the ``KvUpdate``, in order."""

    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class KvFailure:
    """The store did not carry out all operations of the ``KvUpdate``; some it may have.

    Attributes:
        reason: The cause, for the log.
    """

    reason: str


class Stored(msgspec.Struct, frozen=True, gc=False):
    """An ``Append`` or ``Persist`` is on disk, as safe as the durability asked for.

    Attributes:
        no_room: After a ``Persist``: why the journal has no room for a record all the same;
            "" if it has.
    """

    no_room: str = ""


@dataclass(frozen=True, slots=True)
class StorageFailure:
    """A storage effect had no effect at all.

    Attributes:
        reason: The cause, for the log.
        full: Whether there is no room left.
    """

    reason: str
    full: bool = False


@dataclass(frozen=True, slots=True)
class PayloadBody:
    """The body that ``LoadPayload`` asked for; None if the outbox does not have it."""

    body: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """The page that ``LoadPage`` asked for.

    Attributes:
        status: The HTTP status.
        headers: Content-Type, ETag and the like; the worker adds those of security.
        body: The content.
    """

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class KeysFile:
    """The file of API keys.

    Attributes:
        content: What it holds; None if it could not be read.
        reason: Why it could not be read, for the log.
    """

    content: bytes | None = field(repr=False)
    reason: str = ""


class ErasureStep(NamedTuple):
    """What an erasure did in one place.

    Attributes:
        place: Where.
        is_complete: Whether nothing of the viewer is left there.
        result: What was done, in words.
    """

    place: str
    is_complete: bool
    result: str


@dataclass(frozen=True, slots=True)
class Erased:
    """What ``EraseViewer`` or ``EraseInSlots`` did."""

    steps: tuple[ErasureStep, ...]


DeliveryResult = HttpResult | NetworkFailure | PayloadBody | StorageFailure
"""Of a ``Delivery``, or of a ``LoadPayload`` before it."""
StorageResult = Stored | StorageFailure | PayloadBody
Result = (
    HttpResult | NetworkFailure | KvResult | KvFailure | Page | KeysFile | Erased | StorageResult
)
