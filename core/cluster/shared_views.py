"""Batches and views, shared: each batch counts once, each view is followed by all together.

Theory of operation. A batch is answered as soon as it is in the journal. What it holds is
counted when the store has told two things: whether the batch is ours (it may have been sent to
another worker as well), and what the others have seen of its views in the meantime. Batches
wait in the order of arrival; all that wait go to the store in one update, which is a matter of
milliseconds. The journal keeps them as long as they wait.

If the store does not answer within the patience, a batch is counted by what is known here
alone. It stays in the queue so that the others hear of it once the store is back.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Protocol, cast

from ..events.decoder import Batch, BatchDecoder
from ..events.deferred import MOST_DECODED, KeptBatch
from ..events.event_types import Event
from ..kv import Claim, Entry, Extend, Operation, Reply, Summarize, Tail
from ..primitives.incremental import Work
from ..qoe.event_context import EventContext
from ..qoe.recorder import Recorder, ViewEvents
from ..qoe.view import NO_VIEW, View, ViewKey, view_key
from . import view_log
from .concurrency_sync import ConcurrencySync
from .sync_participant import Part
from .view_timeout import ViewTimeout, ViewTimeoutState

AT_ONCE = 5_000
"""Events in one update, about: those of the batch that reaches it are the last."""

MOST_WAITING = 200_000
"""Events that wait for the store at the most; past it the oldest batches are counted alone."""

MOST_LATE = 20_000
"""Batches that were counted alone and are still to be told, at the most."""


class Taker(Protocol):
    """What the batches are for: takes them in."""

    decoder: BatchDecoder
    meter: Recorder

    def apply(self, kept: KeptBatch, country: str | None) -> None:
        """Take a batch in by what is known here alone."""

    def begin(
        self, kept: KeptBatch, country: str | None, *, is_ours: bool
    ) -> list[tuple[Event, EventContext]]:
        """Take in of a batch what is not of its views; returns all its events."""


class Waiting:
    """A batch that waits for the store.

    Attributes:
        number: Of its record in the journal.
        digest: Identifies it.
        kept: What it holds.
        at: Time of its arrival, ms.
        since: When it was ready to be sent, ms; None: not yet.
        slices: What the logs of its views will say of it, once it is ``sliced``.
        is_counted: Whether it has been counted without the store.
    """

    __slots__ = (
        *("at", "country", "digest", "is_counted", "is_sliced", "kept", "number", "since"),
        "slices",
    )

    def __init__(
        self,
        number: int,
        digest: bytes,
        body: bytes,
        batch: Batch,
        country: str | None,
        at: int,
    ) -> None:
        self.number = number
        self.digest = digest
        self.kept = KeptBatch(body, batch, at)
        self.country = country
        self.at = at
        self.since: int | None = None
        self.is_counted = False
        self.is_sliced = False
        self.slices: dict[ViewKey, bytes] = {}

    def slice(self, decoder: BatchDecoder) -> None:
        """Its time has come: work out what the logs of its views will say."""
        if not self.is_sliced:
            self.is_sliced = True
            for key, events in _by_view(self.kept.open(decoder)).items():
                self.slices[key] = view_log.encode_events(events, key.player)


def _by_view(batch: Batch) -> dict[ViewKey, list[Event]]:
    """The events of each view, by event time."""
    views: dict[ViewKey, list[Event]] = {}
    latest: Event | None = None
    own: list[Event] = []
    for event, _ in sorted(batch.events, key=lambda pair: pair[0].event_time):
        if event.view_id == NO_VIEW:
            continue
        # Nearly all events of a batch are of one view; to compare costs less than a key.
        if latest is None or not _are_of_one_view(event, latest):
            own = views.setdefault(view_key(event), [])
        latest = event
        own.append(event)
    return views


def _are_of_one_view(one: Event, other: Event) -> bool:
    """Whether two events are of one view for certain. Others may be, too: their keys tell."""
    return (
        one.view_id == other.view_id
        and one.org_id == other.org_id
        and one.player == other.player
        and one.video == other.video
    )


class SharedViews(Part):
    """The batches that wait, and what else the logs of views should hear.

    Attributes:
        events: How many events wait to be counted.
        alone: Batches counted without the store (grows only).
        duplicates: Batches that another worker had accepted (grows only).
    """

    def __init__(
        self,
        taker: Taker,
        presence: ConcurrencySync,
        instance: str,
        *,
        batches_kept: int,
        views_kept: int,
    ) -> None:
        """
        Args:
            taker: Takes in what the store has decided.
            presence: Hears of each view that is seen.
            instance: This worker's name.
            batches_kept: ms for which a batch is known to have been accepted.
            views_kept: ms for which the log of a view is kept.
        """
        self._taker = taker
        self._presence = presence
        self._instance = instance
        self._batches_kept = max(1, batches_kept)
        self._views_kept = views_kept
        self._batches: deque[Waiting] = deque()
        self._late: deque[Waiting] = deque()  # counted alone, before all of those; not told yet
        self._lapses: list[ViewTimeout] = []
        self._summaries: list[Summarize] = []
        self._asked = (0, 0, 0)
        self.events = 0
        self.alone = 0
        self.duplicates = 0

    def add(self, waiting: Waiting) -> None:
        """A batch was accepted."""
        self._batches.append(waiting)
        self.events += waiting.kept.events
        if self.events > MOST_DECODED:
            waiting.kept.pack()
        while self.events > MOST_WAITING:
            self._count_first_alone()

    def settle(self, now: int, *, all_of_them: bool) -> None:
        """Views whose explanations have had their time: so it shall stand in their logs."""
        for view in self._taker.meter.views.pop_pending(now, ignore_timeout=all_of_them):
            self._lapses.append(ViewTimeout(view, now, is_end=False))

    def expire(self, now: int) -> Work[None]:
        """Views that have been silent for too long: the same."""
        for view in self._taker.meter.views.expire_views(now):
            if view is not None:
                self._lapses.append(ViewTimeout(view, now, is_end=True))
            yield 1

    @property
    def is_waiting(self) -> bool:
        """Whether there is something for the store."""
        return bool(self._batches or self._late or self._lapses or self._summaries)

    @property
    def is_counted(self) -> bool:
        """Whether all has been counted that came."""
        return not self._lapses and not self._batches

    def __len__(self) -> int:
        """How many batches wait to be counted."""
        return len(self._batches)

    @property
    def first_uncounted(self) -> int | None:
        """The record number of the first batch that has not been counted."""
        return self._batches[0].number if self._batches else None

    @property
    def waits_since(self) -> int | None:
        """Since when the oldest waits of what has not been counted."""
        times = [self._batches[0].since] if self._batches else []
        times += [lapse.at for lapse in self._lapses if not lapse.is_counted][:1]
        return min((time for time in times if time is not None), default=None)

    def lose_patience(self, before: int, now: int) -> None:
        """Count alone what has waited since before a time (ms), or longer."""
        while self._batches:
            since = self._batches[0].since
            if since is None or since > before:
                break
            self._count_first_alone()
        for lapse in self._lapses:
            if lapse.at <= before:
                self._count_lapse(lapse, now)

    def count_alone(self, now: int) -> None:
        """Count all that waits, because the process ends."""
        while self._batches:
            self._count_first_alone()
        self.settle(now, all_of_them=True)
        for lapse in self._lapses:
            self._count_lapse(lapse, now)

    def _count_first_alone(self) -> None:
        waiting = self._batches.popleft()
        self.events -= waiting.kept.events
        waiting.slice(self._taker.decoder)
        self._taker.apply(waiting.kept, waiting.country)
        waiting.kept.empty()
        waiting.is_counted = True
        self._late.append(waiting)
        self.alone += 1

    def _count_lapse(self, lapse: ViewTimeout, now: int) -> None:
        if not lapse.is_counted:
            lapse.is_counted = True
            self._taker.meter.record_observations(lapse.view, lapse.moments(), now)

    def _decide(self, view: View, now: int) -> None:
        """Decide what waits for an explanation, and count it if it began here."""
        for lapse in self._lapses:
            if lapse.view is view and not lapse.is_end:
                self._count_lapse(lapse, now)
        self._taker.meter.resolve_view(view, now)

    # The store

    def operations(self, now: int) -> list[Operation]:
        """Claim the batches that wait, and extend the logs of their views."""
        operations: list[Operation] = []
        while len(self._late) > MOST_LATE:
            self._late.popleft()
        asked = self._next()
        for waiting in asked:
            if waiting.since is None:
                waiting.since = now
            operations.append(
                Claim(f"batch:{waiting.digest.hex()}", self._instance, self._batches_kept)
            )
            operations += self._extensions(waiting)
        operations += (each.operation(self._instance, self._views_kept) for each in self._lapses)
        operations += self._summaries
        self._asked = (len(asked), len(self._lapses), len(self._summaries))
        return operations

    def _next(self) -> list[Waiting]:
        """The batches of the next update, in order."""
        asked, events = [], 0
        for waiting in chain(self._late, self._batches):
            waiting.slice(self._taker.decoder)
            asked.append(waiting)
            events += waiting.kept.events
            if events >= AT_ONCE:
                break
        return asked

    def _extensions(self, waiting: Waiting) -> Iterator[Extend]:
        views = self._taker.meter.views
        for key, data in waiting.slices.items():
            if waiting.is_counted:
                data = view_log.as_alone(data)
            entry = Entry(waiting.digest, self._instance, data)
            yield Extend(
                view_log.log_key(key), entry, views.log_position(key), None, self._views_kept
            )

    def take(self, replies: Sequence[Reply], now: int) -> None:
        """Count what the store has decided."""
        batches, lapses, summaries = self._asked
        self._asked = (0, 0, 0)
        del self._summaries[:summaries]
        rest = iter(replies)
        asked = [(self._late or self._batches).popleft() for _ in range(batches)]
        self.events -= sum(each.kept.events for each in asked if not each.is_counted)
        told = [
            (waiting, cast(str, next(rest)), [cast(Tail, next(rest)) for _ in waiting.slices])
            for waiting in asked
        ]
        own = self._begin(told)
        for waiting, owner, tails in told:
            is_ours = owner == self._instance
            for key, tail in zip(waiting.slices, tails, strict=True):
                self._catch_up(waiting, key, tail, own[key], is_ours=is_ours, now=now)
        for lapse in self._lapses[:lapses]:
            self._take_lapse(lapse, cast(Tail, next(rest)), now)
        self._forget_lapses(lapses)

    def _forget_lapses(self, count: int) -> None:
        done, self._lapses = self._lapses[:count], self._lapses[count:]
        awaited = {lapse.view.key for lapse in self._lapses}
        for lapse in done:
            if lapse.is_end and lapse.view.key not in awaited:
                self._taker.meter.views.compact_view(lapse.view)

    def _begin(
        self, told: Sequence[tuple[Waiting, str, list[Tail]]]
    ) -> dict[ViewKey, dict[bytes, view_log.Action]]:
        """Take in of the batches what is not of their views; returns what is to be done at
        their entries, by view and entry."""
        own: dict[ViewKey, dict[bytes, view_log.Action]] = {}
        for waiting, owner, _ in told:
            events: list[tuple[Event, EventContext]] = []
            if not waiting.is_counted:
                is_ours = owner == self._instance
                self.duplicates += not is_ours
                events = self._taker.begin(waiting.kept, waiting.country, is_ours=is_ours)
            views: dict[ViewKey, list[tuple[Event, EventContext]]] = {
                key: [] for key in waiting.slices
            }
            for event, origin in events:
                if origin.view is not None:
                    views[origin.view].append((event, origin))
            for key, of_view in views.items():
                own.setdefault(key, {})[waiting.digest] = self._measuring(of_view, waiting.at)
        return own

    def _measuring(self, events: ViewEvents, at: int) -> view_log.Action:
        def measure(view: View) -> None:
            self._taker.meter.record_view_events(view, events, at)
            self._presence.note(view)

        return measure

    def _catch_up(
        self,
        waiting: Waiting,
        key: ViewKey,
        tail: Tail,
        own: dict[bytes, view_log.Action],
        *,
        is_ours: bool,
        now: int,
    ) -> None:
        views = self._taker.meter.views
        is_new = key not in views
        view = views.get_or_create(key, (), waiting.at)
        was_known = bool(view.log_position) or is_new
        knew = view.entries_applied
        if waiting.is_counted or not was_known:
            self._decide(view, now)
        gave_up = self._follow(view, tail, own, now, is_new=is_new)
        action = own.pop(waiting.digest, None)
        if action is not None and is_ours and all(e.id != waiting.digest for e in tail.entries):
            # Its entry is gone: the log was summed up long after we wrote it, and crashed.
            action(view)
        is_first = not tail.start and bool(tail.entries) and tail.entries[0].id == waiting.digest
        if not was_known and not gave_up and (knew or is_first):
            # Its log was lost: nobody can read there what came before.
            self._sum_up(view, keep=0)
        elif tail.kept > view_log.LONG:
            self._sum_up(view, view_log.KEPT)

    def _take_lapse(self, lapse: ViewTimeout, tail: Tail, now: int) -> None:
        view = lapse.view
        if not view.log_position:  # its log was lost
            self._decide(view, now)
        own: dict[bytes, view_log.Action] = {lapse.id: lambda _: self._count_lapse(lapse, now)}
        self._follow(view, tail, own, now, is_new=False)
        if not own and lapse.is_end:
            self._sum_up(view, keep=1)

    def _follow(
        self, view: View, tail: Tail, own: dict[bytes, view_log.Action], now: int, *, is_new: bool
    ) -> bool:
        def decide(view: View) -> None:
            self._decide(view, now)

        return view_log.catch_up(view, tail, own, self._instance, decide, is_new=is_new)

    def _sum_up(self, view: View, keep: int) -> None:
        self._summaries.append(
            Summarize(
                view_log.log_key(view.key),
                view.log_position,
                view_log.summary(view),
                keep,
                self._views_kept,
            )
        )

    # Its state

    def lapses(self) -> list[ViewTimeoutState]:
        """What the logs of views should still hear, for a snapshot. Batches are in the journal."""
        return [lapse.state() for lapse in self._lapses]

    def restore(self, lapses: Iterable[ViewTimeoutState]) -> None:
        """Take it back."""
        for saved in lapses:
            view = self._taker.meter.views.find(saved.view)
            if view is not None:
                lapse = ViewTimeout(
                    view, saved.at, is_end=saved.is_end, is_counted=saved.is_counted
                )
                self._lapses.append(lapse)

    def store_lost(self, now: int) -> None:
        """The logs are gone: what is known of the views is only here."""
        self._summaries.clear()
        for lapse in self._lapses:
            if not lapse.is_end:
                self._count_lapse(lapse, now)
        self._taker.meter.reset_logs(now)
