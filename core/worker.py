"""The worker: requests in, effects out.

This module is the table of contents:

    keys           core/access              who may do what
    requests       core/api                 routes, CORS, answers about the worker itself
    batches        core/engine/ingest       from a request to an accepted batch
    series, logs   core/engine/batch_applier
    flushes        core/engine/flush        when state is exported, in steps
    delivery       core/engine/export       series and log entries to payloads, queues in order
    erasure        core/engine/erasure      of a viewer, everywhere
    disk           core/engine/durability   journal, snapshot, outbox: acknowledged means durable
    cluster        core/cluster             agreement between several workers
    state          core/engine/checkpoint   of all of these, for the snapshot

Nothing here does I/O or knows the time: ``now`` comes in (ms since the epoch), effects go out. The
same calls give the same bytes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from .access.api_key import Scope
from .access.key_ring import OPEN, Grant, KeyRing, Refusal
from .access.keys_reload import KeysReload
from .access.offered_keys import offers_key
from .api import answers, cors, dashboard_access, reports, routes
from .api.dashboard_access import DashboardAccess
from .api.failed_keys import FailedKeys
from .api.routes import NOT_CROSS_ORIGIN, Endpoint, Route
from .cluster.forwarding import ForwardedBatch
from .cluster.partition import Partition
from .cluster.relay import Relay, RelayedRequest, WaitingRequest, encode_response, read_response
from .config.worker_config import Config
from .effects import (
    DedupEntry,
    Effect,
    Erased,
    KeysFile,
    KvFailure,
    KvResult,
    Notice,
    Page,
    Record,
    Respond,
    Result,
    StorageFailure,
    Stored,
    StoredPayload,
)
from .engine import checkpoint, components, repartition, snapshot, stats_report
from .engine.dedup import RESTORED
from .engine.erasure import ErasureAnswer, Erasures, PeerErasure
from .engine.flush import FlushScheduler
from .engine.health_report import LimitNotifier
from .events.batch import OpenRequest
from .http.messages import Request, Response
from .metrics import health_metrics
from .primitives.incremental import DEFAULT_BUDGET
from .primitives.timer import earliest

_decode_peer_request = msgspec.msgpack.Decoder(
    list[ForwardedBatch] | RelayedRequest | PeerErasure
).decode


class Worker:
    """The deterministic state machine at the heart of the service.

    Args:
        config: The settings.
        instance: The ``instance`` label of every series; two workers must never share one.
        seed: Of the jitter between retries; should differ between workers.
        durable: Whether the shell carries out storage effects, so that accepted batches survive a
            crash.
        shared: Whether the shell carries out ``KvUpdate`` effects on a store that other workers
            use too, so that all of them count as one.
        partition: The slots of this host that share the views, and the worker's own; needs
            ``durable`` and excludes ``shared``. None if the worker owns all views it sees.
        embedded: Whether the shell has an embedded store (requests to ``embedded:`` URLs) and a
            dashboard (``LoadPage`` effects); the settings decide whether they are used.
        budget: Units of work of a flush that one call does at the most, in series and views.
            ``next_poll`` asks to be called again at once for the rest.
        started_at: When the process began to run this worker (ms), for its health metrics.
        keys: Content of the keys file, if there is one; ``ReadKeys`` asks for it again.
        secret: A secret of the service, with which sessions are signed and fields are hashed: the
            same in all workers that share a data directory. Without one it is derived from the
            seed.

    Raises:
        KeysFileError: The keys file is invalid.

    Attributes:
        config: The settings.
        instance: The ``instance`` label.
        partition: The slots that share the views, and the worker's own; None without a partition.
    """

    def __init__(
        self,
        config: Config,
        *,
        instance: str,
        seed: int = 0,
        durable: bool = False,
        shared: bool = False,
        partition: Partition | None = None,
        embedded: bool = False,
        budget: int = DEFAULT_BUDGET,
        started_at: int | None = None,
        keys: bytes | None = None,
        secret: bytes = b"",
    ) -> None:
        assert partition is None or (durable and not shared), "only durable workers forward"
        self.config = config
        self.partition = partition
        secret = secret or b"seed %d" % seed
        self._keys = KeyRing(config, keys)
        self._notices: list[Notice] = []
        is_used = config.keys_file is not None
        self._keys_reload = KeysReload(self._keys, self._notices, is_used=is_used)
        self._failed_keys = FailedKeys()
        self.instance = instance
        self._components = components.create_components(
            config,
            instance=instance,
            seed=seed,
            durable=durable,
            shared=shared,
            embedded=embedded,
            secret=secret,
            partition=partition,
            ring=self._keys,
            notices=self._notices,
        )
        self._ids = self._components.ids
        self._health = self._components.health
        self._ingest = self._components.ingest
        self._export = self._components.export
        self._durability = self._components.durability
        self._coordinator = self._components.coordinator
        self._dashboard: DashboardAccess | None = None
        if embedded and config.has_dashboard:
            self._dashboard = DashboardAccess(self._keys, secret, self._failed_keys)
        self._open_pages: dict[int, OpenRequest] = {}  # by the effect that loads the page
        self._relay = Relay(partition) if partition is not None and partition.others else None
        self._limits = LimitNotifier(self._components)
        self._flushes = FlushScheduler(self._components, self._limits, budget, started_at)
        self._erasures = Erasures(self._components, self._flushes, self._keys, has_files=embedded)
        self._draining = False
        self._latest: int | None = None  # the time of the last call, ms

    # Requests

    def handle(self, request_id: int, request: Request, now: int) -> tuple[Effect, ...]:
        """Handle a request.

        Never raises for anything a request can hold.

        Args:
            request_id: The caller's id of the request. One ``Respond`` with it is the first of the
                effects, or, if the answer has to wait for an effect (only with ``durable``, or for
                a page of the dashboard), the first of those of its ``complete``.
            request: The request.
            now: Current time in ms.
        """
        self._begin(now)
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
                204, cors.preflight_headers(request.headers, self.config.cors_allowed_origins)
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
            response = self._ingest.shed(request, now)
            if response is None and (forward := self._relay_to_owner(opened, grant, now)):
                return (forward,)
            response = response or self._ingest.ingest_request(opened, grant, now)
            if response is None and self._durability is not None:
                # Nothing is applied before the record is written, so nothing else can be due.
                return tuple(self._durability.drain_effects())
            self._flushes.advance(now)
        else:
            response = self._report(route, request, grant, now)
        return self._due(now, () if response is None else (self._respond(opened, response, now),))

    def handle_peer(self, request_id: int, body: bytes, now: int) -> tuple[Effect, ...]:
        """Handle a request of another worker of this host, or of a command.

        It is the body of a ``Forward``, or asks for a part of an erasure (``EraseInSlots``).

        Args:
            request_id: The caller's id of the request, distinct from those of ``handle``. One
                ``Respond`` with it follows, now or with a later call: 204 once all batches are
                safe, 200 with what was erased or with the answer to a relayed request; otherwise
                the sender must try again, or do without.
            body: The body.
            now: Current time in ms.
        """
        self._begin(now)
        assert self._durability is not None, "only durable workers have peers"
        try:
            asked = _decode_peer_request(body)
        except msgspec.DecodeError:
            return (Respond(request_id, Response(400)),)
        if isinstance(asked, PeerErasure):
            if self._draining:
                return (Respond(request_id, self.refuse(503, "Shutting down", {})),)
            self._erasures.begin_for_peer(request_id, asked, now)
            return self._due(now)
        if isinstance(asked, RelayedRequest):
            return self._handle_relayed(request_id, asked, now)
        answer = self._components.forwarded.accept(request_id, asked, now)
        effects = tuple(self._durability.drain_effects())
        return effects if answer is None else (answer, *effects)

    def _relay_to_owner(self, opened: OpenRequest, grant: Grant, now: int) -> Effect | None:
        """Return the effect that relays a request; None if it is to be handled here."""
        if self._relay is None:
            return None
        owner = self._relay.owner_of(opened.request)
        if owner is None or not self._export.is_reachable(owner):
            return None
        return self._relay.send(self._ids.issue(), owner, opened, grant, now)

    def _handle_relayed(
        self, request_id: int, relayed: RelayedRequest, now: int
    ) -> tuple[Effect, ...]:
        """Handle a request that the worker which received it has found to be allowed."""
        assert self._durability is not None, "only durable workers have peers"
        request = relayed.request
        endpoint = routes.find_endpoint(request.path)
        is_busy = self._draining or self._ingest.is_overloaded or relayed.is_late(now)
        if is_busy or endpoint is None or endpoint.route not in routes.INGEST:
            return (Respond(request_id, Response(503)),)
        grant = self._authorize(endpoint, request)
        if isinstance(grant, Refusal):  # it has not read new keys yet
            return (Respond(request_id, Response(503)),)
        opened = OpenRequest(request_id, request, endpoint.route.value, now, is_relayed=True)
        response = self._ingest.ingest_request(opened, grant, now)
        effects = tuple(self._durability.drain_effects())
        return effects if response is None else (self._respond(opened, response, now), *effects)

    def _ingest_here(self, waited: Iterable[WaitingRequest], now: int) -> list[Effect]:
        """Handle requests that their owners have not accepted; returns the answers there are."""
        return [
            self._respond(opened, response, now)
            for opened, grant, _ in waited
            if (response := self._ingest.ingest_request(opened, grant, now)) is not None
        ]

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
    ) -> tuple[Effect, ...]:
        opened = OpenRequest(
            request_id, request, Route.DASHBOARD.value, request.last_byte_at or now
        )
        answer = dashboard.handle_request(request, self._ids.upcoming, now)
        if isinstance(answer, Response):
            return self._due(now, (self._respond(opened, answer, now),))
        self._open_pages[self._ids.issue()] = opened
        if answer.path == dashboard_access.DELIVERY and answer.orgs is None:
            state = stats_report.overview(self._components, self.instance, now)
            answer = replace(answer, worker_state=state)
        return self._due(now, (answer,))

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
                return stats_report.stats(request.query, self._components, self.instance, now)
            case Route.METRICS:
                self._flushes.collect_health(now)
                reader = self._keys.authorize(request, Scope.READ)
                with_details = isinstance(reader, Grant) and reader.orgs is None
                return reports.metrics_response(self._health, with_details=with_details)
            case Route.READY:
                failure = self._components.storage_failure
                pace = self._components.pace
                return reports.readiness_response(
                    draining=self._draining,
                    storage_failure=failure,
                    behind=pace.behind,
                    stretched_interval=pace.interval if pace.is_stretched else None,
                )
            case _:
                return reports.health_response(now)

    def _respond(self, opened: OpenRequest, response: Response, now: int) -> Respond:
        if opened.is_relayed:  # counted by the worker that received it
            return Respond(opened.id, encode_response(response))
        seconds = max(0, now - opened.since) / 1000
        self._health.count(health_metrics.DURATION, seconds, route=opened.route)
        finished = self._finish(response, opened.request.headers, opened.route)
        return Respond(opened.id, finished)

    def _respond_to_erasure(self, answer: ErasureAnswer, now: int) -> Respond:
        if answer.opened is None:
            return Respond(answer.request_id, answer.response)
        return self._respond(answer.opened, answer.response, now)

    def _finish(self, response: Response, headers: Mapping[str, str], route: str) -> Response:
        self._health.count(health_metrics.REQUESTS, route=route, status=str(response.status))
        if route in NOT_CROSS_ORIGIN:
            return answers.without_caching(response)
        cross_origin = cors.response_headers(headers, self.config.cors_allowed_origins)
        return Response(response.status, (*response.headers, *cross_origin), response.body)

    # Time and effects

    def poll(self, now: int) -> tuple[Effect, ...]:
        """Do the work that is due: flushes, retries, updates of the shared store.

        A flush of many series needs several calls.
        """
        self._begin(now)
        if self._coordinator is not None and not self._components.queue.is_held:
            self._coordinator.apply_overdue(now)
        self._flushes.poll(now)
        overdue = () if self._relay is None else self._relay.take_overdue(now)
        return self._due(now, self._ingest_here(overdue, now))

    def next_poll(self) -> int | None:
        """Return when ``poll`` will have something to do, ms; None while nothing is in sight."""
        if self._flushes.is_working:
            return self._flushes.work_due_at
        times = [self._flushes.next_flush(), self._export.next_poll()]
        if self._coordinator is not None:
            times.append(self._coordinator.next_poll())
        if self._durability is not None:
            times.append(self._durability.next_attempt)
        if self._relay is not None:
            times.append(self._relay.next_poll)
        times += (self._keys_reload.next_poll, self._erasures.next_poll)
        return earliest(times)

    def complete(self, effect_id: int, result: Result, now: int) -> tuple[Effect, ...]:
        """Process the result of an effect.

        Returns:
            The effects that follow, the answers that waited for it among them.
        """
        self._begin(now)
        if self._relay is not None and (relayed := self._relay.finish(effect_id)) is not None:
            return self._finish_relayed(relayed, result, now)
        responses: list[Effect] = []
        self._erasures.complete(effect_id, result, now)
        match result:
            case Erased():
                pass
            case Page():
                responses = self._finish_page(effect_id, result, now)
            case KeysFile():
                self._keys_reload.complete(effect_id, result, now)
            case KvResult() | KvFailure():
                self._flushes.complete_update(effect_id, result, now)
            case Stored():
                finished = self._finish_record(effect_id, now, is_written=True)
                if finished is None:
                    self._finish_persist(effect_id, result, now)
                else:
                    responses = finished
                    if self._coordinator is None and self._flushes.is_quiet:
                        # Fast path, a third fewer calls: nothing but series and log entries
                        # follows from most records, and ``next_poll`` reports full log requests.
                        self._flushes.advance(now)
                        if not (self._export.must_forward(now) or self._erasures.is_running):
                            return tuple(responses)
            case StorageFailure():
                finished = self._finish_record(effect_id, now, is_written=False)
                if finished is not None:
                    responses = finished
                    self._note_storage_failure(result, now)
                self._export.complete(effect_id, result, now)
                self._finish_persist(effect_id, result, now)
            case _:
                self._export.complete(effect_id, result, now)
        self._flushes.advance(now)
        self._flushes.make_requested_flush(now)
        return self._due(now, responses)

    def _finish_relayed(
        self, relayed: WaitingRequest, result: Result, now: int
    ) -> tuple[Effect, ...]:
        response = read_response(result)
        if response is None:
            return self._due(now, self._ingest_here((relayed,), now))
        return (self._respond(relayed.opened, response, now),)

    def _finish_page(self, effect_id: int, page: Page, now: int) -> list[Effect]:
        opened = self._open_pages.pop(effect_id, None)
        if opened is None or self._dashboard is None:
            return []
        return [self._respond(opened, self._dashboard.page_response(opened.request, page), now)]

    def _finish_record(self, effect_id: int, now: int, *, is_written: bool) -> list[Effect] | None:
        """Return the answers that waited for a record; None if the effect writes no record."""
        finished = self._ingest.finish_record(effect_id, is_written=is_written, now=now)
        if finished is None:
            return None
        return [
            *(self._respond(opened, response, now) for opened, response in finished),
            *self._components.forwarded.finish_record(effect_id, is_written=is_written),
        ]

    def _finish_persist(self, effect_id: int, result: Stored | StorageFailure, now: int) -> None:
        if self._durability is not None:
            released = self._durability.complete(effect_id, result, now)
            self._export.release_staged(released, now)

    def _note_storage_failure(self, failure: StorageFailure, now: int) -> None:
        if self._durability is not None:
            self._durability.note_failure(failure, now)

    def drain(self) -> None:
        """Report by ``/ready`` that the process is about to stop, for load balancers."""
        self._draining = True

    def close(
        self, now: int, remaining: int | None = None, *, is_final: bool = False
    ) -> tuple[Effect, ...]:
        """Flush for the last time.

        Continue with ``poll`` and ``complete`` until ``drained``, or as long as there is time. No
        series gets a stale marker: each continues when the process comes back. So do the events of
        the last seconds that later ones may explain (a stall, a pause): they are in the snapshot.

        Args:
            now: Current time in ms.
            remaining: ms until the process must have stopped; None: as the settings say.
            is_final: Whether no process comes back, so that these events are counted as they are.
                Without ``durable`` they always are.
        """
        self._begin(now)
        self._draining = True
        remaining = self.config.shutdown_timeout if remaining is None else remaining
        waited = () if self._relay is None else self._relay.take_overdue()
        responses = self._ingest_here(waited, now)
        self._flushes.close(now, remaining, is_final=is_final)
        self._export.hurry()
        self._erasures.abort()
        return self._due(now, responses)

    @property
    def drained(self) -> bool:
        """Whether nothing waits for delivery or for the disk."""
        return self._is_written and all(
            queue.is_drained for group in self._export.groups for queue in group.active
        )

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits for the disk, to be applied, or to be forwarded."""
        return self._is_written and not self._export.is_forwarding

    @property
    def _is_written(self) -> bool:
        if not self._flushes.is_complete or self._components.queue.has_unjournalled:
            return False
        return self._durability is None or not self._durability.is_busy

    @property
    def storage_failure(self) -> str:
        """Why the disk cannot be written; "" if it can."""
        return self._components.storage_failure

    def forget_viewer(self, org_id: str, viewer_ids: Collection[str]) -> None:
        """Remove the ids of a viewer from the views that the next snapshot holds.

        Args:
            org_id: The viewer's organisation.
            viewer_ids: The forms of the id.
        """
        self._components.applier.recorder.views.forget_viewer(org_id, viewer_ids)

    @property
    def undelivered(self) -> Mapping[str, int]:
        """Items that wait for delivery, by destination; batches for a slot (``slot-1``)."""
        return self._export.waiting

    @property
    def waiting_batches(self) -> int:
        """Batches in the journal that no snapshot on disk holds yet."""
        if self._durability is None:
            return 0
        return self._durability.last_record - self._durability.checkpoint_record

    # State

    def checkpoint(self, now: int) -> tuple[Effect, ...]:
        """Write a snapshot, besides those of flushes. The worker must be at rest."""
        self._begin(now)
        self._flushes.write_checkpoint(now)
        return self._due(now)

    def snapshot(self) -> bytes:
        """Return the state as bytes; see ``core/engine/snapshot``.

        Completes a flush that is under way.
        """
        return self._flushes.capture_snapshot()

    def restore(self, blob: bytes) -> None:
        """Restore a snapshot, before anything else is called; then ``resume`` and ``replay``.

        Raises:
            SnapshotError: The snapshot is damaged, or of another version. Nothing was restored.
        """
        saved = snapshot.decode(blob)
        checkpoint.restore(saved, self._components, self._limits, self._flushes.timer)

    def resume(
        self,
        payloads: Iterable[StoredPayload],
        accepted: Iterable[DedupEntry],
        last_record: int,
        last_payload: int,
        now: int,
    ) -> None:
        """Continue with the outbox and journal that an earlier process left beside its snapshot.

        Args:
            payloads: The outbox, in order of number.
            accepted: The deduplication window, oldest first.
            last_record: The highest number that a record ever had.
            last_payload: The highest number that a payload ever had.
            now: Current time in ms.
        """
        assert self._durability is not None, "only a durable worker has something to resume"
        self._durability.last_record = self._durability.checkpoint_record = last_record
        self._durability.last_payload = last_payload
        for entry in accepted:
            self._ingest.dedup.remember(entry.digest, entry.events, entry.at, RESTORED)
        self._export.resume(payloads, now)

    def replay(self, record: Record) -> None:
        """Apply a record of the journal once more; in order, before anything else.

        Raises:
            ValueError: It is no batch that this version accepts. The next may be replayed.
        """
        if self._durability is not None:
            before = record.number - 1
            self._durability.checkpoint_record = min(self._durability.checkpoint_record, before)
        self._begin(record.at)
        self._ingest.replay(record)
        self._export.flush_full_logs(record.at)

    def note_missing_records(self, count: int) -> None:
        """Count acknowledged batches that the journal should hold and does not."""
        if count:
            self._health.count(health_metrics.RECORDS_MISSING, count)

    def _begin(self, now: int) -> None:
        """Start the timers with the first call, and again if the clock was set back."""
        if self._latest is not None and now >= self._latest:
            self._latest = now
            return
        self._latest = now
        self._flushes.start(now)
        if self._coordinator is not None:
            self._coordinator.start(now)
        self._export.start(now)
        self._keys_reload.start(now)

    def _due(self, now: int, first: Iterable[Effect] = ()) -> tuple[Effect, ...]:
        """Return the effects of a call: those given, then all that are due."""
        erasing = self._erasures.advance(now)
        self._limits.note_reached()
        effects: list[Effect] = [
            *first,
            *(self._respond_to_erasure(answer, now) for answer in self._erasures.drain_answers()),
            *self._notices,
        ]
        self._notices.clear()
        read_keys = self._keys_reload.next_effect(self._ids.upcoming, now)
        if read_keys is not None:
            self._ids.issue()
            effects.append(read_keys)
        if self._coordinator is not None:
            update = self._coordinator.next_update(self._ids.upcoming, now)
            if update is not None:
                self._ids.issue()
                effects.append(update)
            effects += self._notices
            self._notices.clear()
        requests = self._export.due_requests(self._ids, now)
        if self._durability is not None:
            self._flushes.persist_if_needed(now)
            effects += self._durability.drain_effects()
        return (*effects, *requests, *erasing)


def move_to_slots(workers: Sequence[Worker], slots: int) -> None:
    """Copy each view to its owner of a new number of slots; see ``core/engine/repartition``.

    Args:
        workers: The workers of all slots, at rest; call ``checkpoint`` of each afterwards.
        slots: The new number of slots.
    """
    repartition.copy_state([worker._components for worker in workers], slots)
