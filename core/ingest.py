"""The way in: from a request with events to series, log entries and an answer.

The steps, each in a module of its own:

    content       core/api       content type and coding
    duplicates    core/duplicates    was this batch accepted before?
    batch         core/events    bytes to good events and faults
    labels        core/qoe       governed labels of each event
    measure       core/qoe       events to series, through the state of their views
    log           core/sinks     events to log entries
"""

from typing import NamedTuple

from openqoe.core import duplicates
from openqoe.core.api import answers, content
from openqoe.core.config import Config
from openqoe.core.effects import AcceptedBatch, Record
from openqoe.core.events.batch import Batch, BatchDecoder
from openqoe.core.events.faults import NotJsonError, WrongShapeError
from openqoe.core.governance.governor import Governor
from openqoe.core.http.messages import Request, Response
from openqoe.core.metrics import health
from openqoe.core.metrics.health import Health
from openqoe.core.metrics.registry import Registry
from openqoe.core.persistence import Persistence
from openqoe.core.qoe.labels import Labeller
from openqoe.core.qoe.meter import Meter
from openqoe.core.qoe.views import Views
from openqoe.core.sinks.logs import LogBuffer


class Taken(NamedTuple):
    """What became of the events of a request.

    Attributes:
        response: The answer.
        after: The effect that must have succeeded before the answer is given, if any.
    """

    response: Response
    after: int | None = None


class Ingest:
    """Takes batches of events in.

    Attributes:
        registry: The series of the QoE metrics.
        meter: Takes events into them, and knows the views.
        governor: Governs labels.
        duplicates: The batches accepted lately.
        is_dirty: Whether events came in since the latest flush.
    """

    def __init__(
        self,
        config: Config,
        health: Health,
        log: LogBuffer | None,
        persistence: Persistence | None,
    ) -> None:
        self._persistence = persistence
        self._config = config
        self._health = health
        self._log = log
        self._decoder = BatchDecoder(config)
        self.duplicates = duplicates.Duplicates(config.dedup_window, config.dedup_max)
        self.governor = Governor(config.cardinality_limits)
        self.registry = Registry(config.max_series)
        self._labeller = Labeller(self.governor, config.extra_labels)
        self.meter = Meter(
            self.registry,
            self._labeller,
            Views(config.view_timeout, config.max_views, config.max_event_age),
            self.governor.govern,
        )
        self.is_dirty = False

    @property
    def labels_shortened(self) -> int:
        """Label values cut to the receivers' limit so far."""
        return self._labeller.shortened

    @property
    def labeller(self) -> Labeller:
        """Finds the labels of events."""
        return self._labeller

    def take(self, request: Request, now: int, effect_id: int) -> Taken:
        """Take the events of a request in and answer it.

        Args:
            request: The request.
            now: Current time in ms.
            effect_id: Becomes the id of the effect that puts the batch into the journal.
        """
        elapsed = max(0, now - request.received) if request.received else 0
        try:
            body = content.plain_body(
                request, self._config.max_body_bytes, self._config.max_inflated_bytes
            )
        except content.RefusedContentError as refused:
            self._health.count(health.BATCHES_REJECTED, reason="content")
            return Taken(answers.failure(refused.status, str(refused)))
        # Not even a duplicate: the batch may be one whose record could not be written.
        if self._persistence is not None and self._persistence.failure:
            return Taken(answers.unavailable("Storage is not available", answers.RETRY_AFTER))
        # What the client names a batch by identifies it, else its bytes.
        digest = duplicates.digest_of(request.headers.get("idempotency-key", "").encode() or body)
        known = self.duplicates.find(digest, now)
        if known is not None:
            self._health.count(health.DUPLICATES)
            pending = None if self._persistence is None else self._persistence.pending(digest)
            return Taken(answers.accepted(known, elapsed), pending)
        try:
            batch = self._decoder.decode(body, now)
        except NotJsonError as error:
            self._health.count(health.BATCHES_REJECTED, reason="not_json")
            return Taken(answers.not_json(str(error) if body else "the body is empty"))
        except WrongShapeError as error:
            self._health.count(health.BATCHES_REJECTED, reason=error.fault.reason)
            return Taken(answers.invalid((error.fault,)))
        self._count(batch)
        if not batch.events:
            return Taken(answers.invalid(batch.faults))
        country = self._country(request)
        self._apply(batch, country, now)
        # Only now: had that failed, the client would have to send the batch again.
        self.duplicates.remember(digest, batch.received, now)
        after = None
        if self._persistence is not None:
            accepted = AcceptedBatch(digest, now, batch.received)
            self._persistence.append(effect_id, now, body, country, accepted)
            after = effect_id
        if batch.faults:
            response = answers.partially_accepted(
                batch.received, len(batch.events), batch.faults, elapsed
            )
        else:
            response = answers.accepted(batch.received, elapsed)
        return Taken(response, after)

    def replay(self, record: Record) -> None:
        """Take a batch of the journal in once more."""
        batch = self._decoder.decode(record.body, record.at)
        self._count(batch)
        self._apply(batch, record.country, record.at)
        self.duplicates.remember(record.digest, batch.received, record.at)

    def renew_labels(self, now: int) -> None:
        """Work out all labels anew, because governance has changed its mind."""
        self._labeller.renew(now)

    def _apply(self, batch: Batch, country: str | None, now: int) -> None:
        if self._labeller.is_worn(now):
            self.renew_labels(now)
        # By event time: players build events asynchronously and send them unsorted.
        events = sorted(batch.events, key=lambda pair: pair[0].event_time)
        labelled = [
            (event, line, self._labeller.label_set(event, country, now)) for event, line in events
        ]
        self.meter.measure(((event, labels.group) for event, _, labels in labelled), now)
        if self._log is not None:
            for event, line, labels in labelled:
                stream = self._labeller.stream(labels, event.event_type, now)
                self._log.add(event, line, stream, now)
        self.is_dirty = True

    def _count(self, batch: Batch) -> None:
        if batch.events:
            self._health.count(health.ACCEPTED, len(batch.events))
        seen: set[int | None] = set()
        for fault in batch.faults:
            if fault.index not in seen:  # an event may have several faults
                seen.add(fault.index)
                self._health.count(health.REJECTED, reason=fault.reason)
        for path in batch.ignored:
            self._health.count(health.IGNORED, field=path)

    def _country(self, request: Request) -> str | None:
        """The viewer's country as a CDN in front tells it; "XX" and "T1" are unknown."""
        for name in self._config.country_headers:
            value = request.headers.get(name.lower(), "").strip().upper()
            if value and value not in ("XX", "T1"):
                return value[: self._config.max_id_length]
        return None
