"""Claims batches and shares the logs of their views: each batch counts once, wherever it arrives.

Theory of operation. A batch is answered as soon as it is in the journal. It is applied when the
shared store has answered two questions: whether the batch is ours (it may have been sent to another
worker as well), and what the other workers have seen of its views meanwhile. Batches are claimed in
the order of arrival, many in one update, which takes some milliseconds. The journal keeps them
until then.

If the store does not answer within the patience, a batch is applied alone, with local knowledge.
It stays in the queue, so that the store learns of it once it is back.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, cast

from ..events.batch import Batch
from ..events.batch_queue import BatchQueue
from ..events.decoder import BatchDecoder, DecodedBatch
from ..events.event_types import Event
from ..kv import Claim, Entry, Extend, Operation, Reply, Summarize, Tail
from ..metrics.series import Labels
from ..primitives.incremental import IncrementalWork
from ..primitives.timer import earliest
from ..qoe.event_context import EventContext
from ..qoe.recorder import Recorder, ViewEvents
from ..qoe.view import NO_VIEW, View, ViewKey, view_key
from . import view_log
from .concurrency_sync import ConcurrencySync
from .sync_participant import SyncParticipant
from .view_timeout import ViewTimeout, ViewTimeoutState

EVENTS_PER_UPDATE = 5_000
"""Events in one update, about: the batch that reaches this number is the last."""

MAX_WAITING_EVENTS = 200_000
"""Events that may wait for the store; past it the oldest batches are applied alone."""

MAX_ENTRIES = 128
"""Entries of one view in ``ENTRIES_WINDOW`` that a worker adds to its log. The cost of a log grows
with the square of its entries in one update, and a page that sends the same view_id for all its
viewers would stall every worker. In that time an SDK sends a few batches; players with CMCD send
one for each media request (recorded: Shaka 80, dash.js 37, hls.js 36)."""

ENTRIES_WINDOW = 10_000
"""ms."""

MAX_LATE_BATCHES = 20_000
"""Batches that were applied alone and may still wait to be claimed."""

MAX_TIMEOUTS = 20_000
"""Time-outs that may wait for the store; past it the oldest are applied alone."""


class Applier(Protocol):
    """Applies batches; ``engine.batch_applier`` implements it."""

    decoder: BatchDecoder
    recorder: Recorder

    def apply(self, batch: Batch) -> None:
        """Apply a batch with local knowledge only."""

    def begin_apply(self, batch: Batch, *, is_ours: bool) -> list[tuple[Event, EventContext]]:
        """Apply the part that does not belong to a view; returns all events of the batch."""

    def record_unfollowed(self, events: Sequence[tuple[Event, EventContext]], at: int) -> None:
        """Record events of views with too many batches, without the state of their views."""

    def report_fault(self, batch: Batch, error: Exception) -> None:
        """Report that a fault of ours kept a batch from being applied completely."""


def _by_view(batch: DecodedBatch) -> dict[ViewKey, list[Event]]:
    """Return the events of each view, by event time."""
    views: dict[ViewKey, list[Event]] = {}
    latest: Event | None = None
    own: list[Event] = []
    for event, _ in sorted(batch.events, key=lambda pair: pair[0].event_time):
        if event.view_id == NO_VIEW:
            continue
        # Nearly all events of a batch are of one view; comparing costs less than making a key.
        if latest is None or not _are_of_one_view(event, latest):
            own = views.setdefault(view_key(event), [])
        latest = event
        own.append(event)
    return views


def _are_of_one_view(one: Event, other: Event) -> bool:
    """Whether two events certainly belong to one view. If not, their keys decide."""
    return (
        one.view_id == other.view_id
        and one.org_id == other.org_id
        and one.player == other.player
        and one.video == other.video
    )


class _Claimed(NamedTuple):
    """A batch on which the store has decided.

    Attributes:
        batch: The batch.
        was_applied: Whether it had been applied alone.
        is_ours: Whether no other worker had accepted it.
        tails: The ends of the logs of its views.
    """

    batch: Batch
    was_applied: bool
    is_ours: bool
    tails: dict[ViewKey, Tail]


class _SentCounts(NamedTuple):
    """Numbers of batches, time-outs and summaries in the update under way."""

    batches: int = 0
    timeouts: int = 0
    summaries: int = 0


class SharedViews(SyncParticipant):
    """Claims the batches of the queue, and writes time-outs into the logs of views.

    Attributes:
        alone: Batches applied without the store (grows only).
        duplicates: Batches that another worker had accepted (grows only).
    """

    def __init__(
        self,
        queue: BatchQueue,
        applier: Applier,
        concurrency: ConcurrencySync,
        instance: str,
        *,
        claim_lifetime: int,
        log_lifetime: int,
    ) -> None:
        """
        Args:
            queue: The batches that wait.
            applier: Applies the batches on which the store has decided.
            concurrency: Is notified of each view that is seen.
            instance: This worker's name.
            claim_lifetime: ms for which the store remembers the claim of a batch.
            log_lifetime: ms for which the store keeps the log of a view.
        """
        self._queue = queue
        self._applier = applier
        self._concurrency = concurrency
        self._instance = instance
        self._claim_lifetime = max(1, claim_lifetime)
        self._log_lifetime = log_lifetime
        self._timeouts: list[ViewTimeout] = []
        self._summaries: list[Summarize] = []
        self._sent = _SentCounts()
        self._window = 0  # in which the entries of views are counted
        self._window_entries: Counter[ViewKey] = Counter()
        self.alone = 0
        self.duplicates = 0

    def limit_waiting(self) -> None:
        """Apply the oldest batches alone while too many events wait for the store."""
        while self._queue.events > MAX_WAITING_EVENTS and self._apply_next_alone():
            pass

    def time_out_stalls(self, now: int, *, ignore_timeout: bool) -> None:
        """Note for the logs which views wait for an explanation no longer."""
        for view in self._applier.recorder.views.pop_pending(now, ignore_timeout=ignore_timeout):
            self._timeouts.append(ViewTimeout(view, now, is_end=False))

    def expire(self, now: int) -> IncrementalWork[None]:
        """Note for the logs which views have ended, because they were silent for too long."""
        for view in self._applier.recorder.views.expire_views(now):
            if view is not None:
                self._timeouts.append(ViewTimeout(view, now, is_end=True))
            yield 1

    @property
    def has_work(self) -> bool:
        """Whether there is something for the store."""
        return bool(self._queue.has_unclaimed or self._timeouts or self._summaries)

    @property
    def is_complete(self) -> bool:
        """Whether every batch was applied and no time-out waits for the store."""
        return not self._timeouts and not self._queue.unapplied

    @property
    def waits_since(self) -> int | None:
        """When the oldest batch or time-out that is not applied began to wait, ms."""
        batch = self._queue.next_unapplied
        times = [batch.waiting_since] if batch is not None else []
        times += [timeout.at for timeout in self._timeouts if not timeout.is_counted][:1]
        return earliest(times)

    def apply_overdue(self, before: int, now: int) -> None:
        """Apply alone whatever began to wait before a time (ms), or at it."""
        while (batch := self._queue.next_unapplied) is not None:
            if batch.waiting_since is None or batch.waiting_since > before:
                break
            self._apply_next_alone()
        for timeout in self._timeouts:
            if timeout.at <= before:
                self._apply_timeout(timeout, now)

    def apply_all_alone(self, now: int) -> None:
        """Apply everything that waits, because the process ends."""
        while self._apply_next_alone():
            pass
        self.time_out_stalls(now, ignore_timeout=True)
        for timeout in self._timeouts:
            self._apply_timeout(timeout, now)

    def _apply_next_alone(self) -> bool:
        batch = self._queue.next_unapplied
        if batch is None:
            return False
        self._entries(batch)  # needs the events, which go with the body
        self._applier.apply(batch)
        self._queue.mark_applied()
        self.alone += 1
        return True

    def _entries(self, batch: Batch) -> dict[ViewKey, bytes]:
        """Return the entries that a batch adds to the logs of its views."""
        if batch.entries is None:
            batch.entries = {}
            try:
                for key, events in _by_view(batch.decode(self._applier.decoder)).items():
                    if self._is_followed(key, batch.record.at):
                        batch.entries[key] = view_log.encode_events(events, batch.record.at)
            except Exception as error:
                self._applier.report_fault(batch, error)
        return cast(dict[ViewKey, bytes], batch.entries)

    def _is_followed(self, key: ViewKey, at: int) -> bool:
        """Whether a batch that arrived at a time adds an entry to the log of a view."""
        window = at // ENTRIES_WINDOW
        if window != self._window:
            self._window = window
            self._window_entries.clear()
        self._window_entries[key] += 1
        return self._window_entries[key] <= MAX_ENTRIES

    def _apply_timeout(self, timeout: ViewTimeout, now: int) -> None:
        if not timeout.is_counted:
            timeout.is_counted = True
            self._applier.recorder.record_observations(timeout.view, timeout.observations(), now)

    def _resolve_pending(self, view: View, now: int) -> None:
        """Resolve a pending stall or pause, and count it if it began here."""
        for timeout in self._timeouts:
            if timeout.view is view and not timeout.is_end:
                self._apply_timeout(timeout, now)
        self._applier.recorder.resolve_view(view, now)

    # The store

    def operations(self, now: int) -> list[Operation]:
        """Claim the batches that wait, and extend the logs of their views."""
        operations: list[Operation] = []
        self._queue.drop_applied(MAX_LATE_BATCHES)
        self._drop_timeouts(len(self._timeouts) - MAX_TIMEOUTS, now)
        events = batches = 0
        for position, batch in enumerate(self._queue.unclaimed()):
            if batch.waiting_since is None:
                batch.waiting_since = now
            claim = f"batch:{batch.record.digest.hex()}"
            operations.append(Claim(claim, self._instance, self._claim_lifetime))
            operations += self._extensions(
                batch, is_applied=position < self._queue.applied_unclaimed
            )
            batches += 1
            events += batch.valid_events
            if events >= EVENTS_PER_UPDATE:
                break
        operations += (
            each.operation(self._instance, self._log_lifetime) for each in self._timeouts
        )
        operations += self._summaries
        self._sent = _SentCounts(batches, len(self._timeouts), len(self._summaries))
        return operations

    def _extensions(self, batch: Batch, *, is_applied: bool) -> Iterator[Extend]:
        views = self._applier.recorder.views
        for key, data in self._entries(batch).items():
            if is_applied:
                data = view_log.as_alone(data)
            entry = Entry(batch.record.digest, self._instance, data)
            position = views.log_position(key)
            yield Extend(view_log.log_key(key), entry, position, None, self._log_lifetime)

    def process_replies(self, replies: Sequence[Reply], now: int) -> None:
        """Apply the batches and time-outs that the store has ordered."""
        sent, self._sent = self._sent, _SentCounts()
        del self._summaries[: sent.summaries]
        rest = iter(replies)
        claims = [
            _Claimed(
                batch,
                was_applied,
                cast(str, next(rest)) == self._instance,
                {key: cast(Tail, next(rest)) for key in self._entries(batch)},
            )
            for batch, was_applied in self._queue.mark_claimed(sent.batches)
        ]
        own, labels = self._begin_apply(claims)
        for claim in claims:
            for key, tail in claim.tails.items():
                try:
                    self._catch_up(claim, key, tail, own[key], labels.get(key, ()), now)
                except Exception as error:  # one faulty view must not stop the others
                    self._applier.report_fault(claim.batch, error)
        for timeout in self._timeouts[: sent.timeouts]:
            self._process_timeout(timeout, cast(Tail, next(rest)), now)
        self._forget_timeouts(sent.timeouts)

    def _drop_timeouts(self, count: int, now: int) -> None:
        """Apply the oldest time-outs alone; the other workers have time-outs of their own."""
        if count > 0:
            for timeout in self._timeouts[:count]:
                self._apply_timeout(timeout, now)
            self._forget_timeouts(count)

    def _forget_timeouts(self, count: int) -> None:
        done, self._timeouts = self._timeouts[:count], self._timeouts[count:]
        awaited = {timeout.view.key for timeout in self._timeouts}
        for timeout in done:
            if timeout.is_end and timeout.view.key not in awaited:
                self._applier.recorder.views.compact_view(timeout.view)

    def _begin_apply(
        self, claims: Sequence[_Claimed]
    ) -> tuple[dict[ViewKey, dict[bytes, view_log.Action]], dict[ViewKey, Labels]]:
        """Apply the parts that do not belong to views.

        Returns:
            Actions for this worker's entries, by view and id of the entry; and the base labels of
            views, which are not in their logs.
        """
        own: dict[ViewKey, dict[bytes, view_log.Action]] = {}
        labels: dict[ViewKey, Labels] = {}
        for claim in claims:
            events: list[tuple[Event, EventContext]] = []
            if not claim.was_applied:
                self.duplicates += not claim.is_ours
                try:
                    events = self._applier.begin_apply(claim.batch, is_ours=claim.is_ours)
                except Exception as error:  # one faulty batch must not stop the others
                    self._applier.report_fault(claim.batch, error)
            views: dict[ViewKey, list[tuple[Event, EventContext]]] = {
                key: [] for key in claim.tails
            }
            record = claim.batch.record
            unfollowed: list[tuple[Event, EventContext]] = []
            for event, context in events:
                if context.view in views:
                    views[context.view].append((event, context))
                elif context.view is not None and claim.is_ours:
                    unfollowed.append((event, context))
            if unfollowed:
                self._applier.record_unfollowed(unfollowed, record.at)
            for key, of_view in views.items():
                own.setdefault(key, {})[record.digest] = self._recording_action(of_view, record.at)
                if of_view:
                    labels[key] = of_view[-1][1].labels.group.labels
        return own, labels

    def _recording_action(self, events: ViewEvents, at: int) -> view_log.Action:
        def measure(view: View) -> None:
            self._applier.recorder.record_view_events(view, events, at)
            self._concurrency.note_view(view)

        return measure

    def _catch_up(
        self,
        claim: _Claimed,
        key: ViewKey,
        tail: Tail,
        own: dict[bytes, view_log.Action],
        labels: Labels,
        now: int,
    ) -> None:
        record, views = claim.batch.record, self._applier.recorder.views
        is_new = key not in views
        view = views.get_or_create(key, labels, record.at)
        log_is_intact = bool(view.log_position) or is_new
        knew = view.entries_applied
        if claim.was_applied or not log_is_intact:
            self._resolve_pending(view, now)
        gave_up = self._follow(view, tail, own, now, is_new=is_new)
        action = own.pop(record.digest, None)
        if (
            action is not None
            and claim.is_ours
            and all(e.id != record.digest for e in tail.entries)
        ):
            # This worker appended the entry, then crashed; a summary has replaced it since.
            action(view)
        is_first = not tail.start and bool(tail.entries) and tail.entries[0].id == record.digest
        if not log_is_intact and not gave_up and (knew or is_first):
            # Its log was lost, so the other workers need a summary of what came before.
            self._sum_up(view, keep=0)
        elif tail.kept > view_log.LONG:
            self._sum_up(view, view_log.KEPT)

    def _process_timeout(self, timeout: ViewTimeout, tail: Tail, now: int) -> None:
        view = timeout.view
        if not view.log_position:  # its log was lost
            self._resolve_pending(view, now)
        own: dict[bytes, view_log.Action] = {
            timeout.id: lambda _: self._apply_timeout(timeout, now)
        }
        self._follow(view, tail, own, now, is_new=False)
        if not timeout.is_end:
            return
        if not own:
            self._sum_up(view, keep=1)
        elif tail.entries and all(entry.data == view_log.RESOLVE for entry in tail.entries):
            # The log has grown, perhaps by our own entry of the same update, but nothing came that
            # would let another worker end the view later.
            self._timeouts.append(timeout)

    def _follow(
        self, view: View, tail: Tail, own: dict[bytes, view_log.Action], now: int, *, is_new: bool
    ) -> bool:
        def decide(view: View) -> None:
            self._resolve_pending(view, now)

        return view_log.catch_up(view, tail, own, self._instance, decide, is_new=is_new)

    def _sum_up(self, view: View, keep: int) -> None:
        self._summaries.append(
            Summarize(
                view_log.log_key(view.key),
                view.log_position,
                view_log.summarize_view(view),
                keep,
                self._log_lifetime,
            )
        )

    # Its state

    def capture_timeouts(self) -> list[ViewTimeoutState]:
        """Return the time-outs for a snapshot. Batches are in the journal."""
        return [timeout.capture_state() for timeout in self._timeouts]

    def restore_timeouts(self, timeouts: Iterable[ViewTimeoutState]) -> None:
        """Restore captured time-outs."""
        for saved in timeouts:
            view = self._applier.recorder.views.find(saved.view)
            if view is not None:
                timeout = ViewTimeout(
                    view, saved.at, is_end=saved.is_end, is_counted=saved.is_counted
                )
                self._timeouts.append(timeout)

    def republish(self, now: int) -> None:
        """Apply time-outs alone and forget log positions: the logs are lost."""
        self._summaries.clear()
        for timeout in self._timeouts:
            if not timeout.is_end:
                self._apply_timeout(timeout, now)
        self._applier.recorder.reset_logs(now)
