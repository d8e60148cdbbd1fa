"""The worker: requests in, responses and effects out.

This module is the table of contents:

    requests    core/api          routes, keys, CORS, and what the worker says of itself
    events      core/ingest       from a body to series and log entries
    flushes     core/outflow      from series and log entries to requests, delivered in order
    sharing     core/sharing      what several workers have to agree on

Nothing here does I/O or knows the time: ``now`` comes in (ms since the epoch), effects go
out. The same calls give the same bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from openqoe.core.api import answers, auth, cors, reports, routes
from openqoe.core.api.routes import Route
from openqoe.core.config import Config
from openqoe.core.effects import Effect, KvResult, Notice, Result
from openqoe.core.http.messages import Request, Response
from openqoe.core.ingest import Ingest
from openqoe.core.metrics import health
from openqoe.core.metrics.health import Health, Vitals
from openqoe.core.outflow import Outflow
from openqoe.core.sharing import Sharing
from openqoe.core.timer import Timer
from openqoe.core.version import VERSION


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        response: The answer.
        effects: What the outside must do.
        route: Where the request led.
    """

    response: Response
    effects: tuple[Effect, ...]
    route: Route


class Worker:
    """The deterministic heart of the service.

    Args:
        config: The settings.
        instance: The ``instance`` label of every series; two workers must never share one.
        seed: Of the jitter between retries; should differ between workers.
    """

    def __init__(self, config: Config, *, instance: str, seed: int = 0) -> None:
        self.config = config
        self.instance = instance
        self._health = Health(VERSION)
        self._outflow = Outflow(config, self._health, instance=instance, seed=seed)
        self._ingest = Ingest(config, self._health, self._outflow.log)
        self._outflow.export(self._ingest.registry, self._health.registry)
        self._sharing = Sharing(self._ingest.governor, config.kv_sync_interval)
        self._flush_timer = Timer(config.flush_interval)
        self._next_id = 1
        self._draining = False
        self._closed = False
        self._noticed: set[str] = set()

    # Requests

    def handle(self, request: Request, now: int) -> Outcome:
        """Answer a request.

        Never raises for anything a request can hold. When the response has been handed
        over, call ``answered``.
        """
        self._begin(now)
        endpoint = routes.find(request.path)
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
        else:
            response = self._answer(route, request, now)
        response = self._finish(response, request.headers, route)
        return Outcome(response, self._after_request(now), route)

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one (malformed, too large, too slow)."""
        if status == 503:
            response = answers.unavailable(message, reports.RETRY_AFTER)
        else:
            response = answers.failure(status, message)
        return self._finish(response, headers, Route.NONE)

    def failed(self, request: Request) -> Response:
        """Answer a request whose handling broke: by a fault of ours, so without its insides."""
        return self._finish(answers.failure(500, "Internal error"), request.headers, Route.NONE)

    def answered(self, route: Route, seconds: float) -> None:
        """Note how long a request took, from its last byte to the answer's hand-over (s)."""
        self._health.count(health.DURATION, seconds, route=route.value)

    def _answer(self, route: Route, request: Request, now: int) -> Response:
        match route:
            case Route.EVENTS:
                return self._ingest.take(request, now)
            case Route.STATS:
                return reports.stats(
                    request.query, self._ingest, self._outflow.queues, self.instance, now
                )
            case Route.METRICS:
                self._collect(now)
                return reports.metrics(self._health)
            case Route.READY:
                return reports.ready(draining=self._draining)
            case _:
                return reports.healthy(now)

    def _finish(self, response: Response, headers: Mapping[str, str], route: Route) -> Response:
        self._health.count(health.REQUESTS, route=route.value, status=str(response.status))
        cross_origin = cors.headers(headers, self.config.cors_allowed_origins)
        return Response(response.status, (*response.headers, *cross_origin), response.body)

    # Time and effects

    def poll(self, now: int) -> tuple[Effect, ...]:
        """Do what is due: flushes, retries, the exchange with the key-value store."""
        self._begin(now)
        # Once closed, what comes in late would only keep the queues from running empty.
        wanted = not self._closed and (self.config.flush_interval or self._ingest.is_dirty)
        if wanted and self._flush_timer.is_due(now):
            self._flush(now)
        return self._due(now)

    def next_poll(self) -> int | None:
        """When ``poll`` will have something to do; None while nothing is in sight."""
        times = [self._outflow.next_poll(), self._sharing.next_poll()]
        if not self._closed and (self.config.flush_interval or self._ingest.is_dirty):
            times.append(self._flush_timer.next)
        return min((time for time in times if time is not None), default=None)

    def complete(self, effect_id: int, result: Result, now: int) -> tuple[Effect, ...]:
        """Take the result of an effect; returns what follows from it."""
        if self._sharing.complete(effect_id, result, now):
            self._ingest.renew_labels(now)
        if not isinstance(result, KvResult):
            self._outflow.complete(effect_id, result, now)
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
        self._flush(now, last=True)
        self._outflow.hurry()
        return self._due(now)

    @property
    def drained(self) -> bool:
        """Whether nothing waits for delivery."""
        return all(queue.empty for queue in self._outflow.queues)

    @property
    def undelivered(self) -> Mapping[str, int]:
        """Samples or log entries that wait for delivery, by destination."""
        return self._outflow.waiting

    def _begin(self, now: int) -> None:
        """The first call of any kind tells when the worker came to life."""
        self._flush_timer.start(now)
        self._sharing.begin(now)
        self._outflow.begin(now)

    def _after_request(self, now: int) -> tuple[Effect, ...]:
        if not self.config.flush_interval and self._ingest.is_dirty:
            self._flush(now, last=True)  # there may be no later
        elif self._outflow.has_many_logs:
            self._outflow.flush_logs(now)
        return self._due(now)

    def _flush(self, now: int, *, last: bool = False) -> None:
        """Send everything.

        Args:
            now: Current time in ms.
            last: Whether this may be the last flush, so that nothing can wait for an
                explanation by later events.
        """
        self._flush_timer.restart(now)
        self._ingest.is_dirty = False
        meter = self._ingest.meter
        meter.settle(now, all_of_them=last)
        meter.expire(now)
        meter.count_concurrent(now)
        self._collect(now)
        self._outflow.flush_metrics(now)
        self._outflow.flush_logs(now)

    def _due(self, now: int) -> tuple[Effect, ...]:
        effects: list[Effect] = [*self._outflow.notices(), *self._limits_reached()]
        update = self._sharing.due(self._next_id, now)
        if update is not None:
            self._next_id += 1
            effects.append(update)
        requests = self._outflow.due(self._next_id, now)
        self._next_id += len(requests)
        return (*effects, *requests)

    def _collect(self, now: int) -> None:
        """Read for the health metrics what is kept elsewhere."""
        ingest = self._ingest
        log = self._outflow.log
        vitals = Vitals(
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
        )
        self._health.collect(vitals, self._outflow.queues, now)

    def _limits_reached(self) -> list[Notice]:
        """Say once that a limit was reached: from then on labels lose detail."""
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
