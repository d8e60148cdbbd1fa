"""A batch on its way from acceptance to effect.

Its states, in this order: received, journalled, claimed (only where several workers share a store),
applied. The answer is sent once the batch is journalled, because a journalled batch survives a
crash. While the shared store is away a batch is applied first and claimed later.

Decoded events take about ten times the memory of their bytes. Of many batches that wait only the
bytes are kept; decoding the same bytes at the same time gives the same events again.
"""

from collections.abc import Hashable
from typing import NamedTuple

from ..effects import Record
from ..http.messages import Request, Response
from .decoder import BatchDecoder, DecodedBatch

BODY_DIGEST_BYTES = 16
"""Length of the digest of a body. In that of a batch the one of its key, if any, precedes it."""


class OpenRequest(NamedTuple):
    """A request that has not been answered yet.

    Attributes:
        id: The shell's id of the request.
        request: The request.
        route: The value of its ``api.routes.Route``, for metrics.
        since: When it was received, ms since the epoch.
        is_relayed: Whether another worker of the host has relayed it and waits for the answer.
    """

    id: int
    request: Request
    route: str
    since: int
    is_relayed: bool = False


class Batch:
    """A batch that was accepted and is not applied everywhere yet.

    Attributes:
        record: The batch as the journal keeps it. Its body is empty once it is not needed.
        valid_events: Number of events that can be applied.
        received_events: Number of events in the body, invalid ones included.
        effect_id: Id of the effect that writes its record; 0 if nothing writes it.
        answers: Answers that wait for the record, each with its request.
        is_journalled: Whether a crash cannot lose it any more, or nothing is durable.
        entries: Its entries in the logs of its views, by view; None until it is computed.
        waiting_since: When the shared store was first asked about it, ms; None if never.
    """

    __slots__ = (
        *("_decoded", "answers", "effect_id", "entries", "is_journalled", "received_events"),
        *("record", "valid_events", "waiting_since"),
    )

    def __init__(self, record: Record, decoded: DecodedBatch, effect_id: int = 0) -> None:
        """
        Args:
            record: The batch as the journal keeps it.
            decoded: The events of the record's body.
            effect_id: Id of the effect that writes its record; 0 if nothing writes it.
        """
        self.record = record
        self.valid_events = len(decoded.events)
        self.received_events = decoded.event_count
        self.effect_id = effect_id
        self.answers: list[tuple[OpenRequest, Response]] = []
        self.is_journalled = not effect_id
        self.entries: dict[Hashable, bytes] | None = None
        self.waiting_since: int | None = None
        self._decoded: DecodedBatch | None = decoded

    def decode(self, decoder: BatchDecoder) -> DecodedBatch:
        """Return its events, decoding them again if only the bytes were kept."""
        if self._decoded is None:
            self._decoded = decoder.decode(self.record.body, self.record.at)
        return self._decoded

    @property
    def digests(self) -> tuple[bytes, ...]:
        """Its digest, and that of its idempotency key if it has one.

        The key comes first, so that the deduplication window evicts it first: a key without its
        batch would be a conflict.
        """
        digest = self.record.digest
        has_key = len(digest) > BODY_DIGEST_BYTES
        return (digest[:-BODY_DIGEST_BYTES], digest) if has_key else (digest,)

    def discard_events(self) -> None:
        """Keep only the bytes."""
        self._decoded = None

    def discard_body(self) -> None:
        """Keep only its identity: it has been applied."""
        record = self.record
        self._decoded = None
        self.record = Record(record.number, record.at, b"", record.country, record.digest)
