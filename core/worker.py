"""The worker: requests in, effects out.

This module is the table of contents:

    keys           core/access              who may do what
    requests       core/engine/requests     routes, CORS, answers about the worker itself
    batches        core/engine/ingest       from a request to an accepted batch
    series, logs   core/engine/batch_applier
    flushes        core/engine/flush        when state is exported, in steps
    export         core/engine/export       series, log entries and rows of views to payloads
    delivery       core/engine/destination_queues   in order, one request at a time, retried
    erasure        core/engine/erasure      of a viewer, everywhere
    disk           core/engine/durability   journal, snapshot, outbox: acknowledged means durable
    cluster        core/cluster             agreement between several workers
    state          core/engine/checkpoint   of all of these, for the snapshot

Nothing here does I/O or knows the time: ``now`` comes in (ms since the epoch), effects go out. The
same calls give the same bytes.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from .access.key_ring import KeyRing
from .access.keys_reload import KeysReload
from .cluster.partition import Partition
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
from .engine import checkpoint, repartition, snapshot
from .engine.components import Components
from .engine.dedup import RESTORED
from .engine.erasure import Erasures
from .engine.flush import FlushScheduler
from .engine.health_report import LimitNotifier
from .engine.requests import Requests
from .http.messages import Request, Response
from .metrics import health_metrics
from .primitives.incremental import DEFAULT_BUDGET
from .primitives.timer import earliest


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
        self.instance = instance
        self._components = Components(
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
        self._delivery = self._components.delivery
        self._forwarding = self._components.forwarding
        self._durability = self._components.durability
        self._coordinator = self._components.coordinator
        self._limits = LimitNotifier(self._components)
        self._flushes = FlushScheduler(self._components, self._limits, budget, started_at)
        self._erasures = Erasures(self._components, self._flushes, self._keys, has_files=embedded)
        self._requests = Requests(
            self._components,
            self._flushes,
            self._erasures,
            self._keys,
            instance,
            secret if embedded and config.has_dashboard else None,
        )
        self._latest: int | None = None  # the time of the last call, ms

    # Requests

    def start_relaying(self) -> None:
        """Relay requests to the owners of their views from now on, if there are others.

        For shells that carry out many ``Forward`` effects at a time, without a delay. Otherwise
        the batches are forwarded (``core/cluster/forwarding``).
        """
        self._requests.start_relaying()

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
        effects, is_all = self._requests.handle(request_id, request, now)
        return effects if is_all else self._due(now, effects)

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
        effects, is_all = self._requests.handle_peer(request_id, body, now)
        return effects if is_all else self._due(now, effects)

    def refuse(self, status: int, message: str, headers: Mapping[str, str]) -> Response:
        """Answer a request that never became one (malformed, too large, too slow)."""
        return self._requests.refuse(status, message, headers)

    # Time and effects

    def poll(self, now: int) -> tuple[Effect, ...]:
        """Do the work that is due: flushes, retries, updates of the shared store.

        A flush of many series needs several calls.
        """
        self._begin(now)
        if self._coordinator is not None and not self._components.queue.is_held:
            self._coordinator.apply_overdue(now)
        self._flushes.poll(now)
        return self._due(now, self._requests.take_from_owners(now))

    def next_poll(self) -> int | None:
        """Return when ``poll`` will have something to do, ms; None while nothing is in sight."""
        if self._flushes.is_working:
            return self._flushes.work_due_at
        times = [self._flushes.next_flush(), self._delivery.next_poll()]
        if self._forwarding is not None:
            times.append(self._forwarding.next_poll)
        if self._coordinator is not None:
            times.append(self._coordinator.next_poll())
        if self._durability is not None:
            times.append(self._durability.next_attempt)
        times += (
            self._requests.next_poll,
            self._keys_reload.next_poll,
            self._erasures.next_poll,
        )
        return earliest(times)

    def complete(self, effect_id: int, result: Result, now: int) -> tuple[Effect, ...]:
        """Process the result of an effect.

        Returns:
            The effects that follow, the answers that waited for it among them.
        """
        self._begin(now)
        relayed = self._requests.finish_relayed(effect_id, result, now)
        if relayed is not None:
            return relayed.effects if relayed.is_all else self._due(now, relayed.effects)
        responses: list[Respond] = []
        self._erasures.complete(effect_id, result, now)
        match result:
            case Erased():
                pass
            case Page():
                responses = self._requests.finish_page(effect_id, result, now)
            case KeysFile():
                self._keys_reload.complete(effect_id, result, now)
            case KvResult() | KvFailure():
                self._flushes.complete_update(effect_id, result, now)
            case Stored():
                finished = self._requests.finish_record(effect_id, now, is_written=True)
                if finished is None:
                    self._finish_persist(effect_id, result, now)
                else:
                    responses = finished
                    if self._coordinator is None and self._flushes.is_quiet:
                        # Fast path, a third fewer calls: nothing but series and log entries
                        # follows from most records, and ``next_poll`` reports full log requests.
                        self._flushes.advance(now)
                        forwarding = self._forwarding
                        must_forward = forwarding is not None and forwarding.must_forward(now)
                        if not (must_forward or self._erasures.is_running):
                            return tuple(responses)
            case StorageFailure():
                finished = self._requests.finish_record(effect_id, now, is_written=False)
                if finished is not None:
                    responses = finished
                    self._note_storage_failure(result, now)
                self._delivery.complete(effect_id, result, now)
                self._finish_persist(effect_id, result, now)
            case _:
                self._delivery.complete(effect_id, result, now)
        self._flushes.advance(now)
        self._flushes.make_requested_flush(now)
        return self._due(now, responses)

    def _finish_persist(self, effect_id: int, result: Stored | StorageFailure, now: int) -> None:
        if self._durability is not None:
            released = self._durability.complete(effect_id, result, now)
            self._delivery.release_staged(released, now)

    def _note_storage_failure(self, failure: StorageFailure, now: int) -> None:
        if self._durability is not None:
            self._durability.note_failure(failure, now)

    def drain(self) -> None:
        """Report by ``/ready`` that the process is about to stop, for load balancers."""
        self._requests.is_draining = True

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
        self._requests.is_draining = True
        remaining = self.config.shutdown_timeout if remaining is None else remaining
        responses = self._requests.take_from_owners(now, all_=True)
        self._flushes.close(now, remaining, is_final=is_final)
        self._delivery.begin_drain()
        if self._forwarding is not None:
            self._forwarding.begin_drain()
        self._erasures.abort()
        return self._due(now, responses)

    @property
    def drained(self) -> bool:
        """Whether nothing waits for delivery or for the disk."""
        return self._is_written and all(
            queue.is_drained for group in self._delivery.groups for queue in group.active
        )

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing waits for the disk, to be applied, or to be forwarded."""
        is_forwarding = self._forwarding is not None and self._forwarding.is_forwarding
        return self._is_written and not is_forwarding

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
        return self._delivery.waiting

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
        self._delivery.resume(payloads, now)

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
        self._export.export_logs_early(record.at, full_only=True)

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
            *self._requests.finish_erasures(now),
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
        if self._forwarding is not None:
            self._forwarding.forward_due(now)
        requests = self._delivery.due_requests(self._ids, now)
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
