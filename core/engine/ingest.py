"""The way in: from a request with events to an accepted batch, its record and its answer.

The steps, each in a module of its own:

    shed       core/engine/load_shedding    has the request waited too long?
    content    core/api                     content type and coding
    dedup      core/engine/dedup            was this batch accepted before?
    decode     core/events                  bytes to good events and faults
    queue      core/events/batch_queue      the batch waits for the journal, and to be applied
    apply      core/engine/batch_applier    series and log entries

A batch is answered once its record is in the journal, and applied then: so if the record cannot be
written, the batch has had no effect, and its sender is asked to send it again.
"""

from ..api import answers, auth, content
from ..api.body_formats import BODY_FORMATS
from ..cluster.coordinator import Coordinator
from ..config.worker_config import Config
from ..effects import DedupEntry, Record
from ..events.batch import Batch, OpenRequest
from ..events.batch_queue import BatchQueue
from ..events.faults import NotCmcdError, NotJsonError, WrongShapeError
from ..http.messages import Request, Response
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from .batch_applier import BatchApplier
from .dedup import DedupWindow, digest_of, digest_of_key, digest_of_pair
from .durability import Durability
from .effect_ids import EffectIds
from .load_shedding import LoadShedder

UNITS_PER_EVENT = 5
"""Units of incremental work that it takes to apply one event."""

Answer = tuple[OpenRequest, Response]
"""A request and its answer."""


class Ingest:
    """Accepts batches of events.

    Attributes:
        dedup: The batches accepted lately.
        rejected: Batches rejected since the start because of too much work, by reason.
        journalled_events: Events that may be applied from now on, since the start (grows only).
    """

    def __init__(
        self,
        config: Config,
        ids: EffectIds,
        health: Health,
        queue: BatchQueue,
        applier: BatchApplier,
        durability: Durability | None,
        coordinator: Coordinator | None,
    ) -> None:
        self._config = config
        self._ids = ids
        self._health = health
        self._queue = queue
        self._applier = applier
        self._durability = durability
        self._coordinator = coordinator
        self._shedder = LoadShedder(config.max_wait)
        self._numbers = 0  # of batches, where there is no journal that numbers them
        self._country_headers = tuple(name.lower() for name in config.country_headers)
        self.dedup = DedupWindow(config.dedup_window, config.dedup_max)
        self.rejected: dict[str, int] = {}
        self.journalled_events = 0

    def ingest_request(self, opened: OpenRequest, now: int) -> Response | None:
        """Accept the batch of a request.

        Args:
            opened: The request.
            now: Current time in ms.

        Returns:
            The answer; None if it has to wait for the journal (see ``finish_record``).
        """
        request = opened.request
        elapsed = max(0, now - request.first_byte_at) if request.first_byte_at else 0
        if reason := self._overload_reason(request, now):
            self.rejected[reason] = self.rejected.get(reason, 0) + 1
            self._health.count(health_metrics.REFUSED, reason=reason)
            return answers.unavailable("Overloaded", answers.RETRY_AFTER_S)
        body_format = BODY_FORMATS[opened.route]
        try:
            body = body_format.read_body(request, self._config)
        except content.RefusedContentError as refused:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="content")
            return answers.error_response(refused.status, str(refused))
        # Before the search for duplicates: the disk may fail for the record of the first one.
        if self._durability is not None and self._durability.failure:
            return answers.unavailable("Storage is not available", answers.RETRY_AFTER_S)
        digest, pair_digest = self._digests(request, body)
        known = self.dedup.find(digest, now)
        if known is not None:
            if pair_digest and self.dedup.find(pair_digest, now) is None:
                self._health.count(health_metrics.BATCHES_REJECTED, reason="idempotency_key")
                return answers.error_response(422, "Idempotency-Key was used with another body")
            self._health.count(health_metrics.DUPLICATES)
            first = self._queue.find_unjournalled(digest)
            response = body_format.accepted(known, elapsed)
            if first is None:
                return response
            first.answers.append((opened, response))
            return None
        try:
            decoded = self._applier.decoder.decode(body, now)
        except NotJsonError as error:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="not_json")
            return answers.not_json(str(error) if body else "the body is empty")
        except WrongShapeError as error:
            self._health.count(health_metrics.BATCHES_REJECTED, reason=error.fault.reason)
            return answers.invalid((error.fault,))
        except NotCmcdError as error:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="not_cmcd")
            status = 413 if error.is_too_large else 400
            return answers.error_response(status, f"Not a body of CMCD records: {error}")
        response = body_format.answer(decoded, elapsed)
        if not decoded.events:
            self._applier.count_events(decoded)
            return response
        country = self._country(request)
        if self._durability is None:
            self._numbers += 1
            batch = Batch(Record(self._numbers, now, body, country, digest), decoded)
        else:
            effect_id = self._ids.issue()
            record = self._durability.append(effect_id, now, body, country, digest)
            batch = Batch(record, decoded, effect_id)
            batch.answers.append((opened, response))
        batch.pair_digest = pair_digest
        self._remember(batch, now)
        self._queue.add(batch)
        if self._durability is not None:
            return None
        self._note_journalled(batch, now)
        return response

    def _digests(self, request: Request, body: bytes) -> tuple[bytes, bytes]:
        """Return the digest that identifies a batch, and that of its key and body together.

        The client's own key identifies a batch; without one, its bytes do, and the second digest
        is empty.
        """
        key = request.headers.get("idempotency-key")
        if not key:
            return digest_of(body), b""
        api_keys = auth.matching_keys(request, self._config.api_keys)
        digest = digest_of_key(key, api_keys[0] if api_keys else "")
        return digest, digest_of_pair(digest, body)

    def finish_record(self, effect_id: int, *, is_written: bool, now: int) -> list[Answer]:
        """Process the result of writing a record.

        Returns:
            The answers that waited for it.
        """
        batch = self._queue.find_by_effect(effect_id)
        if batch is None:
            return []
        waiting, batch.answers = batch.answers, []
        if is_written:
            self._queue.mark_journalled(batch)
            self._note_journalled(batch, now)
            return waiting
        self._queue.remove(batch)
        self.dedup.forget(batch.record.digest)
        failed = answers.unavailable("Storage is not available", answers.RETRY_AFTER_S)
        return [(opened, failed) for opened, _ in waiting]

    def replay(self, record: Record) -> None:
        """Accept a batch of the journal once more.

        Raises:
            ValueError: It is no batch that this version accepts.
        """
        decoded = self._applier.decoder.decode(record.body, record.at)
        batch = Batch(record, decoded)
        self._queue.add(batch)
        if record.digest != digest_of(record.body):
            batch.pair_digest = digest_of_pair(record.digest, record.body)
        self._remember(batch, record.at)
        self._note_journalled(batch, record.at)
        if self._coordinator is None:
            self.apply_waiting(batch.valid_events * UNITS_PER_EVENT)

    def _remember(self, batch: Batch, at: int) -> None:
        for digest in batch.digests:
            self.dedup.remember(digest, batch.received_events, at)

    def _note_journalled(self, batch: Batch, now: int) -> None:
        record = batch.record
        self.journalled_events += batch.valid_events
        if self._durability is not None:
            for digest in batch.digests:
                entry = DedupEntry(digest, record.at, batch.received_events)
                self._durability.remember(entry)
        if self._coordinator is not None:
            self._coordinator.note_journalled(batch, now)

    def apply_waiting(self, units: int) -> int:
        """Apply journalled batches, oldest first, unless a flush holds them.

        Args:
            units: Units of work after which to stop.

        Returns:
            Units of work that were done.
        """
        done = 0
        while done < units and (batch := self._queue.next_to_apply()) is not None:
            self._applier.apply(batch)
            self._queue.mark_applied()
            done += batch.valid_events * UNITS_PER_EVENT
        return done

    def _overload_reason(self, request: Request, now: int) -> str:
        """Return why a batch is rejected unread; "" if it is not. Rejecting must cost little."""
        if request.last_byte_at and self._shedder.sheds(request.last_byte_at, now):
            return "wait"
        if self._queue.bytes > self._config.max_waiting_bytes:
            return "bytes"
        if self._coordinator is not None and self._coordinator.is_behind:
            return "store"
        return ""

    def _country(self, request: Request) -> str | None:
        """Return the viewer's country from a CDN's header; "XX" and "T1" mean unknown."""
        for name in self._country_headers:
            if name in request.headers:
                value = request.headers[name].strip().upper()
                if value and value not in ("XX", "T1"):
                    return value[: self._config.max_id_length]
        return None
