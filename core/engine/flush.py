"""Flushes: when they are made, and their incremental work.

Theory of operation. A flush captures series and views in steps (``primitives/incremental``), and
all of them must be of one moment. So batches are journalled and answered meanwhile, but not
applied, and replies of the shared store are deferred. Once the flush has captured its state, the
batches that wait are applied, oldest first, in steps as well.

A flush ends with a checkpoint on disk, after which the journal's records up to it are not needed.
Only one checkpoint is written at a time; a flush that falls due before that is made afterwards.
"""

from collections.abc import Callable

from ..effects import KvFailure, KvResult
from ..primitives.incremental import IncrementalWork, run_to_end
from ..primitives.timer import Timer
from ..qoe.reorder_window import REORDER_WINDOW
from . import checkpoint, health_report, snapshot
from .components import Components
from .fault_notice import fault_notice
from .health_report import LimitNotifier
from .ingest import UNITS_PER_EVENT

# A flush delays the batches that arrive meanwhile. They must not arrive faster than its work gets
# done, so each batch does some of it, in proportion to its events, and more the fuller the queue:
# clients that leave no time for a flush are slowed down a little, rather than rejected when the
# queue is full. Rejected batches do none.

FLUSH_UNITS_PER_EVENT = 2
"""Units of a flush done for each event that arrives at an empty queue. Few, because clients wait
for it; the flush mostly uses the time that they leave. Not zero, because they might leave none."""

APPLY_UNITS_PER_EVENT = UNITS_PER_EVENT + 1
"""Units of waiting batches applied for each event that arrives at an empty queue: its own cost and
one more, so that the queue shrinks however many arrive."""

MORE_UNITS_PER_EVENT = 48
"""Units that an event pays for beyond these at a full queue, in proportion below. While a queue of
64 MiB fills with events of 300 bytes, four million units are done: a flush of a million series."""

MORE_BUDGETS = 7
"""Budgets of units that one batch pays for beyond the first at a full queue, in proportion below:
a batch of many events must not hold up the others for long."""

MAX_ABSENCE = 2_000
"""ms by which a flush may be late without consequence. If it is later, the process was away, and
other workers of the host have kept batches for it."""

CATCH_UP_INTERVAL = 60_000
"""ms between two times of catching up: on a machine that is always late, views end all the same."""


class FlushScheduler:
    """Makes the flushes of a worker.

    Attributes:
        timer: Determines when the next flush is due.
        work_due_at: When the work under way was due, ms.
        begun: Number of flushes begun.
    """

    def __init__(
        self, components: Components, limits: LimitNotifier, budget: int, started_at: int | None
    ) -> None:
        """
        Args:
            components: The worker's components.
            limits: Notices already given, which the checkpoint holds.
            budget: Units of work that one call does at the most.
            started_at: When the process began to run the worker (ms), if it is known.
        """
        self._components = components
        self._interval = components.config.flush_interval
        self._max_waiting_bytes = components.config.max_waiting_bytes
        self._queue = components.queue
        self._applier = components.applier
        self._ingest = components.ingest
        self._export = components.export
        self._forwarding = components.forwarding
        self._durability = components.durability
        self._coordinator = components.coordinator
        self._pace = components.pace
        self._limits = limits
        self._budget = budget
        self._started_at = started_at
        self.timer = Timer(self._interval)
        self.begun = 0
        self.work_due_at = 0
        self._flushing: IncrementalWork[None] | None = None
        self._arrived_events = 0  # at the previous call
        self._deferred: list[Callable[[int], None]] = []  # replies of the store, until the release
        self._flush_requested = False  # as soon as possible: it may be the last
        self._closed = False
        self._is_final = False  # no process continues after this one
        self._has_flushed_late = False  # once more, after the last flush
        self._returned_at: int | None = None  # when this worker of several was back, ms
        self._notices = components.notices
        self._deadline = 0  # when a stopping process flushes with whatever is applied

    def start(self, now: int) -> None:
        """Start the timer; only the first call has an effect."""
        self.timer.start(now)
        if now < self.work_due_at:  # the clock was set back
            self.work_due_at = now

    # When

    @property
    def is_idle(self) -> bool:
        """Whether nothing keeps a flush from beginning, and all batches are applied."""
        return not (self.is_working or self._closed or self._is_disk_busy)

    @property
    def _may_flush(self) -> bool:
        if self._closed or self._is_disk_busy:
            return False
        return bool(self._interval or self._applier.is_dirty)

    @property
    def is_working(self) -> bool:
        """Whether a flush is under way, or batches can be applied."""
        return self._flushing is not None or self._queue.next_to_apply() is not None

    @property
    def is_quiet(self) -> bool:
        """Whether no flush is under way, requested, or made for every batch."""
        return not (self._flushing or self._flush_requested or self._closed) and self._interval > 0

    @property
    def is_complete(self) -> bool:
        """Whether no flush is under way or requested."""
        return not (self._flush_requested or self.is_working)

    @property
    def _is_disk_busy(self) -> bool:
        return self._durability is not None and self._durability.is_busy

    def collect_health(self, now: int) -> None:
        """Set the health metrics whose values are kept elsewhere."""
        health_report.collect(self._components, self._started_at, now)

    def poll(self, now: int) -> None:
        """Do the work that is due, within the budget."""
        if self._may_flush and not self.is_working and self.timer.is_due(now):
            self._begin_flush(now)
        else:
            self._work(self._budget, now)
        if self._closed:
            self.make_requested_flush(now)

    def make_due(self) -> None:
        """Let the next poll make a flush, even if nothing has changed."""
        self._applier.is_dirty = True
        self.timer.make_due()

    def next_flush(self) -> int | None:
        """Return when the next flush is due, ms; None while none is in sight."""
        if self._closed and self._flush_requested and not self._is_disk_busy:
            return self._deadline
        return self.timer.next_due if self._may_flush else None

    def advance(self, now: int) -> None:
        """Do the work that the batches which arrived since the previous call pay for."""
        arrived = self._ingest.journalled_events - self._arrived_events
        if arrived:
            self._arrived_events += arrived
            fill = min(1.0, self._queue.bytes / self._max_waiting_bytes)
            more = MORE_UNITS_PER_EVENT * fill
            if self._flushing is None:
                self._ingest.apply_waiting(int(arrived * (APPLY_UNITS_PER_EVENT + more)), now)
            else:
                most = int(self._budget * (1 + MORE_BUDGETS * fill))
                self._work(min(int(arrived * (FLUSH_UNITS_PER_EVENT + more)), most), now)
        if not self._interval and self._applier.is_dirty:
            self._flush_requested = True  # there may be no later call
            self.make_requested_flush(now)
        else:
            self._export.export_logs_early(now, full_only=True)

    def make_requested_flush(self, now: int) -> None:
        """Make a flush that could not be made when it was requested."""
        # Batches that were applied after the last flush need one more. Those that other workers of
        # the host forward do not end while these run: later ones stay in the journal.
        is_late = self._closed and self._applier.is_dirty and not self._flush_requested
        if is_late and not (self._has_flushed_late and self._forwarding is not None):
            self._flush_requested = self._has_flushed_late = True
        if self.is_working or self._is_disk_busy:
            return
        if self._flush_requested:
            if self._closed and not self._may_flush_last(now):
                return
            self._flush_requested = False
            self._begin_flush(now, last=True)
        elif self._export.can_resume_held_flush:
            self._begin_flush(now, last=self._closed)  # the process may be ending

    def _may_flush_last(self, now: int) -> bool:
        """Whether everything accepted has been applied, or there is no time to wait for it."""
        coordinator = self._coordinator
        if coordinator is None:
            return not self._queue.unapplied or now >= self._deadline
        if coordinator.is_complete:
            # The last batches may have stalls that no later event is going to explain.
            run_to_end(coordinator.time_out_views(now, ignore_timeout=True))
        if coordinator.may_wait(now):
            return coordinator.is_complete
        coordinator.give_up(now)
        return True

    def close(self, now: int, remaining: int, *, is_final: bool) -> None:
        """Make the last flush as soon as possible.

        Args:
            now: Current time in ms.
            remaining: ms until the process must have stopped.
            is_final: Whether no process continues after this one.
        """
        self._closed = self._flush_requested = True
        self._is_final = is_final
        self._deadline = now + remaining // 2
        self.finish_work(now)
        if self._coordinator is not None:
            run_to_end(self._coordinator.time_out_views(now, ignore_timeout=True))
            keeps_rest = self._durability is not None
            self._coordinator.begin_shutdown(now, remaining, keeps_rest=keeps_rest)
        self.make_requested_flush(now)

    def write_checkpoint(self, now: int) -> None:
        """Write a checkpoint now; nothing may be under way."""
        self._begin_work(self._persist(now), now)
        self.finish_work(now)

    def persist_if_needed(self, now: int) -> None:
        """Write a checkpoint between flushes, to find out whether the disk works again."""
        if self._durability is None or not self._durability.needs_persist(now):
            return
        if not self.is_working:
            self._begin_work(self._persist(now), now)

    # The shared store

    def complete_update(self, effect_id: int, result: KvResult | KvFailure, now: int) -> None:
        """Process the store's answer, unless a flush is capturing state: then afterwards."""
        if self._queue.is_held:
            self._deferred.append(lambda now: self.complete_update(effect_id, result, now))
            return
        assert self._coordinator is not None, "only a worker that shares asks a store"
        self._coordinator.complete(effect_id, result, now)
        if self._coordinator.drain_label_changes():
            self._applier.renew_labels(now)
        self._export.export_logs_early(now, full_only=True)
        if not self._interval and self._applier.is_dirty:
            self._flush_requested = True  # there may be no later call

    # The work

    def capture_snapshot(self) -> bytes:
        """Return the state as bytes. Completes a flush that is under way."""
        self.finish_work(self.work_due_at)
        captured = run_to_end(checkpoint.capture(self._components, self._limits, self.timer))
        return b"".join(run_to_end(snapshot.encode(captured)))

    def finish_work(self, now: int) -> None:
        """Do all work that is under way."""
        while self.is_working:
            self._work(self._budget, now)

    def _begin_flush(self, now: int, *, last: bool = False) -> None:
        """Begin a flush.

        Args:
            now: Current time in ms.
            last: Whether no later call may follow.
        """
        self._begin_work(self._flush(now, last=last), now)
        if last:
            self.finish_work(now)

    @property
    def _is_continued(self) -> bool:
        """Whether a later process continues after the last flush: it gets, in the snapshot, the
        signals and stalls that wait for later ones, and counts them as this one would have."""
        return self._closed and not self._is_final and self._durability is not None

    def _is_catching_up(self, now: int) -> bool:
        """Whether batches may be on their way that others have kept for this worker.

        Until they are here, no time-out says anything about their views.
        """
        if self._forwarding is None or not self._forwarding.partition.others or not self._interval:
            return False
        due, since = self.timer.next_due, self._returned_at
        if due is not None and now - due > MAX_ABSENCE:
            if since is None or not 0 <= now - since < CATCH_UP_INTERVAL:
                self._returned_at = since = now
        return since is not None and 0 <= now - since < REORDER_WINDOW

    def _flush(self, now: int, *, last: bool) -> IncrementalWork[None]:
        self.begun += 1
        is_catching_up = self._is_catching_up(now)
        self._pace.begin_flush(None if last else self.timer.next_due, now)
        self.timer.interval = self._pace.interval
        self.timer.restart(now)
        self._applier.is_dirty = False
        recorder = self._applier.recorder
        if self._coordinator is None:
            if last or not is_catching_up:
                recorder.resolve_pending(now, ignore_timeout=last and not self._is_continued)
                yield from recorder.expire_views(now)
        elif not self._closed:
            yield from self._coordinator.time_out_views(now, ignore_timeout=last)
        concurrent = yield from recorder.views.count_concurrent(now)
        if self._coordinator is not None:
            concurrent = self._coordinator.concurrent_views(now, concurrent)
        yield from recorder.set_concurrent(concurrent)
        yield from self._applier.labeller.free_discarded()
        self.collect_health(now)
        yield from self._export.flush(now)
        yield from self._persist(now)

    def _persist(self, now: int) -> IncrementalWork[None]:
        """Write a checkpoint."""
        if self._durability is None:
            return
        # A snapshot holds neither log entries nor batches that wait to be forwarded.
        self._export.export_logs_early(now)
        if self._forwarding is not None:
            self._forwarding.forward_all(now)
        captured = yield from checkpoint.capture(self._components, self._limits, self.timer)
        self._durability.begin_checkpoint(self._queue.first_unapplied)
        self._release(now)
        encoded = yield from snapshot.encode(captured)
        self._durability.persist(self._components.ids.issue(), encoded, now)

    def _begin_work(self, work: IncrementalWork[None], now: int) -> None:
        self._flushing = work
        self.work_due_at = now
        self._queue.is_held = True
        self._work(self._budget, now)

    def _work(self, units: int, now: int) -> None:
        """Continue the work under way."""
        while self._flushing is not None and units > 0:
            try:
                units -= next(self._flushing)
            except StopIteration:
                self._flushing = None
                self._pace.end_flush(now)
                self._release(now)
            except Exception as error:  # a fault of ours must not hold batches for ever
                self._flushing = None
                if self._durability is None:
                    self._notices.append(fault_notice("flush failed", error))
                else:
                    if not self._durability.failure:  # once, not with each attempt
                        self._notices.append(fault_notice("flush failed", error))
                    self._durability.abort_checkpoint(now)
                self._release(now)
        self._ingest.apply_waiting(units, now)

    def _release(self, now: int) -> None:
        """Let batches be applied again: the flush has captured its state."""
        self._queue.is_held = False
        deferred, self._deferred = self._deferred, []
        for complete in deferred:
            complete(now)
        if self._coordinator is not None:
            self._coordinator.apply_overdue(now)
