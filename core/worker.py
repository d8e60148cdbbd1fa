"""The worker: requests in, responses and effects out.

This module is the table of contents:

    requests    core/api          routes, keys, CORS, and what the worker says of itself
    events      core/ingest       from a body to series and log entries
    flushes     core/outflow      from series and log entries to requests, delivered in order
    sharing     core/sharing      what several workers have to agree on
    disk        core/persistence  journal, snapshot and outbox: acknowledged means kept

Nothing here does I/O or knows the time: ``now`` comes in (ms since the epoch), effects go
out. The same calls give the same bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Self

import msgspec

from openqoe.core import snapshot as snapshots
from openqoe.core.api import answers, auth, cors, reports, routes
from openqoe.core.api.dashboard import Dashboard
from openqoe.core.api.routes import Route
from openqoe.core.config import Config
from openqoe.core.effects import (
    AcceptedBatch,
    Effect,
    KvFailure,
    KvResult,
    Notice,
    Page,
    Record,
    Result,
    StorageFailure,
    Stored,
    StoredPayload,
)
from openqoe.core.http.messages import Request, Response
from openqoe.core.ingest import Ingest
from openqoe.core.metrics import health
from openqoe.core.metrics.health import Health, Vitals
from openqoe.core.metrics.label_table import LabelTable
from openqoe.core.metrics.registry import metric_name
from openqoe.core.outflow import Outflow
from openqoe.core.persistence import Persistence
from openqoe.core.qoe import catalogue
from openqoe.core.sharing.exchange import Exchange, SharingState
from openqoe.core.snapshot import Snapshot
from openqoe.core.timer import Timer
from openqoe.core.version import VERSION
from openqoe.core.work import PACE, Work, finish

BYTES_A_UNIT = 64
"""Bytes of a batch for which a unit of work is done of what waits behind a flush: what its own
events will take, and more."""

BYTES_A_UNIT_OF_A_FLUSH = 512
"""Bytes of a batch for which a unit of a flush is done. Much less: clients wait for it, while the
flush gets on with what time they leave. Not nothing, or they might leave none."""

_METRICS = {metric_name(metric): metric for metric in (*catalogue.METRICS, *health.METRICS)}


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request.

    Attributes:
        response: The answer. Where a page of the dashboard was asked for, it says that there is
            none: ``Worker.shown`` makes the answer of the page.
        effects: What the outside must do.
        route: Where the request led.
        after: The effect after which the answer may be given. If that fails, the answer is
            ``Worker.unstored`` instead; if it is a ``LoadPage``, it is ``Worker.shown``. None: at
            once.
    """

    response: Response
    effects: tuple[Effect, ...]
    route: Route
    after: int | None = None


class Worker:
    """The deterministic heart of the service.

    Args:
        config: The settings.
        instance: The ``instance`` label of every series; two workers must never share one.
        seed: Of the jitter between retries; should differ between workers.
        durable: Whether the outside carries out storage effects, so that what is accepted
            survives a crash.
        pace: How much of a flush one call does at the most, in series and views. ``next_poll``
            asks to be called again at once for the rest.
        shared: Whether the outside carries out ``KvUpdate`` effects on a store that other
            workers use, too, so that all of them count as one.
        embedded: Whether the outside has an embedded store (requests to ``embedded:`` URLs) and
            a dashboard (``LoadPage`` effects); the settings then say whether they are used.
    """

    def __init__(
        self,
        config: Config,
        *,
        instance: str,
        seed: int = 0,
        durable: bool = False,
        shared: bool = False,
        pace: int = PACE,
        embedded: bool = False,
    ) -> None:
        self.config = config
        self.instance = instance
        self._health = Health(VERSION)
        self._persistence: Persistence | None = None
        if durable:
            self._persistence = Persistence(config.dedup_window, config.dedup_max, shared=shared)
        self._outflow = Outflow(
            config,
            self._health,
            self._persistence,
            instance=instance,
            seed=seed,
            embedded=embedded,
        )
        self._ingest = Ingest(config, self._health, self._outflow.log, self._persistence)
        self._outflow.export(self._ingest.registry, self._health.registry)
        self._exchange: Exchange | None = None
        if shared:
            self._exchange = Exchange(config, self._ingest, self._ingest.governor, instance)
            self._ingest.share(self._exchange.add, self._exchange.is_behind)
        self._dashboard: Dashboard | None = None
        if embedded and config.has_dashboard:
            self._dashboard = Dashboard(config.api_keys)
        self._flush_timer = Timer(config.flush_interval)
        self._flushing: Work[None] | None = None
        self._pace = pace
        self._pressing = 0  # the time at which the work under way was due
        self._late: list[tuple[int, KvResult | KvFailure]] = []  # wait for the end of a flush
        self._next_id = 1
        self._started_at: int | None = None
        self._draining = False
        self._closed = False
        self._last_flush_waits = False
        self._noticed: set[str] = set()
        self._asked = (-1, -1)

    def started(self, now: int) -> None:
        """A process has begun to run this worker (ms): its health tells restarts by that."""
        self._started_at = now

    # Requests

    def handle(self, request: Request, now: int) -> Outcome:
        """Answer a request.

        Never raises for anything a request can hold. When the response has been handed
        over, call ``answered``.
        """
        self._begin(now)
        after: int | None = None
        endpoint = routes.find(request.path)
        if endpoint is routes.DASHBOARD:
            if self._dashboard is not None:
                return self._show(self._dashboard, request, now)
            endpoint = None
        route = Route.NONE if endpoint is None else endpoint.route
        if request.method == "OPTIONS":
            route = Route.PREFLIGHT
            response = Response(204, cors.PREFLIGHT)
        elif endpoint is None:
            response = answers.failure(404, "Not found")
        elif request.method not in endpoint.methods:
            allow = ", ".join((*endpoint.methods, "OPTIONS"))
            response = answers.failure(405, "Method not allowed", ("Allow", allow))
        elif endpoint.needs_key and not auth.is_allowed(request, self.config.api_keys):
            response = answers.unauthorized()
        elif route is Route.EVENTS:
            response, after = self._ingest.take(request, now, self._next_id)
            if after == self._next_id:
                self._next_id += 1
        else:
            response = self._answer(route, request, now)
        response = self._finish(response, request.headers, route)
        return Outcome(response, self._after_request(request, now), route, after)

    def _show(self, dashboard: Dashboard, request: Request, now: int) -> Outcome:
        answer = dashboard.answer(request, self._next_id, now)
        if isinstance(answer, Response):
            response = self._finish(answer, request.headers, Route.DASHBOARD)
            return Outcome(response, self._after_request(request, now), Route.DASHBOARD)
        self._next_id += 1
        effects = (*self._after_request(request, now), answer)
        none = answers.failure(503, "There is no dashboard")
        return Outcome(none, effects, Route.DASHBOARD, answer.id)

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one (malformed, too large, too slow)."""
        if status == 503:
            response = answers.unavailable(message, answers.RETRY_AFTER)
        else:
            response = answers.failure(status, message)
        return self._finish(response, headers, Route.NONE)

    def failed(self, request: Request) -> Response:
        """Answer a request whose handling broke: by a fault of ours, so without its insides."""
        return self._finish(answers.failure(500, "Internal error"), request.headers, Route.NONE)

    def unstored(self, request: Request) -> Response:
        """Answer a request whose batch could not be put into the journal."""
        response = answers.unavailable("Storage is not available", answers.RETRY_AFTER)
        return self._finish(response, request.headers, Route.EVENTS)

    def shown(self, request: Request, page: Page) -> Response:
        """Answer a request for a page of the dashboard, which is there now."""
        assert self._dashboard is not None, "without a dashboard no page is asked for"
        return self._finish(self._dashboard.shown(request, page), request.headers, Route.DASHBOARD)

    def answered(self, route: Route, seconds: float) -> None:
        """Note how long a request took, from its last byte to the answer's hand-over (s)."""
        self._health.count(health.DURATION, seconds, route=route.value)

    def _answer(self, route: Route, request: Request, now: int) -> Response:
        match route:
            case Route.STATS:
                shared = None if self._exchange is None else self._exchange.status(now)
                return reports.stats(
                    request.query, self._ingest, self._outflow.queues, shared, self.instance, now
                )
            case Route.METRICS:
                self._collect(now)
                return reports.metrics(self._health)
            case Route.READY:
                return reports.ready(draining=self._draining, storage_failure=self._storage_failure)
            case _:
                return reports.healthy(now)

    def _finish(self, response: Response, headers: Mapping[str, str], route: Route) -> Response:
        self._health.count(health.REQUESTS, route=route.value, status=str(response.status))
        if route is Route.DASHBOARD:  # no other page may read it
            return response
        cross_origin = cors.headers(headers, self.config.cors_allowed_origins)
        return Response(response.status, (*response.headers, *cross_origin), response.body)

    # Time and effects

    def poll(self, now: int) -> tuple[Effect, ...]:
        """Do what is due: flushes, retries, the exchange with the key-value store.

        A flush of many series takes several calls.
        """
        self._begin(now)
        if self._exchange is not None and not self._ingest.holds:
            self._exchange.poll(now)
        if self._wants_flush and self._flush_timer.is_due(now):
            self._flush(now)
        else:
            self._work(self._pace, now)
        if self._closed:
            self._catch_up(now)
        return self._due(now)

    def next_poll(self) -> int | None:
        """When ``poll`` will have something to do; None while nothing is in sight."""
        if self._is_working:
            return self._pressing
        times = [self._outflow.next_poll()]
        if self._exchange is not None:
            times.append(self._exchange.next_poll())
        if self._wants_flush:
            times.append(self._flush_timer.next)
        if self._persistence is not None:
            times.append(self._persistence.next_attempt)
        return min((time for time in times if time is not None), default=None)

    @property
    def _wants_flush(self) -> bool:
        """Whether a flush may be made when its time comes."""
        if self._closed:  # what comes in late would only keep the queues from running empty
            return False
        if self._is_working or (self._persistence is not None and self._persistence.is_busy):
            return False
        return bool(self.config.flush_interval or self._ingest.is_dirty)

    def complete(self, effect_id: int, result: Result, now: int) -> tuple[Effect, ...]:
        """Take the result of an effect; returns what follows from it."""
        if isinstance(result, KvResult | KvFailure):
            if self._ingest.holds:
                self._late.append((effect_id, result))
            else:
                self._share(effect_id, result, now)
        elif not isinstance(result, Stored):
            self._outflow.complete(effect_id, result, now)
        if self._persistence is not None and isinstance(result, Stored | StorageFailure):
            self._ingest.stored(effect_id, now, is_safe=isinstance(result, Stored))
            self._outflow.stored(self._persistence.complete(effect_id, result, now), now)
        self._catch_up(now)
        return self._due(now)

    def drain(self) -> None:
        """The process is about to stop: tell load balancers by ``/ready``."""
        self._draining = True

    def close(self, now: int) -> tuple[Effect, ...]:
        """Flush for the last time.

        Go on with ``poll`` and ``complete`` until ``drained``, or as long as there is time.
        No series gets a stale marker: each goes on when the process comes back.
        """
        self._begin(now)
        self._draining = self._closed = True
        self._last_flush_waits = True
        self._end_work(now)
        if self._exchange is not None:
            self._exchange.lapse(now, all_of_them=True)
            self._exchange.end(now, keeps_rest=self._persistence is not None)
        self._catch_up(now)
        self._outflow.hurry()
        return self._due(now)

    @property
    def drained(self) -> bool:
        """Whether nothing waits for delivery, nor for the disk."""
        waits = self._last_flush_waits or self._is_working
        if self._persistence is not None:
            waits |= not self._persistence.is_idle
        return not waits and all(queue.empty for queue in self._outflow.queues)

    @property
    def durable(self) -> bool:
        """Whether what is undelivered is kept for the next process."""
        return self._persistence is not None

    @property
    def undelivered(self) -> Mapping[str, int]:
        """Samples or log entries that wait for delivery, by destination."""
        return self._outflow.waiting

    # State

    def snapshot(self) -> bytes:
        """The state as bytes, to be taken right after a flush; see ``core/snapshot``.

        Ends a flush that is under way.
        """
        self._end_work(self._pressing)
        return finish(snapshots.encode(finish(self._state())))

    def _state(self) -> Work[Snapshot]:
        """The state. Meanwhile batches must be held."""
        ingest, table = self._ingest, LabelTable()
        qoe = yield from ingest.registry.state(table)
        meter = yield from ingest.meter.state(table)
        own = finish(self._health.registry.state(table))  # few, and requests go on
        exporters = tuple(exporter.state(table) for exporter in self._outflow.exporters)
        log = self._outflow.log
        return Snapshot(
            table.state(),
            qoe,
            own,
            exporters,
            meter,
            {name: d.state() for name, d in ingest.governor.dimensions.items()},
            ingest.governor.faults,
            ingest.labeller.state(),
            {} if log is None else dict(log.adjusted),
            ingest.duplicates.forgotten,
            {queue.destination.name: queue.state() for queue in self._outflow.queues},
            self._outflow.state(),
            self._flush_timer.state(),
            None,
            sorted(self._noticed),
            ingest.is_dirty,
            None if self._exchange is None else self._exchange.state(),
        )

    @classmethod
    def restore(
        cls,
        config: Config,
        blob: bytes,
        *,
        instance: str,
        seed: int = 0,
        durable: bool = False,
        shared: bool = False,
        pace: int = PACE,
        embedded: bool = False,
    ) -> Self:
        """The worker of a snapshot; ``resume`` and ``replay`` what stands beside it.

        Raises:
            SnapshotError: The snapshot is damaged, or of another version.
        """
        saved = snapshots.decode(blob)
        worker = cls(
            config,
            instance=instance,
            seed=seed,
            durable=durable,
            shared=shared,
            embedded=embedded,
            pace=pace,
        )
        ingest, outflow = worker._ingest, worker._outflow
        table = LabelTable.restored(saved.labels)
        ingest.registry.restore(saved.qoe, table, _METRICS)
        worker._health.restore(saved.health, table, _METRICS)
        for exporter, state in zip(outflow.exporters, saved.exporters, strict=True):
            exporter.restore(state, table, _METRICS)
        ingest.meter.restore(saved.meter, table)
        for name, dimension in ingest.governor.dimensions.items():
            if name in saved.dimensions:
                dimension.restore(saved.dimensions[name])
        ingest.governor.faults = saved.governance_faults
        ingest.labeller.restore(saved.labeller)
        if outflow.log is not None:
            outflow.log.adjusted.update(saved.logs_adjusted)
        ingest.duplicates.forgotten = saved.batches_forgotten
        outflow.restore(saved.outflow, saved.queues)
        worker._flush_timer.restore(saved.flushed_at)
        if worker._exchange is not None:
            worker._exchange.restore(saved.sharing or SharingState())
        worker._noticed.update(saved.noticed)
        ingest.is_dirty = saved.is_dirty
        return worker

    def resume(
        self,
        payloads: Iterable[StoredPayload],
        batches: Iterable[AcceptedBatch],
        last_record: int,
        last_payload: int,
        now: int,
    ) -> None:
        """Go on with what an earlier process left on disk beside its snapshot.

        Args:
            payloads: The outbox, in order of number.
            batches: The window of duplicates, oldest first.
            last_record: The highest number that a record ever had.
            last_payload: The highest number that a payload ever had.
            now: Current time in ms.
        """
        assert self._persistence is not None, "only a durable worker has something to resume"
        self._persistence.last_record = last_record
        self._persistence.last_payload = last_payload
        for batch in batches:
            self._ingest.duplicates.remember(batch.digest, batch.events, batch.at)
        self._outflow.resume(payloads, now)

    def replay(self, record: Record) -> None:
        """Take in once more what the journal holds; in order, before anything else.

        Raises:
            ValueError: It is no batch that this version accepts. The next may be replayed.
        """
        self._begin(record.at)
        self._ingest.replay(record)
        if self._outflow.has_many_logs:
            self._outflow.flush_logs(record.at)

    def _begin(self, now: int) -> None:
        """The first call of any kind tells when the worker came to life."""
        self._flush_timer.start(now)
        if now < self._pressing:  # the clock was put back
            self._pressing = now
        if self._exchange is not None:
            self._exchange.begin(now)
        self._outflow.begin(now)

    def _after_request(self, request: Request, now: int) -> tuple[Effect, ...]:
        if self._is_working:
            # What comes in waits for this work: it must not come faster than that gets on.
            share = BYTES_A_UNIT if self._flushing is None else BYTES_A_UNIT_OF_A_FLUSH
            self._work(min(len(request.body) // share, self._pace), now)
        if not self.config.flush_interval and self._ingest.is_dirty:
            self._last_flush_waits = True  # there may be no later
            self._catch_up(now)
        elif self._outflow.has_many_logs:
            self._outflow.flush_logs(now)
        return self._due(now)

    def _catch_up(self, now: int) -> None:
        """Make a flush that could not be made when its time came."""
        if self._is_working or (self._persistence is not None and self._persistence.is_busy):
            return
        if self._last_flush_waits:
            if self._closed and self._is_counting(now):
                return
            self._last_flush_waits = False
            self._flush(now, last=True)
        elif self._outflow.may_catch_up:
            self._flush(now, last=self._closed)  # there may be no later: we may be ending

    def _is_counting(self, now: int) -> bool:
        """Whether the last flush may still wait for the shared store."""
        if self._exchange is None or not self._exchange.may_wait(now):
            return False
        return self._ingest.first_left is not None or not self._exchange.is_counted

    # Flushes

    def _flush(self, now: int, *, last: bool = False) -> None:
        """Begin to send everything.

        Args:
            now: Current time in ms.
            last: Whether this may be the last flush, so that nothing can wait for an
                explanation by later events.
        """
        self._begin_work(self._flush_work(now, last=last), now)
        if last:
            self._end_work(now)

    def _flush_work(self, now: int, *, last: bool) -> Work[None]:
        self._flush_timer.restart(now)
        self._ingest.is_dirty = False
        meter = self._ingest.meter
        if self._exchange is None:
            meter.settle(now, all_of_them=last)
            yield from meter.expire(now)
        elif not self._closed:
            self._exchange.lapse(now, all_of_them=last)
        concurrent = yield from meter.views.concurrent(now)
        if self._exchange is not None:
            concurrent = self._exchange.concurrent(now, concurrent)
        meter.count_concurrent(concurrent)
        self._collect(now)
        yield from self._outflow.flush(now)
        yield from self._persist_work(now)

    def _persist_work(self, now: int) -> Work[None]:
        """Write everything down."""
        if self._persistence is None:
            return
        self._outflow.flush_logs(now)  # a snapshot does not hold any
        state = yield from self._state()
        left = None if self._exchange is None else self._exchange.first_uncounted
        self._persistence.begin(self._ingest.first_left if left is None else left)
        self._release(now)
        snapshot = yield from snapshots.encode(state)
        self._persistence.persist(self._take_id(), snapshot, now)

    @property
    def _is_working(self) -> bool:
        """Whether a flush is under way, or what has waited for it."""
        return self._flushing is not None or self._ingest.is_behind

    def _begin_work(self, work: Work[None], now: int) -> None:
        self._flushing = work
        self._pressing = now
        self._ingest.hold()
        self._work(self._pace, now)

    def _work(self, units: int, now: int) -> None:
        """Go on with what is under way."""
        while self._flushing is not None and units > 0:
            try:
                units -= next(self._flushing)
            except StopIteration:
                self._flushing = None
                self._release(now)
            except BaseException:  # a fault of ours: it must not hold batches for ever
                self._flushing = None
                self._ingest.release()
                raise
        self._ingest.catch_up(units)

    def _end_work(self, now: int) -> None:
        """Do all of what is under way."""
        while self._is_working:
            self._work(self._pace, now)

    def _release(self, now: int) -> None:
        """The flush has taken what it needs: what waits for it may take effect."""
        self._ingest.release()
        late, self._late = self._late, []
        for effect_id, result in late:
            self._share(effect_id, result, now)

    def _due(self, now: int) -> tuple[Effect, ...]:
        effects: list[Effect] = [*self._outflow.notices(), *self._limits_reached()]
        if self._exchange is not None:
            update = self._exchange.due(self._next_id, now)
            if update is not None:
                self._next_id += 1
                effects.append(update)
            effects += self._exchange.notices()
        requests = self._outflow.due(self._next_id, now)
        self._next_id += len(requests)
        if self._persistence is not None:
            if self._persistence.needs_persist(now) and not self._is_working:
                # What was counted behind the last flush leaves the journal with this.
                self._last_flush_waits |= self._closed and self._ingest.is_dirty
                self._begin_work(self._persist_work(now), now)
            effects += self._persistence.take_effects()
        return (*effects, *requests)

    def _share(self, effect_id: int, result: KvResult | KvFailure, now: int) -> None:
        """Take what the shared store has answered."""
        assert self._exchange is not None, "only a worker that shares has asked a store"
        self._exchange.complete(effect_id, result, now)
        if self._exchange.labels_void():
            self._ingest.renew_labels(now)
        if self._outflow.has_many_logs:
            self._outflow.flush_logs(now)
        if not self.config.flush_interval and self._ingest.is_dirty:
            self._last_flush_waits = True  # there may be no later

    def _take_id(self) -> int:
        taken = self._next_id
        self._next_id += 1
        return taken

    @property
    def _storage_failure(self) -> str:
        return "" if self._persistence is None else self._persistence.failure

    def _collect(self, now: int) -> None:
        """Read for the health metrics what is kept elsewhere."""
        ingest = self._ingest
        log = self._outflow.log
        vitals = Vitals(
            started_at=self._started_at,
            series=ingest.registry.size,
            overflowed=ingest.registry.overflowed,
            views=len(ingest.meter.views),
            views_forgotten=ingest.meter.views.forgotten,
            cardinality=ingest.governor.cardinality(now),
            folded={name: d.folded for name, d in ingest.governor.dimensions.items()},
            governance_faults=ingest.governor.faults,
            labels_shortened=ingest.labels_shortened,
            logs_adjusted={} if log is None else log.adjusted,
            batches_forgotten=ingest.duplicates.forgotten,
            storage_ok=not self._storage_failure,
        )
        if self._exchange is not None:
            self._health.collect_sharing(self._exchange)
        self._health.collect(vitals, self._outflow.queues, now)

    def _limits_reached(self) -> list[Notice]:
        """Say once that a limit was reached: from then on labels lose detail."""
        asked = self._ingest.governor.asked, self._ingest.registry.overflowed
        if asked == self._asked:  # most requests bring no label that is new
            return []
        self._asked = asked
        notices = []
        for name, dimension in self._ingest.governor.dimensions.items():
            if dimension.folded and name not in self._noticed:
                self._noticed.add(name)
                most = dimension.limit.max_cardinality or 0
                fields = (("dimension", name), ("max_cardinality", most))
                notices.append(Notice("warning", "dimension is full", fields))
        if self._ingest.registry.overflowed and "series" not in self._noticed:
            self._noticed.add("series")
            limit = (("max_series", self.config.max_series),)
            notices.append(Notice("warning", "too many series", limit))
        return notices
