"""All views that are known, and the questions that are asked of them together."""

from collections.abc import Iterator

import msgspec

from ..events.event_types import Event
from ..metrics.label_table import LabelTable
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, UNITS_PER_YIELD, IncrementalWork
from ..primitives.interning import Interner
from ..primitives.msgpack_stream import MsgpackList
from . import playback
from .ended_view import EndedView, fold, packed, unfolded
from .event_context import EventContext
from .expiry_queue import SECOND, ExpiryQueue, second_of
from .stalls import PATIENCE
from .view import Labels, View, ViewKey, ViewState, state_of

CONCURRENCY_WINDOW = 30_000
"""ms; a view counts as concurrent this long after its latest event (players send a heartbeat
every 10 s)."""

LATE = 300_000
"""ms; an event older than this when it comes says nothing of the present."""

TEXTS = 10_000
"""Texts (names of players, ids of videos) that are shared by the views at the most."""

NumberedView = tuple[int, ViewState]
"""The number of a view's labels, and the view."""


class ViewTableState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """All views in a snapshot. Lists name views by their place in ``views``.

    Attributes:
        views: The views that live.
        ended: Those that have ended and are remembered.
        due: Empty; in older snapshots when to look at them, which follows from ``views``.
        sequence: 0; in older snapshots a part of that.
        playing: Views that count as playing.
        pending_views: Views that wait for an explanation, and since when.
        forgotten: How many were dropped.
    """

    views: list[NumberedView]
    ended: list[NumberedView]
    due: tuple[list[int], list[int], list[int]]
    sequence: int
    playing: list[int]
    pending_views: list[tuple[int, int]]
    forgotten: int


class ViewTable:
    """The views by key.

    A view that has ended is remembered for as long as an event of it can still come: a
    viewer who comes back from a long pause goes on with the same running totals.

    Attributes:
        forgotten: Views dropped because there were more than ``limit`` (grows only).
    """

    def __init__(self, timeout: int, limit: int, memory: int) -> None:
        """
        Args:
            timeout: ms of silence after which a view has ended.
            limit: Views remembered at the most, ended ones included.
            memory: ms for which a view that has ended is remembered.
        """
        self._timeout = timeout
        self._limit = limit
        self._memory = memory
        self._views: dict[ViewKey, View] = {}
        self._ended: dict[ViewKey, View | EndedView] = {}  # in order of their end
        self._texts = Interner(TEXTS)
        self._agenda = ExpiryQueue()
        self._unsettled: dict[View, int] = {}
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._views)

    def of(self, origin: EventContext, now: int) -> View | None:
        """The view of an event, made if it is new; None if the event belongs to none."""
        if origin.view is None:
            return None
        labels = origin.labels.group.labels
        view = self.open(origin.view, labels, now)
        view.labels = labels
        return view

    def knows(self, key: ViewKey) -> bool:
        """Whether a view is remembered, ended or not."""
        return key in self._views or key in self._ended

    def find(self, key: ViewKey) -> View | None:
        """A view that is remembered, to be changed: one that has ended is to be folded again."""
        view = self._views.get(key)
        if view is None and key in self._ended:
            view = self._ended[key] = unfolded(key, self._ended[key])
        return view

    def known(self, key: ViewKey) -> int:
        """How many entries of the log of a view have been followed."""
        view = self._views.get(key)
        if view is None and key in self._ended:
            view = unfolded(key, self._ended[key])
        return 0 if view is None else view.known

    def open(self, key: ViewKey, labels: Labels, now: int) -> View:
        """The view of a key, of which something came now; made if it is new."""
        view = self._views.get(key)
        if view is None:
            view = self._begin(key, labels)
            self._views[view.key] = view
            self._agenda.add(view, now + self._timeout)
        if now > view.last_seen:
            view.last_seen = now
        return view

    def note(self, view: View, event: Event, now: int) -> None:
        """Keep the books after a view has followed an event."""
        if not view.playing:
            view.is_concurrent = False
        elif now - event.event_time <= LATE:
            view.is_concurrent = True
        if playback.is_pending(view):
            self._unsettled[view] = now
        elif view in self._unsettled:
            del self._unsettled[view]

    def lose_logs(self) -> None:
        """The store has lost the logs of the views: what is known of them is only here.

        What waits for an explanation is no longer ours: others will count it.
        """
        for view in self._views.values():
            view.known = 0
            playback.settle(view)
        for key, ended in self._ended.items():
            view = unfolded(key, ended)
            view.known = 0
            playback.settle(view)
            if view is not ended:
                self._ended[key] = fold(view, view.labels)

    def take_pending(self, view: View) -> bool:
        """Take a view out of those that wait for an explanation; returns whether it did."""
        return self._unsettled.pop(view, None) is not None

    def pending_views(self, now: int, *, all_of_them: bool) -> list[View]:
        """Take out the views whose explanations have had their time."""
        due = [v for v, since in self._unsettled.items() if all_of_them or now - since >= PATIENCE]
        for view in due:
            del self._unsettled[view]
        return due

    def concurrent(self, now: int) -> IncrementalWork[dict[Labels, int]]:
        """How many views play now, by base labels. Meanwhile nothing must change."""
        counts: dict[Labels, int] = {}
        for number, view in enumerate(self._views.values()):
            if view.is_concurrent:
                if now - view.last_seen > CONCURRENCY_WINDOW:
                    view.is_concurrent = False
                else:
                    counts[view.labels] = counts.get(view.labels, 0) + 1
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        return counts

    def expire(self, now: int) -> Iterator[View | None]:
        """End the views that have been silent for the time-out, or are too many.

        The order is the same for workers that know the same, whatever they have known before.

        Yields:
            Each view that ends: what follows from its end changes it once more, then ``fold``
            it. None for one that was looked at in vain.
        """
        while (second := self._agenda.first) is not None:
            is_due = second * SECOND <= now
            if not is_due and len(self._views) <= self._limit:
                break
            silent = []
            for view in self._agenda.take():
                until = view.last_seen + self._timeout
                if second_of(until) > second:
                    self._agenda.add(view, until)
                    yield None
                else:
                    silent.append(view)
                    yield None
            silent.sort(key=_by_silence)
            for view in silent:
                if is_due or len(self._views) > self._limit:
                    self._end(view)
                    yield view
                else:
                    self._agenda.add(view, view.last_seen + self._timeout)
        yield from self._forget(now)

    def fold(self, view: View) -> None:
        """Nobody will change a view that has ended, unless it comes back: keep it small."""
        if self._ended.get(view.key) is view:
            self._ended[view.key] = fold(view, view.labels)

    def state(self, table: LabelTable) -> IncrementalWork[ViewTableState]:
        """The state, for a snapshot. Meanwhile nothing must change."""
        views, playing = MsgpackList(), MsgpackList()
        places: dict[View, int] = {}  # of those that wait for an explanation: they are few
        for place, view in enumerate(self._views.values()):
            views.add((table.number(view.labels), state_of(view)))
            if view.is_concurrent:
                playing.add(place)
            if view in self._unsettled:
                places[view] = place
            if place % UNITS_PER_YIELD == 0:
                yield UNITS_PER_YIELD
        ended = MsgpackList()
        for count, (key, one) in enumerate(self._ended.items(), 1):
            ended.add((table.number(one.labels), packed(key, one)))
            if count % UNITS_PER_YIELD == 0:
                yield UNITS_PER_YIELD
        pending_views = [(places[view], since) for view, since in self._unsettled.items()]
        return ViewTableState(
            views.as_field(),
            ended.as_field(),
            ([], [], []),
            0,
            playing.as_field(),
            pending_views,
            self.forgotten,
        )

    def restore(self, state: ViewTableState, table: LabelTable) -> None:
        """Take a state back."""
        views = [View.restored(saved, table.rows[labels]) for labels, saved in state.views]
        self._views = {view.key: view for view in views}
        self._ended = {saved.key: fold(saved, table.rows[labels]) for labels, saved in state.ended}
        for view in views:
            self._agenda.add(view, view.last_seen + self._timeout)
        for place in state.playing:
            views[place].is_concurrent = True
        self._unsettled = {views[n]: since for n, since in state.pending_views}
        self.forgotten = state.forgotten

    def _begin(self, key: ViewKey, labels: Labels) -> View:
        if key in self._ended:
            return unfolded(key, self._ended.pop(key))
        same = self._texts.intern
        own = ViewKey(same(key.org_id), key.view_id, same(key.video), same(key.player))
        return View(own, labels)

    def _end(self, view: View) -> None:
        del self._views[view.key]
        self._ended[view.key] = view
        view.is_concurrent = False
        self._unsettled.pop(view, None)

    def _forget(self, now: int) -> Iterator[None]:
        """Let go of views that ended long ago, or are too many."""
        surplus = len(self._ended) + len(self._views) - self._limit
        gone: list[
            ViewKey
        ] = []  # found in one go: a dictionary whose front was removed is slow to begin with
        for key, ended in self._ended.items():
            is_due = now - ended.last_seen > self._memory
            if not is_due and len(gone) >= surplus:
                break
            self.forgotten += not is_due
            gone.append(key)
            if len(gone) % SMALL_ITEMS_PER_UNIT == 0:
                yield None
        for number, key in enumerate(gone, 1):
            del self._ended[key]
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield None


def _by_silence(view: View) -> tuple[int, tuple[tuple[bool, str], ...]]:
    """Sorts views: longest silence first, then by key, in which there may be None."""
    key = msgspec.structs.astuple(view.key)
    return view.last_seen, tuple((part is not None, part or "") for part in key)
