"""Accepts the batches that other workers of the host forward to this one.

A request holds many batches. It is answered once all of them are in the journal. If one could not
be written, the sender forwards the request again; the others are known by their digests then.
"""

from collections.abc import Sequence

from ..cluster.forwarding import ForwardedBatch
from ..effects import Respond
from ..http.messages import Response
from .ingest import Ingest

ACCEPTED = Response(204)
UNAVAILABLE = Response(503)
"""To another worker: it must try again, or do without."""


class _Request:
    """A request that waits for the journal."""

    __slots__ = ("failed", "id", "unwritten")

    def __init__(self, id: int) -> None:
        self.id = id
        self.unwritten = 0
        self.failed = False


class ForwardedBatches:
    """The requests of other workers."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._waiting: dict[int, list[_Request]] = {}  # by the effect that writes a record

    def accept(
        self, request_id: int, batches: Sequence[ForwardedBatch], now: int
    ) -> Respond | None:
        """Accept the batches of a request; returns its answer, or None if it has to wait."""
        if self._ingest.is_overloaded:
            return Respond(request_id, UNAVAILABLE)
        request = _Request(request_id)
        for batch in batches:
            effect_id = self._ingest.ingest_forwarded(batch, now)
            if effect_id:
                request.unwritten += 1
                self._waiting.setdefault(effect_id, []).append(request)
        return None if request.unwritten else Respond(request_id, ACCEPTED)

    def finish_record(self, effect_id: int, *, is_written: bool) -> list[Respond]:
        """Process the result of writing a record; returns the answers that waited for it."""
        finished = []
        for request in self._waiting.pop(effect_id, ()):
            request.unwritten -= 1
            request.failed |= not is_written
            if not request.unwritten:
                response = UNAVAILABLE if request.failed else ACCEPTED
                finished.append(Respond(request.id, response))
        return finished
