"""Requests: from a client, or from another worker of the host, to the answer.

Who may do what is decided here, by ``core/access``; then the request goes to the part that answers
it: ``ingest``, the owner of its views (``core/cluster/relay``), ``erasure``, the dashboard, or a
report about the worker itself. Some answers wait for an effect; its result brings them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import msgspec

from ..access.api_key import Scope
from ..access.key_ring import OPEN, Grant, KeyRing, Refusal
from ..access.offered_keys import offers_key
from ..api import answers, cors, dashboard_access, reports, routes
from ..api.body_formats import BODY_FORMATS
from ..api.dashboard_access import DashboardAccess
from ..api.failed_keys import FailedKeys
from ..api.routes import NOT_CROSS_ORIGIN, Endpoint, Route
from ..cluster.forwarding import ForwardedBatch
from ..cluster.relay import Relay, RelayedRequest, WaitingRequest, encode_response, read_response
from ..effects import Effect, Page, Respond, Result
from ..events.batch import OpenRequest
from ..http.messages import Request, Response
from ..metrics import health_metrics
from . import stats_report
from .components import Components
from .erasure import Erasures, PeerErasure
from .flush import FlushScheduler
from .forwarded_batches import UNAVAILABLE

_decode_peer_request = msgspec.msgpack.Decoder(
    list[ForwardedBatch] | RelayedRequest | PeerErasure
).decode


class Handled(NamedTuple):
    """The effects of a request, or of a result that some waited for.

    Attributes:
        effects: The effects; answers first.
        is_all: Whether nothing else of the worker can be due because of it.
    """

    effects: tuple[Effect, ...]
    is_all: bool = False


class Requests:
    """Answers requests.

    Args:
        components: The components of the worker.
        flushes: Its flushes.
        erasures: Its erasures.
        keys: The keys.
        instance: The ``instance`` label.
        dashboard_secret: Signs the sessions of the dashboard; None if there is no dashboard.

    Attributes:
        is_draining: Whether the process is about to stop.
    """

    def __init__(
        self,
        components: Components,
        flushes: FlushScheduler,
        erasures: Erasures,
        keys: KeyRing,
        instance: str,
        dashboard_secret: bytes | None,
    ) -> None:
        self.is_draining = False
        self._components = components
        self._flushes = flushes
        self._erasures = erasures
        self._keys = keys
        self._instance = instance
        self._config = components.config
        self._ids = components.ids
        self._health = components.health
        self._ingest = components.ingest
        self._durability = components.durability
        self._failed_keys = FailedKeys()
        self._dashboard: DashboardAccess | None = None
        if dashboard_secret is not None:
            self._dashboard = DashboardAccess(keys, dashboard_secret, self._failed_keys)
        self._open_pages: dict[int, OpenRequest] = {}  # by the effect that loads the page
        self._relay: Relay | None = None

    def start_relaying(self) -> None:
        """Relay requests from now on; see ``Worker.start_relaying``."""
        forwarding = self._components.forwarding
        if forwarding is not None and forwarding.partition.others:
            self._relay = Relay(forwarding)

    # From clients

    def handle(self, request_id: int, request: Request, now: int) -> Handled:
        """Handle a request; see ``Worker.handle``."""
        endpoint = routes.find_endpoint(request.path)
        if endpoint is routes.DASHBOARD:
            if self._dashboard is not None:
                return self._open_page(self._dashboard, request_id, request, now)
            endpoint = None
        route = Route.NONE if endpoint is None else endpoint.route
        since = request.last_byte_at or now
        opened = OpenRequest(request_id, request, route.value, since)
        response: Response | None
        if request.method == "OPTIONS":
            opened = opened._replace(route=Route.PREFLIGHT.value)
            response = Response(
                204, cors.preflight_headers(request.headers, self._config.cors_allowed_origins)
            )
        elif endpoint is None:
            response = answers.error_response(404, "Not found")
        elif request.method not in endpoint.methods:
            allow = ", ".join((*endpoint.methods, "OPTIONS"))
            response = answers.error_response(405, "Method not allowed", ("Allow", allow))
        elif isinstance(grant := self._authorize(endpoint, request), Refusal):
            response = self._refuse_key(route, request, grant, now)
        elif route is Route.ERASE:
            response = self._erasures.begin(opened, grant, now)
        elif route in routes.INGEST:
            return self._ingest_or_relay(opened, grant, now)
        else:
            response = self._report(route, request, grant, now)
        return Handled(() if response is None else (self._respond(opened, response, now),))

    def _ingest_or_relay(self, opened: OpenRequest, grant: Grant, now: int) -> Handled:
        response = self._ingest.shed(opened.request, now)
        if response is None and self._relay is not None:
            body_format = BODY_FORMATS[opened.route]
            owner = self._relay.owner_of(body_format.find_view_id(opened.request.body))
            if owner is not None:
                effect = self._relay.send(self._ids.issue(), owner, opened, grant, now)
                return Handled((effect,), is_all=True)
        response = response or self._ingest.ingest_request(opened, grant, now)
        if response is None and self._durability is not None:
            # Nothing is applied before the record is written, so nothing else can be due.
            return Handled(tuple(self._durability.drain_effects()), is_all=True)
        self._flushes.advance(now)
        return Handled(() if response is None else (self._respond(opened, response, now),))

    def _authorize(self, endpoint: Endpoint, request: Request) -> Grant | Refusal:
        return self._keys.authorize(request, endpoint.scope) if endpoint.needs_key else OPEN

    def _refuse_key(self, route: Route, request: Request, refusal: Refusal, now: int) -> Response:
        """Answer a request that no key permits. Readers may try only so many wrong ones."""
        if refusal is Refusal.KEY and route not in routes.INGEST and offers_key(request):
            wait = self._failed_keys.note(request, now)
            if wait:
                return answers.too_many_wrong_keys(wait)
        if route is Route.CMCD and self._keys.offers_revoked_key(request):
            return answers.gone()
        return answers.forbidden(refusal)

    def _open_page(
        self, dashboard: DashboardAccess, request_id: int, request: Request, now: int
    ) -> Handled:
        opened = OpenRequest(
            request_id, request, Route.DASHBOARD.value, request.last_byte_at or now
        )
        answer = dashboard.handle_request(request, self._ids.upcoming, now)
        if isinstance(answer, Response):
            return Handled((self._respond(opened, answer, now),))
        self._open_pages[self._ids.issue()] = opened
        if answer.path == dashboard_access.DELIVERY and answer.orgs is None:
            state = stats_report.overview(self._components, self._instance, now)
            answer = replace(answer, worker_state=state)
        return Handled((answer,))

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one (malformed, too large, too slow)."""
        if status == 503:
            response = answers.unavailable(message, answers.RETRY_AFTER_S)
        else:
            response = answers.error_response(status, message)
        return self._finish(response, headers, Route.NONE.value)

    def _report(self, route: Route, request: Request, grant: Grant, now: int) -> Response:
        match route:
            case Route.STATS:
                if grant.orgs is not None:
                    return answers.forbidden(Refusal.ORGS)
                return stats_report.stats(request.query, self._components, self._instance, now)
            case Route.METRICS:
                self._flushes.collect_health(now)
                reader = self._keys.authorize(request, Scope.READ)
                with_details = isinstance(reader, Grant) and reader.orgs is None
                return reports.metrics_response(self._health, with_details=with_details)
            case Route.READY:
                failure = self._components.storage_failure
                pace = self._components.pace
                return reports.readiness_response(
                    draining=self.is_draining,
                    storage_failure=failure,
                    behind=pace.behind,
                    stretched_interval=pace.interval if pace.is_stretched else None,
                )
            case _:
                return reports.health_response(now)

    # From other workers of the host

    def handle_peer(self, request_id: int, body: bytes, now: int) -> Handled:
        """Handle a request of another worker; see ``Worker.handle_peer``."""
        assert self._durability is not None, "only durable workers have peers"
        try:
            asked = _decode_peer_request(body)
        except msgspec.DecodeError:
            return Handled((Respond(request_id, Response(400)),), is_all=True)
        if isinstance(asked, PeerErasure):
            if self.is_draining:
                response = self.refuse(503, "Shutting down", {})
                return Handled((Respond(request_id, response),), is_all=True)
            self._erasures.begin_for_peer(request_id, asked, now)
            return Handled(())
        if isinstance(asked, RelayedRequest):
            answer = self._handle_relayed(request_id, asked, now)
        else:
            answer = self._components.forwarded.accept(request_id, asked, now)
        effects = self._durability.drain_effects()
        return Handled(tuple(effects) if answer is None else (answer, *effects), is_all=True)

    def _handle_relayed(self, request_id: int, relayed: RelayedRequest, now: int) -> Respond | None:
        """Accept a batch from the worker that received it, which has found it to be allowed."""
        request = relayed.request
        endpoint = routes.find_endpoint(request.path)
        is_busy = self.is_draining or self._ingest.is_overloaded or relayed.is_late(now)
        if is_busy or endpoint is None or endpoint.route not in routes.INGEST:
            return Respond(request_id, UNAVAILABLE)
        grant = self._authorize(endpoint, request)
        if isinstance(grant, Refusal):  # it has not read new keys yet
            return Respond(request_id, UNAVAILABLE)
        opened = OpenRequest(request_id, request, endpoint.route.value, now, is_relayed=True)
        response = self._ingest.ingest_request(opened, grant, now)
        return None if response is None else self._respond(opened, response, now)

    # Answers that waited for an effect

    def finish_relayed(self, effect_id: int, result: Result, now: int) -> Handled | None:
        """Process the answer of another worker; None if no request waits for the effect."""
        waited = None if self._relay is None else self._relay.finish(effect_id)
        if waited is None:
            return None
        response = read_response(result)
        if response is None:
            return Handled(tuple(self._ingest_here((waited,), now)))
        return Handled((self._respond(waited.opened, response, now),), is_all=True)

    def take_from_owners(self, now: int, *, all_: bool = False) -> list[Respond]:
        """Handle the requests whose owners take too long, or all that wait for an owner.

        Returns:
            Their answers; of those that wait for the journal later.
        """
        if self._relay is None:
            return []
        return self._ingest_here(self._relay.take_overdue(None if all_ else now), now)

    @property
    def next_poll(self) -> int | None:
        """When to call ``take_from_owners``, ms; None while no request waits for an owner."""
        return None if self._relay is None else self._relay.next_poll

    def _ingest_here(self, waited: Iterable[WaitingRequest], now: int) -> list[Respond]:
        return [
            self._respond(opened, response, now)
            for opened, grant, _ in waited
            if (response := self._ingest.ingest_request(opened, grant, now)) is not None
        ]

    def finish_page(self, effect_id: int, page: Page, now: int) -> list[Respond]:
        """Answer the request that waited for a page of the dashboard."""
        opened = self._open_pages.pop(effect_id, None)
        if opened is None or self._dashboard is None:
            return []
        return [self._respond(opened, self._dashboard.page_response(opened.request, page), now)]

    def finish_record(self, effect_id: int, now: int, *, is_written: bool) -> list[Respond] | None:
        """Return the answers that waited for a record; None if the effect writes no record."""
        finished = self._ingest.finish_record(effect_id, is_written=is_written, now=now)
        if finished is None:
            return None
        return [
            *(self._respond(opened, response, now) for opened, response in finished),
            *self._components.forwarded.finish_record(effect_id, is_written=is_written),
        ]

    def finish_erasures(self, now: int) -> list[Respond]:
        """Return the answers to erasures that have ended."""
        return [
            Respond(answer.request_id, answer.response)
            if answer.opened is None
            else self._respond(answer.opened, answer.response, now)
            for answer in self._erasures.drain_answers()
        ]

    # Responses

    def _respond(self, opened: OpenRequest, response: Response, now: int) -> Respond:
        if opened.is_relayed:  # counted by the worker that received it
            return Respond(opened.id, encode_response(response))
        seconds = max(0, now - opened.since) / 1000
        self._health.count(health_metrics.DURATION, seconds, route=opened.route)
        finished = self._finish(response, opened.request.headers, opened.route)
        return Respond(opened.id, finished)

    def _finish(self, response: Response, headers: Mapping[str, str], route: str) -> Response:
        self._health.count(health_metrics.REQUESTS, route=route, status=str(response.status))
        if route in NOT_CROSS_ORIGIN:
            return answers.without_caching(response)
        cross_origin = cors.response_headers(headers, self._config.cors_allowed_origins)
        return Response(response.status, (*response.headers, *cross_origin), response.body)
