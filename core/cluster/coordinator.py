"""The exchange with the shared store: one update at a time, and none is lost.

Batches go to the store as soon as the update before has been answered, cardinality and
presence at an interval. If an update fails, all of it is asked again: the store takes every
operation twice without harm. Meanwhile the worker goes on by what it knows itself; what it may
not know alone waits for the patience.

A store that was emptied (a server without a disk was restarted, keys were evicted) has lost
the mark that the first worker left there. Then every worker tells again what it knows.
"""

from itertools import islice
from typing import cast

import msgspec

from ..config.worker_config import Config
from ..effects import KvFailure, KvResult, KvUpdate, Notice, Result
from ..governance.governor import Governor
from ..kv import Claim, Operation, Reply
from ..metrics.series import Labels
from ..primitives.incremental import Work
from ..primitives.timer import Timer
from .cardinality_sync import CardinalitySync
from .concurrency_sync import ConcurrencySync
from .shared_views import SharedViews, Taker, Waiting
from .sync_participant import Part
from .view_timeout import ViewTimeoutState

FIRST_RETRY = 250
"""ms until an update that failed is tried again; twice as long each time."""

LAST_RETRY = 5_000
"""ms between attempts at the most."""

AWAY_AT_THE_END = 2_000
"""ms for which a store that is away is waited for when the process is about to stop."""

MOST_BEHIND = 50_000
"""Events that may wait for a store that answers; past it there are too many for it."""

EPOCH = "epoch"
"""Key of the mark that tells one life of the store from the next."""


class CoordinatorState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The exchange in a snapshot.

    Attributes:
        synced_at: When cardinality and presence were exchanged last, ms.
        epoch: The mark of the store; "" if none was seen.
        alone: Batches counted without the store so far.
        duplicates: Batches that another worker had accepted so far.
        updates: Updates by outcome so far.
        lapses: What the logs of views should still hear.
    """

    synced_at: int | None = None
    epoch: str = ""
    alone: int = 0
    duplicates: int = 0
    updates: dict[str, int] = {}
    lapses: list[ViewTimeoutState] = []


class Coordinator:
    """Talks to the store.

    Attributes:
        updates: Updates so far by outcome.
        failure: Why the store does not answer at present; "" while it does.
    """

    def __init__(self, config: Config, taker: Taker, governor: Governor, instance: str) -> None:
        self._instance = instance
        self._patience = config.kv_patience
        self._timer = Timer(config.kv_sync_interval)
        self._admissions = CardinalitySync(governor)
        self._presence = ConcurrencySync(instance, config.kv_sync_interval)
        self._views = SharedViews(
            taker,
            self._presence,
            instance,
            batches_kept=config.dedup_window,
            views_kept=config.max_event_age + config.view_timeout,
        )
        self._update: KvUpdate | None = None
        self._parts: tuple[tuple[Part, int], ...] = ()  # of the update, with their operations
        self._epoch = ""
        self._failures = 0
        self._failed_since = 0
        self._failed_at = 0
        self._notices: list[Notice] = []
        # When the process is to stop waiting for the store: one that is away, any
        self._ends: tuple[int, int] | None = None
        self._keeps_rest = False
        self._gave_up = False
        self.updates = {"done": 0, "failed": 0}
        self.failure = ""

    def begin(self, now: int) -> None:
        """Note when the worker came to life; only the first call counts."""
        self._timer.start(now)

    # What comes in

    def add(self, waiting: Waiting, now: int) -> None:
        """A batch is in the journal, if there is one."""
        self._views.add(waiting)
        if self.is_alone(now):
            waiting.since = now - self._patience
            self.poll(now)

    def lapse(self, now: int, *, all_of_them: bool) -> Work[None]:
        """Look for views for which time has passed."""
        self._views.settle(now, all_of_them=all_of_them)
        yield from self._views.expire(now)
        if self.is_alone(now):
            self.poll(now)

    def concurrent(self, now: int, alone: dict[Labels, int]) -> dict[Labels, int]:
        """Concurrent views by base labels, as far as this worker is to tell of them.

        Args:
            now: Current time in ms.
            alone: What it knows itself, which is told while the store is away.
        """
        if self.is_alone(now):
            return alone
        return {} if self._ends is not None else dict(self._presence.counts)

    # What goes out

    def poll(self, now: int) -> None:
        """Time has passed: count alone what has waited for too long."""
        self._views.lose_patience(now - self._patience, now)

    def due(self, effect_id: int, now: int) -> KvUpdate | None:
        """The update that is to be run now, if there is one."""
        if self._update is not None or (self.failure and now < self._next_attempt):
            return None
        is_time = self._timer.is_due(now)
        if not is_time and not self._views.is_waiting:
            return None
        parts: list[Part] = [self._views]
        if is_time:
            self._timer.restart(now)
            parts += (self._admissions, self._presence)
        operations: list[Operation] = [Claim(EPOCH, f"{self._instance} {now}", None)]
        counts = []
        for part in parts:
            before = len(operations)
            operations += part.operations(now)
            counts.append(len(operations) - before)
        self._parts = tuple(zip(parts, counts, strict=True))
        self._update = KvUpdate(effect_id, tuple(operations))
        return self._update

    def next_poll(self) -> int | None:
        """When there will be something to do."""
        times: list[int | None] = []
        waits_since = self._views.waits_since
        if waits_since is not None:
            times.append(waits_since + self._patience)
        if self._ends is not None and not self._gave_up and not self.is_counted:
            times += self._ends
        if self._update is None:
            if self.failure:
                times.append(self._next_attempt)
            elif self._views.is_waiting:
                times.append(0)
            else:
                times.append(self._timer.next)
        return min((time for time in times if time is not None), default=None)

    def complete(self, effect_id: int, result: Result, now: int) -> None:
        """Take the result of an update."""
        update = self._update
        if update is None or update.id != effect_id:
            return
        self._update = None
        if not isinstance(result, KvResult):
            self._fail(result.reason if isinstance(result, KvFailure) else "no result", now)
            return
        self.updates["done"] += 1
        if self.failure:
            self._notices.append(
                Notice("info", "the shared store answers again", (("alone", self._views.alone),))
            )
            self.failure, self._failures = "", 0
        replies = iter(result.replies)
        epoch = cast(str, next(replies))
        lost, self._epoch = self._epoch not in ("", epoch), epoch
        if lost:
            self._notices.append(Notice("warning", "the shared store has lost what it was told"))
            for each in (self._views, self._admissions, self._presence):
                each.store_lost(now)
            self._timer.hasten()
            return
        for part, count in self._parts:
            part.take(cast(list[Reply], list(islice(replies, count))), now)

    def notices(self) -> list[Notice]:
        """What the operator should read, once."""
        notices, self._notices = self._notices, []
        return notices

    def labels_void(self) -> bool:
        """Whether admissions have changed since this was asked last."""
        changed, self._admissions.changed = self._admissions.changed, False
        return changed

    # Its state

    def end(self, now: int, left: int, *, keeps_rest: bool) -> None:
        """The process is about to stop: there is little time for the store.

        Args:
            now: Current time in ms.
            left: ms that are left. Half of them are for the store; delivery needs the others.
            keeps_rest: Whether snapshot and journal keep what has not been counted then.
        """
        most = left // 2
        self._ends = now + min(AWAY_AT_THE_END, most), now + most
        self._keeps_rest = keeps_rest

    def may_wait(self, now: int) -> bool:
        """Whether there is time left to wait for the store before the process stops."""
        if self._ends is None or self._gave_up:
            return False
        away, longest = self._ends
        return now < (away if self.failure else longest)

    def give_up(self, now: int) -> None:
        """Do without the store: the process stops before it has answered."""
        if self._gave_up or self.is_counted:
            return
        self._gave_up = True
        what = "kept for the next start" if self._keeps_rest else "counted without it"
        fields = (("reason", self.failure or "too slow"), ("batches", self.waiting))
        self._notices.append(Notice("warning", f"the shared store did not answer: {what}", fields))
        if not self._keeps_rest:
            self._views.count_alone(now)

    def is_alone(self, now: int) -> bool:
        """Whether the store has been away for longer than the patience."""
        return bool(self.failure) and now - self._failed_since >= self._patience

    def is_behind(self) -> bool:
        """Whether the store answers, but not as fast as batches come.

        While it is away, batches are taken as long as there is patience.
        """
        return not self.failure and self._views.events > MOST_BEHIND

    @property
    def is_counted(self) -> bool:
        """Whether all has been counted that came in."""
        return self._views.is_counted

    @property
    def waiting(self) -> int:
        """Batches that have been accepted and not counted yet."""
        return len(self._views)

    @property
    def first_uncounted(self) -> int | None:
        """The record number of the first of them."""
        return self._views.first_uncounted

    @property
    def alone(self) -> int:
        """Batches counted without the store so far."""
        return self._views.alone

    @property
    def duplicates(self) -> int:
        """Batches that another worker had accepted before, so far."""
        return self._views.duplicates

    def status(self, now: int) -> dict[str, object]:
        """How it stands, for ``/stats``."""
        return {
            "state": "alone" if self.is_alone(now) else "waiting" if self.failure else "shared",
            "failure": self.failure or None,
            "failing_since": self._failed_since if self.failure else None,
            "waiting_batches": self.waiting,
            "batches_counted_alone": self.alone,
        }

    def state(self) -> CoordinatorState:
        """The state, for a snapshot. Batches that wait are in the journal."""
        return CoordinatorState(
            self._timer.state(),
            self._epoch,
            self.alone,
            self.duplicates,
            dict(self.updates),
            self._views.lapses(),
        )

    def restore(self, state: CoordinatorState) -> None:
        """Take a state back, when the views are."""
        self._timer.restore(state.synced_at)
        self._epoch = state.epoch
        self._views.alone, self._views.duplicates = state.alone, state.duplicates
        self.updates.update(state.updates)
        self._views.restore(state.lapses)

    @property
    def _next_attempt(self) -> int:
        return self._failed_at + min(FIRST_RETRY << min(self._failures - 1, 10), LAST_RETRY)

    def _fail(self, reason: str, now: int) -> None:
        self.updates["failed"] += 1
        if not self.failure:
            self._failed_since = now
            fields = (("reason", reason),)
            self._notices.append(Notice("warning", "the shared store does not answer", fields))
        self.failure = reason or "unknown"
        self._failures += 1
        self._failed_at = now
