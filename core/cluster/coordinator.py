"""The coordinator of several workers: sends updates to the shared store, one at a time.

Batches go to the store as soon as the previous update has been answered, cardinality and concurrent
views at an interval. A failed update is sent again as a whole: every operation may run twice.
Meanwhile the worker continues with local knowledge; state that needs agreement is deferred
until the patience (``OPENQOE_KV_PATIENCE``) expires.

The first worker leaves a mark, the epoch, in the store. If it is gone, the store was emptied (a
server without a disk was restarted, keys were evicted), and every worker publishes its state again.
"""

from itertools import islice
from typing import cast

import msgspec

from ..config.worker_config import Config
from ..effects import KvFailure, KvResult, KvUpdate, Notice, Result
from ..events.batch import Batch
from ..events.batch_queue import BatchQueue
from ..governance.governor import Governor
from ..kv import Claim, Operation, Reply
from ..metrics.series import Labels
from ..primitives.incremental import IncrementalWork
from ..primitives.timer import Timer, earliest
from .cardinality_sync import CardinalitySync
from .concurrency_sync import ConcurrencySync
from .shared_views import Applier, SharedViews
from .sync_participant import SyncParticipant
from .view_timeout import ViewTimeoutState

FIRST_RETRY = 250
"""ms until a failed update is sent again; doubles with each failure."""

LAST_RETRY = 5_000
"""ms between attempts at the most."""

SHUTDOWN_PATIENCE = 2_000
"""ms that a stopping process waits for a store that does not answer."""

MAX_BACKLOG = 50_000
"""Events that may wait for a store that answers; past it requests are rejected."""

EPOCH = "epoch"
"""Key of the mark that distinguishes one life of the store from the next."""


class CoordinatorState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The coordinator in a snapshot.

    Attributes:
        synced_at: When cardinality and concurrent views were synchronised last, ms.
        epoch: The mark of the store; "" if none was seen.
        alone: Batches applied without the store so far.
        duplicates: Batches that another worker had accepted so far.
        updates: Updates by outcome so far.
        timeouts: Time-outs that are still to be written into the logs of views.
    """

    synced_at: int | None = None
    epoch: str = ""
    alone: int = 0
    duplicates: int = 0
    updates: dict[str, int] = {}
    timeouts: list[ViewTimeoutState] = []


class Coordinator:
    """Synchronises a worker with the others through the shared store.

    Attributes:
        updates: Updates so far by outcome.
        failure: Why the store does not answer at present; "" while it does.
    """

    def __init__(
        self,
        config: Config,
        queue: BatchQueue,
        applier: Applier,
        governor: Governor,
        notices: list[Notice],
        instance: str,
    ) -> None:
        self._instance = instance
        self._patience = config.kv_patience
        self._queue = queue
        self._timer = Timer(config.kv_sync_interval)
        self._cardinality = CardinalitySync(governor)
        self._concurrency = ConcurrencySync(instance, config.kv_sync_interval)
        self._views = SharedViews(
            queue,
            applier,
            self._concurrency,
            instance,
            claim_lifetime=config.dedup_window,
            log_lifetime=config.max_event_age + config.view_timeout,
        )
        self._update: KvUpdate | None = None
        # Participants of the update, with the number of their operations
        self._participants: tuple[tuple[SyncParticipant, int], ...] = ()
        self._epoch = ""
        self._failures = 0
        self._failed_since = 0
        self._failed_at = 0
        self._notices = notices
        # Until when a stopping process waits for a store that answers, and for one that does not
        self._store_deadline: int | None = None
        self._outage_deadline = 0
        self._keeps_rest = False
        self._gave_up = False
        self.updates = {"done": 0, "failed": 0}
        self.failure = ""

    def start(self, now: int) -> None:
        """Start the timer; only the first call has an effect."""
        self._timer.start(now)

    # Batches and time

    def note_journalled(self, batch: Batch, now: int) -> None:
        """Note that a batch of the queue may be claimed."""
        if self.is_alone(now):
            batch.waiting_since = now - self._patience
        if not self._queue.is_held:
            self._views.limit_waiting()
            self.apply_overdue(now)

    def apply_overdue(self, now: int) -> None:
        """Apply alone the batches that have waited longer than the patience."""
        self._views.apply_overdue(now - self._patience, now)

    def time_out_views(self, now: int, *, ignore_timeout: bool) -> IncrementalWork[None]:
        """Find views whose stalls stay unexplained, and views that have ended."""
        self._views.time_out_stalls(now, ignore_timeout=ignore_timeout)
        yield from self._views.expire(now)
        if self.is_alone(now):
            self.apply_overdue(now)

    def concurrent_views(self, now: int, own: dict[Labels, int]) -> dict[Labels, int]:
        """Return the concurrent views that this worker reports, by base labels.

        Args:
            now: Current time in ms.
            own: Those that it knows itself; reported while the store is away.
        """
        if self.is_alone(now):
            return own
        return {} if self._store_deadline is not None else dict(self._concurrency.counts)

    # Updates

    def next_update(self, effect_id: int, now: int) -> KvUpdate | None:
        """Return the update to send now, if one is due."""
        if self._update is not None or (self.failure and now < self._next_attempt):
            return None
        is_time = self._timer.is_due(now)
        if not is_time and not self._views.has_work:
            return None
        participants: list[SyncParticipant] = [self._views]
        if is_time:
            self._timer.restart(now)
            participants += (self._cardinality, self._concurrency)
        operations: list[Operation] = [Claim(EPOCH, f"{self._instance} {now}", None)]
        counts = []
        for participant in participants:
            before = len(operations)
            operations += participant.operations(now)
            counts.append(len(operations) - before)
        self._participants = tuple(zip(participants, counts, strict=True))
        self._update = KvUpdate(effect_id, tuple(operations))
        return self._update

    def next_poll(self) -> int | None:
        """Return when something is due, ms; None if nothing is."""
        times: list[int | None] = []
        waits_since = self._views.waits_since
        if waits_since is not None and not self._queue.is_held:
            times.append(waits_since + self._patience)
        if self._store_deadline is not None and not self._gave_up and not self.is_complete:
            times.append(self._outage_deadline if self.failure else self._store_deadline)
        if self._update is None:
            due = 0 if self._views.has_work else self._timer.next_due
            # Earlier, a poll would find nothing to send.
            times.append(due if due is None or not self.failure else max(due, self._next_attempt))
        return earliest(times)

    def complete(self, effect_id: int, result: Result, now: int) -> None:
        """Process the result of an update."""
        update = self._update
        if update is None or update.id != effect_id:
            return
        self._update = None
        if not isinstance(result, KvResult):
            self._fail(result.reason if isinstance(result, KvFailure) else "no result", now)
            return
        self.updates["done"] += 1
        if self.failure:
            fields = (("alone", self._views.alone),)
            self._notices.append(Notice("info", "shared store is available again", fields))
            self.failure, self._failures = "", 0
        replies = iter(result.replies)
        epoch = cast(str, next(replies))
        was_reset, self._epoch = self._epoch not in ("", epoch), epoch
        if was_reset:
            self._notices.append(Notice("warning", "shared store was reset; republishing"))
            self._views.republish(now)
            self._cardinality.republish(now)
            self._concurrency.republish(now)
            self._timer.make_due()
            return
        for participant, count in self._participants:
            participant.process_replies(cast(list[Reply], list(islice(replies, count))), now)

    def drain_label_changes(self) -> bool:
        """Return whether admitted values have changed since the last call."""
        changed, self._cardinality.changed = self._cardinality.changed, False
        return changed

    # Shutdown

    def begin_shutdown(self, now: int, remaining: int, *, keeps_rest: bool) -> None:
        """Limit the wait for the store, because the process stops.

        Args:
            now: Current time in ms.
            remaining: ms until the process must have stopped. Half of it is for the store; delivery
                needs the rest.
            keeps_rest: Whether snapshot and journal keep the batches not applied by then.
        """
        self._store_deadline = now + remaining // 2
        self._outage_deadline = min(now + SHUTDOWN_PATIENCE, self._store_deadline)
        self._keeps_rest = keeps_rest

    def may_wait(self, now: int) -> bool:
        """Whether a stopping process may wait longer for the store."""
        if self._store_deadline is None or self._gave_up:
            return False
        return now < (self._outage_deadline if self.failure else self._store_deadline)

    def give_up(self, now: int) -> None:
        """Stop waiting for the store: the process ends first."""
        if self._gave_up or self.is_complete:
            return
        self._gave_up = True
        outcome = "batches kept for the next start" if self._keeps_rest else "batches applied alone"
        fields = (("reason", self.failure or "too slow"), ("batches", self.waiting))
        self._notices.append(
            Notice("warning", f"shared store did not answer before shutdown; {outcome}", fields)
        )
        if not self._keeps_rest:
            self._views.apply_all_alone(now)

    # Status and state

    def is_alone(self, now: int) -> bool:
        """Whether the store has been away for longer than the patience."""
        return bool(self.failure) and now - self._failed_since >= self._patience

    @property
    def is_behind(self) -> bool:
        """Whether the store answers, but more slowly than batches arrive."""
        return not self.failure and self._queue.events > MAX_BACKLOG

    @property
    def is_complete(self) -> bool:
        """Whether every accepted batch and time-out has been applied."""
        return self._views.is_complete

    @property
    def waiting(self) -> int:
        """Batches that were accepted and are not applied yet."""
        return self._queue.unapplied

    @property
    def alone(self) -> int:
        """Batches applied without the store so far."""
        return self._views.alone

    @property
    def duplicates(self) -> int:
        """Batches that another worker had accepted, so far."""
        return self._views.duplicates

    def status(self, now: int) -> dict[str, object]:
        """Return the state of the shared store for ``/stats``."""
        return {
            "state": "alone" if self.is_alone(now) else "waiting" if self.failure else "shared",
            "failure": self.failure or None,
            "failing_since": self._failed_since if self.failure else None,
            "waiting_batches": self.waiting,
            "batches_counted_alone": self.alone,
        }

    def capture_state(self) -> CoordinatorState:
        """Return the state for a snapshot. Batches that wait are in the journal."""
        return CoordinatorState(
            self._timer.capture_state(),
            self._epoch,
            self.alone,
            self.duplicates,
            dict(self.updates),
            self._views.capture_timeouts(),
        )

    def restore_state(self, state: CoordinatorState) -> None:
        """Restore a captured state; the views must have been restored before."""
        self._timer.restore_state(state.synced_at)
        self._epoch = state.epoch
        self._views.alone, self._views.duplicates = state.alone, state.duplicates
        self.updates.update(state.updates)
        self._views.restore_timeouts(state.timeouts)

    @property
    def _next_attempt(self) -> int:
        return self._failed_at + min(FIRST_RETRY << min(self._failures - 1, 10), LAST_RETRY)

    def _fail(self, reason: str, now: int) -> None:
        self.updates["failed"] += 1
        if not self.failure:
            self._failed_since = now
            fields = (("reason", reason),)
            self._notices.append(Notice("warning", "shared store is unavailable", fields))
        self.failure = reason or "unknown"
        self._failures += 1
        self._failed_at = now
