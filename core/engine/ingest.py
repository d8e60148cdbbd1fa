"""The way in: from a request with events to an accepted batch, its record and its answer.

The steps, each in a module of its own:

    shed       core/engine/load_shedding    has the request waited too long?
    limit      core/access/key_limits       is the rate of its key exceeded?
    content    core/api                     content type and coding
    dedup      core/engine/dedup            was this batch accepted before?
    decode     core/events                  bytes to good events and faults
    screen     core/privacy                 organisations and sampling of the key, privacy
    queue      core/events/batch_queue      the batch waits for the journal, and to be applied
    apply      core/engine/batch_applier    series and log entries

A batch is answered once its record is in the journal, and applied then: so if the record cannot be
written, the batch has had no effect, and its sender is asked to send it again.
"""

from typing import NamedTuple

from msgspec.structs import replace

from ..access.key_limits import KeyLimits
from ..access.key_ring import Grant
from ..api import answers, content
from ..api.body_formats import BODY_FORMATS
from ..cluster.coordinator import Coordinator
from ..cluster.forwarding import ForwardedBatch, Forwarding
from ..config.worker_config import Config
from ..effects import DedupEntry, Notice, Record
from ..events.batch import Batch, OpenRequest
from ..events.batch_queue import BatchQueue
from ..events.cmcd_decoder import keep_records
from ..events.cmcd_target import is_wrapped
from ..events.decoder import DecodedBatch
from ..events.event_types import Event
from ..events.faults import Fault, NotCmcdError, NotJsonError, WrongShapeError
from ..events.foreign_events import REASON as FOREIGN
from ..events.foreign_events import reject_foreign_events
from ..events.slicing import join_events
from ..events.view_sampling import is_view_kept
from ..http.messages import Request, Response
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from ..privacy.rules import PrivacyRules
from ..qoe.view import view_key
from .batch_applier import BatchApplier
from .dedup import NEWCOMERS, DedupWindow, digest_of, digest_of_key, group_of
from .durability import Durability
from .effect_ids import EffectIds
from .load_shedding import LoadShedder

UNITS_PER_EVENT = 5
"""Units of incremental work that it takes to apply one event."""

Answer = tuple[OpenRequest, Response]
"""A request and its answer."""


class Screened(NamedTuple):
    """A batch after the rules of its key and of privacy.

    Attributes:
        body: The body for the journal.
        decoded: What decoding that body gives, with the number of events received.
        faults: The faults of all events.
        left_out: Valid events that the key's sampling has left out.
    """

    body: bytes
    decoded: DecodedBatch
    faults: tuple[Fault, ...]
    left_out: int


class Ingest:
    """Accepts batches of events.

    Attributes:
        dedup: The batches accepted lately.
        limits: Rates and quotas of keys.
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
        privacy: PrivacyRules,
        forwarding: Forwarding | None,
        notices: list[Notice],
    ) -> None:
        self._config = config
        self._privacy = privacy
        self._ids = ids
        self._health = health
        self._queue = queue
        self._applier = applier
        self._durability = durability
        self._coordinator = coordinator
        self._shedder = LoadShedder(config.max_wait)
        self._forwarding = forwarding
        self._numbers = 0  # of batches, where there is no journal that numbers them
        self._country_headers = tuple(name.lower() for name in config.country_headers)
        self.limits = KeyLimits(notices, config.limit_workers or 1)
        self.dedup = DedupWindow(config.dedup_window, config.dedup_max)
        self.rejected: dict[str, int] = {}
        self.journalled_events = 0

    def shed(self, request: Request, now: int) -> Response | None:
        """Return the answer to a request that is too much at present; None if it is not."""
        reason = self._overload_reason(request, now)
        if not reason:
            return None
        self._note_refusal(reason)
        return answers.unavailable("Overloaded", answers.RETRY_AFTER_S)

    def _note_refusal(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        self._health.count(health_metrics.REFUSED, reason=reason)

    def ingest_request(self, opened: OpenRequest, grant: Grant, now: int) -> Response | None:
        """Accept the batch of a request that is not too much at present (``shed``).

        Args:
            opened: The request.
            grant: The key that permits it.
            now: Current time in ms.

        Returns:
            The answer; None if it has to wait for the journal (see ``finish_record``).
        """
        request = opened.request
        elapsed = max(0, now - request.first_byte_at) if request.first_byte_at else 0
        if wait := self.limits.wait(grant.key, now):
            assert grant.key is not None
            if not opened.is_relayed:  # its receiver has a part of the rate, too
                self._health.count(health_metrics.REFUSED, reason="rate", key=grant.key.name)
            return answers.unavailable("Rate of this API key exceeded", -(-wait // 1000))
        body_format = BODY_FORMATS[opened.route]
        try:
            body = body_format.read_body(request, self._config, grant.orgs)
        except content.RefusedContentError as refused:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="content")
            return answers.error_response(refused.status, str(refused))
        # Before the search for duplicates: the disk may fail for the record of the first one.
        if self._durability is not None and self._durability.failure:
            return answers.unavailable("Storage is not available", answers.RETRY_AFTER_S)
        key_digest, digest = self._digests(request, grant, body)
        known = self.dedup.find(digest, now)
        if known is not None:
            self._health.count(health_metrics.DUPLICATES)
            first = self._queue.find_unjournalled(digest)
            response = body_format.accepted(known, elapsed)
            if first is None:
                return response
            first.answers.append((opened, response))
            return None
        if key_digest and self.dedup.find(key_digest, now) is not None:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="idempotency_key")
            return answers.error_response(422, "Idempotency-Key was used with another body")
        try:
            screened = self._screen(body, grant, now)
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
        body, decoded, faults, left_out = screened
        received = decoded.event_count
        if self._forwarding is not None and self._forwarding.is_blocked(decoded, digest):
            if not opened.is_relayed:  # its receiver may have room
                self._note_refusal("owner")
            return answers.unavailable("Overloaded", answers.RETRY_AFTER_S)
        if not decoded.events and not left_out:
            self._applier.count_faults(faults)
            return body_format.invalid(faults)
        self.limits.spend(grant.key, len(decoded.events) + left_out, now)
        self.limits.count(grant.key, len(decoded.events), now)
        if left_out:
            self._count_thinned(left_out, grant, now)
        if not decoded.events:
            self._applier.count_faults(faults)
            return body_format.thinned(received, left_out, elapsed)
        if faults:
            good = len(decoded.events) + left_out
            response = body_format.partially_accepted(received, good, faults, elapsed)
        elif left_out:
            response = body_format.thinned(received, left_out, elapsed)
        else:
            response = body_format.accepted(received, elapsed)
        if len(decoded.faults) < len(faults):  # those of the batch are counted when it is applied
            self._applier.count_faults(faults)
        country = self._country(request)
        if self._durability is None:
            self._numbers += 1
            batch = Batch(Record(self._numbers, now, body, country, digest), decoded)
        else:
            effect_id = self._ids.issue()
            record = self._durability.append(effect_id, now, body, country, digest)
            batch = Batch(record, decoded, effect_id)
            batch.answers.append((opened, response))
        self._remember(batch, now)
        self._queue.add(batch)
        if self._durability is not None:
            return None
        self._note_journalled(batch, now)
        return response

    def _screen(self, body: bytes, grant: Grant, now: int) -> Screened:
        """Decode a body and apply the rules of its key, and those of privacy.

        A replay knows neither the key nor, perhaps, the rules: so the body that is returned holds
        only what was accepted, and decoding it gives the same batch.

        Raises:
            NotJsonError: The body is not JSON.
            NotCmcdError: The body has no readable record of CMCD, or too many.
            WrongShapeError: It has no list of events, or one that is too long.
        """
        body = self._privacy.strip(body)
        decoded = self._applier.decoder.decode(body, now)
        if grant.orgs is not None:
            decoded = reject_foreign_events(decoded, grant.orgs)
        kept = self._thin(decoded.events, grant, now)
        left_out = len(decoded.events) - len(kept)
        if is_wrapped(body):
            if left_out:
                fraction = self.limits.fraction(grant.key, now)
                body = keep_records(body, lambda session: is_view_kept(session, fraction))
                batch = replace(decoded, events=kept, faults=())
                return Screened(body, batch, decoded.faults, left_out)
            return Screened(body, decoded, decoded.faults, 0)
        rewritten = self._privacy.rewrite(body, kept)
        if rewritten is not None and kept:
            events = self._applier.decoder.decode(rewritten, now).events
            batch = replace(decoded, events=events, faults=())
            return Screened(rewritten, batch, decoded.faults, left_out)
        if left_out or any(fault.reason == FOREIGN for fault in decoded.faults):
            reduced = join_events(line for _, line in kept)
            return Screened(
                reduced, replace(decoded, events=kept, faults=()), decoded.faults, left_out
            )
        return Screened(body, decoded, decoded.faults, 0)

    def _thin(
        self, events: tuple[tuple[Event, bytes], ...], grant: Grant, now: int
    ) -> tuple[tuple[Event, bytes], ...]:
        """Return the events of the views that the key's sampling keeps."""
        fraction = self.limits.fraction(grant.key, now)
        if fraction >= 1:
            return events
        return tuple(pair for pair in events if is_view_kept(pair[0].view_id, fraction))

    def _count_thinned(self, left_out: int, grant: Grant, now: int) -> None:
        assert grant.key is not None, "nothing is left out without a key"
        reason = "sample" if self.limits.fraction(grant.key, now) == grant.key.sample else "quota"
        key = grant.key.name
        self._health.count(health_metrics.THINNED, left_out, key=key, reason=reason)

    def _digests(self, request: Request, grant: Grant, body: bytes) -> tuple[bytes, bytes]:
        """Return the digest of the client's own key, if any, and the one that identifies the batch.

        Key and body together identify it. So a key that is used with another body never makes that
        a duplicate, wherever the two meet.
        """
        digest = digest_of(body)
        if key := request.headers.get("idempotency-key"):
            key_digest = digest_of_key(key, grant.text)
            return key_digest, key_digest + digest
        if grant.orgs is not None:
            # Keys of other organisations may send the same bytes, of which other events count.
            return b"", digest_of(digest_of("\0".join(sorted(grant.orgs)).encode()) + digest)
        return b"", digest

    def ingest_forwarded(self, forwarded: ForwardedBatch, now: int) -> int:
        """Accept a batch that another worker of the host has accepted.

        Returns:
            Id of the effect that makes it safe; 0 if nothing has to be waited for.
        """
        assert self._durability is not None, "only durable workers forward batches"
        if self.dedup.find(forwarded.digest, now) is not None:
            self._health.count(health_metrics.DUPLICATES)
            first = self._queue.find_unjournalled(forwarded.digest)
            return 0 if first is None else first.effect_id
        try:
            decoded = self._applier.decoder.decode(forwarded.body, forwarded.at)
        except ValueError:  # a worker of another version accepted it
            self._health.count(health_metrics.BATCHES_REJECTED, reason="forwarded")
            return 0
        effect_id = self._ids.issue()
        record = self._durability.append(
            effect_id,
            forwarded.at,
            forwarded.body,
            forwarded.country,
            forwarded.digest,
            is_forwarded=True,
        )
        batch = Batch(record, decoded, effect_id)
        self._remember(batch, now)
        self._queue.add(batch)
        return effect_id

    @property
    def is_overloaded(self) -> bool:
        """Whether no batch can be accepted from another worker."""
        has_failed = self._durability is None or bool(self._durability.failure)
        return has_failed or self._queue.bytes > self._config.max_waiting_bytes

    def finish_record(self, effect_id: int, *, is_written: bool, now: int) -> list[Answer] | None:
        """Process the result of writing a record.

        Returns:
            The answers that waited for it; None if the effect writes no record.
        """
        batch = self._queue.find_by_effect(effect_id)
        if batch is None:
            return None
        waiting, batch.answers = batch.answers, []
        if is_written:
            self._queue.mark_journalled(batch)
            self._note_journalled(batch, now)
            return waiting
        self._queue.remove(batch)
        for digest in batch.digests:
            self.dedup.forget(digest)
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
        self._remember(batch, record.at)
        self._note_journalled(batch, record.at)
        if self._coordinator is None:
            self.apply_waiting(batch.valid_events * UNITS_PER_EVENT)

    def _remember(self, batch: Batch, at: int) -> None:
        group = NEWCOMERS
        for event, _ in batch.decode(self._applier.decoder).events[:1]:
            if self._applier.recorder.views.is_established(view_key(event)):
                group = group_of(event.org_id, event.view_id)
        for digest in batch.digests:
            self.dedup.remember(digest, batch.received_events, at, group)

    def _note_journalled(self, batch: Batch, now: int) -> None:
        record = batch.record
        self.journalled_events += batch.valid_events
        if self._durability is not None:
            for digest in batch.digests:
                entry = DedupEntry(digest, record.at, batch.received_events)
                self._durability.remember(entry)
        if self._coordinator is not None:
            self._coordinator.note_journalled(batch, now)

    def apply_waiting(self, units: int, now: int | None = None) -> int:
        """Apply journalled batches, oldest first, unless a flush holds them.

        Args:
            units: Units of work after which to stop.
            now: Current time in ms; None in a replay.

        Returns:
            Units of work that were done.
        """
        done = 0
        while done < units and (batch := self._queue.next_to_apply()) is not None:
            self._applier.apply(batch, now)
            self._queue.mark_applied()
            done += batch.valid_events * UNITS_PER_EVENT
        return done

    def _overload_reason(self, request: Request, now: int) -> str:
        """Return why a batch is rejected unread; "" if it is not. Rejecting must cost little."""
        if request.last_byte_at and self._shedder.sheds(request.last_byte_at, now):
            return "wait"
        waiting = self._queue.bytes
        if self._forwarding is not None:
            waiting += self._forwarding.bytes
        if waiting > self._config.max_waiting_bytes:
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
