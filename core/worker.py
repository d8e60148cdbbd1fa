"""The worker: requests in, responses and effects out.

This module is the table of contents:

    requests    core/api          routes, keys, CORS, and what the worker says of itself
    events      core/engine/ingest       from a body to series and log entries
    flushes     core/engine/flush      when they are made, in parts, and what waits for them
    the way out core/engine/export      from series and log entries to requests, delivered in order
    sharing     core/cluster      what several workers have to agree on
    disk        core/engine/durability  journal, snapshot and outbox: acknowledged means kept
    state       core/engine/checkpoint        of all of these, for the snapshot

Nothing here does I/O or knows the time: ``now`` comes in (ms since the epoch), effects go
out. The same calls give the same bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Self

import msgspec

from .api import answers, auth, cors, reports, routes
from .api.dashboard_access import Dashboard
from .api.routes import Route
from .config.worker_config import Config
from .effects import (
    AcceptedBatch,
    Effect,
    KvFailure,
    KvResult,
    Page,
    Record,
    Result,
    StorageFailure,
    Stored,
    StoredPayload,
)
from .engine import checkpoint, health_report, snapshot, stats_report
from .engine.components import Components
from .engine.flush import FlushScheduler
from .engine.health_report import LimitNotifier
from .http.messages import Request, Response
from .metrics import health_metrics
from .primitives.incremental import DEFAULT_BUDGET


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
        pace: int = DEFAULT_BUDGET,
        embedded: bool = False,
    ) -> None:
        self._parts = parts = Components(
            config,
            instance=instance,
            seed=seed,
            durable=durable,
            shared=shared,
            embedded=embedded,
        )
        self.config = config
        self.instance = instance
        self._ids = parts.ids
        self._health = parts.health
        self._ingest = parts.ingest
        self._outflow = parts.outflow
        self._persistence = parts.persistence
        self._exchange = parts.exchange
        self._dashboard = parts.dashboard
        self._limits = LimitNotifier(parts)
        self._flushes = FlushScheduler(parts, self._limits, pace)
        self._draining = False
        self._latest: int | None = None  # the time of the last call, ms

    def started(self, now: int) -> None:
        """A process has begun to run this worker (ms): its health tells restarts by that."""
        self._flushes.started_at = now

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
            response, after = self._ingest.take(request, now, self._ids.next)
            if after == self._ids.next:
                self._ids.next += 1
        else:
            response = self._answer(route, request, now)
        response = self._finish(response, request.headers, route)
        return Outcome(response, self._after_request(now), route, after)

    def _show(self, dashboard: Dashboard, request: Request, now: int) -> Outcome:
        answer = dashboard.answer(request, self._ids.next, now)
        if isinstance(answer, Response):
            response = self._finish(answer, request.headers, Route.DASHBOARD)
            return Outcome(response, self._after_request(now), Route.DASHBOARD)
        self._ids.next += 1
        effects = (*self._after_request(now), answer)
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
        self._health.count(health_metrics.DURATION, seconds, route=route.value)

    def _answer(self, route: Route, request: Request, now: int) -> Response:
        match route:
            case Route.STATS:
                shared = None if self._exchange is None else self._exchange.status(now)
                return stats_report.stats(
                    request.query, self._ingest, self._outflow.queues, shared, self.instance, now
                )
            case Route.METRICS:
                health_report.collect(self._parts, self._flushes.started_at, now)
                return reports.metrics(self._health)
            case Route.READY:
                failure = self._parts.storage_failure
                return reports.ready(draining=self._draining, storage_failure=failure)
            case _:
                return reports.healthy(now)

    def _finish(self, response: Response, headers: Mapping[str, str], route: Route) -> Response:
        self._health.count(health_metrics.REQUESTS, route=route.value, status=str(response.status))
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
        self._flushes.poll(now)
        return self._due(now)

    def next_poll(self) -> int | None:
        """When ``poll`` will have something to do; None while nothing is in sight."""
        if self._flushes.is_working:
            return self._flushes.pressing
        times = [self._outflow.next_poll()]
        if self._exchange is not None:
            times.append(self._exchange.next_poll())
        if self._flushes.is_wanted:
            times.append(self._flushes.timer.next)
        if self._persistence is not None:
            times.append(self._persistence.next_attempt)
        return min((time for time in times if time is not None), default=None)

    def complete(self, effect_id: int, result: Result, now: int) -> tuple[Effect, ...]:
        """Take the result of an effect; returns what follows from it."""
        self._begin(now)
        if isinstance(result, KvResult | KvFailure):
            self._flushes.share(effect_id, result, now)
        elif not isinstance(result, Stored):
            self._outflow.complete(effect_id, result, now)
        if self._persistence is not None and isinstance(result, Stored | StorageFailure):
            self._ingest.stored(effect_id, now, is_safe=isinstance(result, Stored))
            self._outflow.stored(self._persistence.complete(effect_id, result, now), now)
        self._flushes.catch_up(now)
        return self._due(now)

    def landed(self, effect_id: int) -> bool:
        """A record is in the journal: most often that is all, and a call of ``complete`` saved.

        Returns:
            Whether it is. If not, call ``complete``.
        """
        if self._exchange is not None or self._parts.storage_failure:
            return False
        assert self._persistence is not None, "only a durable worker has a journal"
        self._persistence.landed(effect_id)
        return True

    def drain(self) -> None:
        """The process is about to stop: tell load balancers by ``/ready``."""
        self._draining = True

    def close(self, now: int, left: int | None = None) -> tuple[Effect, ...]:
        """Flush for the last time.

        Go on with ``poll`` and ``complete`` until ``drained``, or as long as there is time.
        No series gets a stale marker: each goes on when the process comes back.

        Args:
            now: Current time in ms.
            left: ms until the process has to have stopped; None: what the settings allow.
        """
        self._begin(now)
        self._draining = True
        self._flushes.close(now, self.config.shutdown_timeout if left is None else left)
        self._outflow.hurry()
        return self._due(now)

    @property
    def drained(self) -> bool:
        """Whether nothing waits for delivery, nor for the disk."""
        waits = self._flushes.last_waits or self._flushes.is_working
        if self._persistence is not None:
            waits |= not self._persistence.is_idle
        return not waits and all(queue.is_empty for queue in self._outflow.queues)

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
        """The state as bytes, to be taken right after a flush; see ``core/engine/snapshot``.

        Ends a flush that is under way.
        """
        return self._flushes.snapshot()

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
        pace: int = DEFAULT_BUDGET,
        embedded: bool = False,
    ) -> Self:
        """The worker of a snapshot; ``resume`` and ``replay`` what stands beside it.

        Raises:
            SnapshotError: The snapshot is damaged, or of another version.
        """
        saved = snapshot.decode(blob)
        worker = cls(
            config,
            instance=instance,
            seed=seed,
            durable=durable,
            shared=shared,
            embedded=embedded,
            pace=pace,
        )
        checkpoint.put_back(saved, worker._parts, worker._limits, worker._flushes.timer)
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
        self._outflow.flush_many_logs(record.at)

    def _begin(self, now: int) -> None:
        """The first call of any kind tells when the worker came to life; one that comes before
        the last, that the clock was put back. No other need tell anybody."""
        if self._latest is not None and now >= self._latest:
            self._latest = now
            return
        self._latest = now
        self._flushes.begin(now)
        if self._exchange is not None:
            self._exchange.begin(now)
        self._outflow.begin(now)

    def _after_request(self, now: int) -> tuple[Effect, ...]:
        self._flushes.came_in(now)
        return self._due(now)

    def _due(self, now: int) -> tuple[Effect, ...]:
        effects: list[Effect] = [*self._outflow.notices(), *self._limits.notices()]
        if self._exchange is not None:
            update = self._exchange.due(self._ids.next, now)
            if update is not None:
                self._ids.next += 1
                effects.append(update)
            effects += self._exchange.notices()
        requests = self._outflow.due(self._ids.next, now)
        self._ids.next += len(requests)
        if self._persistence is not None:
            self._flushes.persist_if_needed(now)
            effects += self._persistence.take_effects()
        return (*effects, *requests)
