"""The way in: from a request with events to series, log entries and an answer.

The steps, each in a module of its own:

    content       core/api       content type and coding
    duplicates    core/engine/dedup    was this batch accepted before?
    batch         core/events    bytes to good events and faults
    labels        core/qoe       governed labels of each event
    measure       core/qoe       events to series, through the state of their views
    log           core/sinks     events to log entries

Where several workers share a store, the last three wait for what the store knows of the batch
and its views (``core/cluster``).

While a flush is made, they wait for its end as well: it takes series and views in parts, and
all of them must be of one moment. The journal keeps what waits, so it is acknowledged.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from ..api import answers, content
from ..cluster.shared_views import Waiting
from ..config.worker_config import Config
from ..effects import AcceptedBatch, Record
from ..events.decoder import Batch, BatchDecoder
from ..events.deferred import MOST_DECODED, KeptBatch
from ..events.event_types import Event
from ..events.faults import NotJsonError, WrongShapeError
from ..governance.governor import Governor
from ..http.messages import Request, Response
from ..metrics import health_metrics
from ..metrics.health_metrics import Health
from ..metrics.registry import Registry
from ..qoe.event_context import EventContext
from ..qoe.labeller import Labeller
from ..qoe.recorder import Recorder
from ..qoe.view import NO_VIEW, view_key
from ..qoe.view_table import ViewTable
from ..sinks.log_buffer import LogBuffer
from . import dedup
from .durability import Durability
from .load_shedding import LoadShedder


class Taken(NamedTuple):
    """What became of the events of a request.

    Attributes:
        response: The answer.
        after: The effect that must have succeeded before the answer is given, if any.
    """

    response: Response
    after: int | None = None


EVENT = 5
"""What it takes to take in one event, in units of work."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A batch that waits for the end of a flush.

    Attributes:
        number: Of its record in the journal; 0 without one.
        effect_id: The effect that puts it there.
        digest: Identifies it.
        kept: What it holds.
        size: Bytes of its body.
        units: Of work that it takes to take it in.
        take_in: Does so.
    """

    number: int
    effect_id: int
    digest: bytes
    kept: KeptBatch
    size: int
    units: int
    take_in: Callable[[], None]


class Ingest:
    """Takes batches of events in.

    Attributes:
        registry: The series of the QoE metrics.
        decoder: Makes events of bytes.
        meter: Takes events into them, and knows the views.
        governor: Governs labels.
        duplicates: The batches accepted lately.
        is_dirty: Whether events came in since the latest flush.
        holds: Whether batches wait, because a flush is being made.
        held_bytes: Bytes of the batches that wait for it.
        brought: Events that have come to wait for it, all in all (grows only).
        refused: Batches refused because of too much work since the start, by reason.
    """

    def __init__(
        self,
        config: Config,
        health: Health,
        log: LogBuffer | None,
        persistence: Durability | None,
    ) -> None:
        self._persistence = persistence
        self._config = config
        self._health = health
        self._log = log
        self.decoder = BatchDecoder(config)
        self.duplicates = dedup.DedupWindow(config.dedup_window, config.dedup_max)
        self.governor = Governor(config.cardinality_limits)
        self.registry = Registry(config.max_series)
        self._labeller = Labeller(self.governor, config.extra_labels)
        self.meter = Recorder(
            self.registry,
            self._labeller,
            ViewTable(config.view_timeout, config.max_views, config.max_event_age),
            self.governor.govern,
        )
        self.is_dirty = False
        self._share: Callable[[Waiting, int], None] | None = None
        self._unstored: dict[int, Waiting] = {}  # by the effect that is to put it in the journal
        self.holds = False
        self.held_bytes = 0
        self.brought = 0
        self._held: deque[_Held] = deque()
        self._held_events = 0
        self.refused: dict[str, int] = {}
        self._overload = LoadShedder(config.max_wait)
        self._store_is_behind: Callable[[], bool] = lambda: False
        self._country_headers = tuple(name.lower() for name in config.country_headers)

    def share(self, add: Callable[[Waiting, int], None], is_behind: Callable[[], bool]) -> None:
        """From now on batches wait for the shared store.

        Args:
            add: Takes a batch that was accepted, and the current time in ms.
            is_behind: Tells whether too many wait already.
        """
        self._share = add
        self._store_is_behind = is_behind

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
        if reason := self._too_much(request, now):
            self.refused[reason] = self.refused.get(reason, 0) + 1
            self._health.count(health_metrics.REFUSED, reason=reason)
            return Taken(answers.unavailable("Overloaded", answers.RETRY_AFTER))
        try:
            body = content.plain_body(
                request, self._config.max_body_bytes, self._config.max_inflated_bytes
            )
        except content.RefusedContentError as refused:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="content")
            return Taken(answers.failure(refused.status, str(refused)))
        # Not even a duplicate: the batch may be one whose record could not be written.
        if self._persistence is not None and self._persistence.failure:
            return Taken(answers.unavailable("Storage is not available", answers.RETRY_AFTER))
        # What the client names a batch by identifies it, else its bytes.
        digest = dedup.digest_of(request.headers.get("idempotency-key", "").encode() or body)
        known = self.duplicates.find(digest, now)
        if known is not None:
            self._health.count(health_metrics.DUPLICATES)
            pending = None if self._persistence is None else self._persistence.pending(digest)
            return Taken(answers.accepted(known, elapsed), pending)
        try:
            batch = self.decoder.decode(body, now)
        except NotJsonError as error:
            self._health.count(health_metrics.BATCHES_REJECTED, reason="not_json")
            return Taken(answers.not_json(str(error) if body else "the body is empty"))
        except WrongShapeError as error:
            self._health.count(health_metrics.BATCHES_REJECTED, reason=error.fault.reason)
            return Taken(answers.invalid((error.fault,)))
        if not batch.events:
            self._count(batch)
            return Taken(answers.invalid(batch.faults))
        country = self._country(request)
        number = 0 if self._persistence is None else self._persistence.last_record + 1
        accepted = AcceptedBatch(digest, now, batch.received)
        if self._share is None:
            if self.is_behind:
                kept = KeptBatch(body, batch, now)
                take_in = partial(self._take_in_kept, kept, country, accepted)
                units = kept.events * EVENT
                self._hold(_Held(number, effect_id, digest, kept, len(body), units, take_in))
            else:
                self._take_in(batch, country, accepted)
        else:
            waiting = Waiting(number, digest, body, batch, country, now)
            if self._persistence is None:
                self._pass_on(waiting, effect_id, now)
            else:
                self._unstored[effect_id] = waiting
        # Only now: had that failed, the client would have to send the batch again.
        self.duplicates.remember(digest, batch.received, now)
        after = None
        if self._persistence is not None:
            self._persistence.append(effect_id, now, body, country, accepted)
            after = effect_id
        if batch.faults:
            response = answers.partially_accepted(
                batch.received, len(batch.events), batch.faults, elapsed
            )
        else:
            response = answers.accepted(batch.received, elapsed)
        return Taken(response, after)

    def _too_much(self, request: Request, now: int) -> str:
        """What there is too much of to take a batch in; "" if nothing.

        To be asked before anything is done with it: refusing must cost little.
        """
        if request.arrived and self._overload.refuses(now - request.arrived, now):
            return "wait"
        waiting = self.held_bytes
        if self._persistence is not None:
            waiting += self._persistence.appending_bytes
        if waiting > self._config.max_waiting_bytes:
            return "bytes"
        return "store" if self._store_is_behind() else ""

    def replay(self, record: Record) -> None:
        """Take a batch of the journal in once more."""
        batch = self.decoder.decode(record.body, record.at)
        if self._share is None:
            self._apply(batch, record.country, record.at)
        else:
            self._share(
                Waiting(
                    record.number, record.digest, record.body, batch, record.country, record.at
                ),
                record.at,
            )
        self.duplicates.remember(record.digest, batch.received, record.at)
        if self._persistence is not None:
            self._persistence.took_in(AcceptedBatch(record.digest, record.at, batch.received))

    def renew_labels(self, now: int) -> None:
        """Work out all labels anew, because governance has changed its mind."""
        self._labeller.reset_cache(now)

    def stored(self, effect_id: int, now: int, *, is_safe: bool) -> None:
        """The record of a batch is in the journal, or it is not to be had."""
        waiting = self._unstored.pop(effect_id, None)
        if waiting is not None and is_safe:
            self._pass_on(waiting, effect_id, now)
        elif waiting is not None:
            self.duplicates.forget(waiting.digest)
        elif not is_safe:
            self._withdraw(effect_id)

    @property
    def first_left(self) -> int | None:
        """The number of the first record that has had no effect yet: its batch waits for a
        flush, or for the journal itself because others must not hear of it before."""
        if self._held:
            return self._held[0].number
        return next((waiting.number for waiting in self._unstored.values()), None)

    # Waiting for a flush

    def hold(self) -> None:
        """From now on batches wait."""
        self.holds = True

    def release(self) -> None:
        """The flush has taken what it needs."""
        self.holds = False

    @property
    def is_behind(self) -> bool:
        """Whether batches wait, or have to: each is taken in behind those before it."""
        return self.holds or bool(self._held)

    def catch_up(self, units: int) -> int:
        """Take in what has waited, oldest first.

        Args:
            units: Of work, after which to stop.

        Returns:
            How many it were.
        """
        done = 0
        while self._held and done < units and not self.holds:
            held = self._held.popleft()
            self.held_bytes -= held.size
            self._held_events -= held.kept.events
            held.take_in()
            done += held.units
        return done

    def _hold(self, held: _Held) -> None:
        self._held.append(held)
        self.held_bytes += held.size
        self.brought += held.kept.events
        self._held_events += held.kept.events
        if self._held_events > MOST_DECODED:
            held.kept.pack()

    def _withdraw(self, effect_id: int) -> None:
        """A batch could not be written down. If it still waits, nothing has happened."""
        for held in self._held:
            if held.effect_id == effect_id:
                self._held.remove(held)
                self.held_bytes -= held.size
                self._held_events -= held.kept.events
                self.duplicates.forget(held.digest)
                return

    def _take_in_kept(self, kept: KeptBatch, country: str | None, accepted: AcceptedBatch) -> None:
        self._take_in(kept.open(self.decoder), country, accepted)

    def _take_in(self, batch: Batch, country: str | None, accepted: AcceptedBatch) -> None:
        self._apply(batch, country, accepted.at)
        if self._persistence is not None:
            self._persistence.took_in(accepted)

    def _pass_on(self, waiting: Waiting, effect_id: int, now: int) -> None:
        """Hand a batch to what waits for the shared store."""
        assert self._share is not None
        if not self.is_behind:
            self._share(waiting, now)
            return
        take_in = partial(self._share, waiting, now)
        kept = waiting.kept
        self._hold(_Held(waiting.number, effect_id, waiting.digest, kept, 0, EVENT, take_in))

    def apply(self, kept: KeptBatch, country: str | None) -> None:
        """Take a batch in by what is known here alone.

        Args:
            kept: The batch.
            country: The viewer's country as a CDN's header told it.
        """
        self._apply(kept.open(self.decoder), country, kept.at)

    def _apply(self, batch: Batch, country: str | None, at: int) -> None:
        self.meter.record_events(self._begin(batch, country, at), at)

    def begin(
        self, kept: KeptBatch, country: str | None, *, is_ours: bool
    ) -> list[tuple[Event, EventContext]]:
        """Take in of a batch what is not of its views.

        Args:
            kept: The batch.
            country: The viewer's country as a CDN's header told it.
            is_ours: Whether no other worker had accepted it before.

        Returns:
            Its events, with their origins, by event time.
        """
        batch, at = kept.open(self.decoder), kept.at
        if not is_ours:
            self._health.count(health_metrics.DUPLICATES)
            return [(event, origin) for event, _, origin in self._by_time(batch, country, at)]
        events = self._begin(batch, country, at)
        self.meter.record_events((pair for pair in events if pair[1].view is None), at)
        return events

    def _begin(
        self, batch: Batch, country: str | None, at: int
    ) -> list[tuple[Event, EventContext]]:
        self._count(batch)
        if self._labeller.is_cache_stale(at):
            self.renew_labels(at)
        events = self._by_time(batch, country, at)
        if self._log is not None:
            self._log.add_events(events, self._labeller, at)
        self.is_dirty = True
        return [(event, origin) for event, _, origin in events]

    def _by_time(
        self, batch: Batch, country: str | None, at: int
    ) -> list[tuple[Event, bytes, EventContext]]:
        """The events of a batch, each with its line and its origin, by event time."""
        events = []
        origins: dict[str, EventContext] = {}  # by view: a batch may hold the events of many
        for event, line in batch.events:
            origin = origins.get(event.view_id)
            if origin is None or not origin.applies_to(event):
                origin = origins[event.view_id] = self._origin(event, country, at)
            events.append((event, line, origin))
        # Players build events asynchronously and send them unsorted.
        events.sort(key=_time_of)
        return events

    def _origin(self, event: Event, country: str | None, at: int) -> EventContext:
        return EventContext(
            event,
            self._labeller.find_label_set(event, country, at),
            None if event.view_id == NO_VIEW else view_key(event),
            b"" if self._log is None else self._log.encode_metadata(event),
        )

    def _count(self, batch: Batch) -> None:
        if batch.events:
            self._health.count(health_metrics.ACCEPTED, len(batch.events))
        if not batch.faults and not batch.ignored:
            return
        seen: set[int | None] = set()
        for fault in batch.faults:
            if fault.index not in seen:  # an event may have several faults
                seen.add(fault.index)
                self._health.count(health_metrics.REJECTED, reason=fault.reason)
        for path in batch.ignored:
            self._health.count(health_metrics.IGNORED, field=path)

    def _country(self, request: Request) -> str | None:
        """The viewer's country as a CDN in front tells it; "XX" and "T1" are unknown."""
        for name in self._country_headers:
            if name in request.headers:
                value = request.headers[name].strip().upper()
                if value and value not in ("XX", "T1"):
                    return value[: self._config.max_id_length]
        return None


def _time_of(entry: tuple[Event, bytes, EventContext]) -> float:
    return entry[0].event_time
