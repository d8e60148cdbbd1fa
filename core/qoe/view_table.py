"""All views that are known, and the questions that are asked of them together."""

from collections.abc import Iterator

import msgspec

from ..events.event_types import Event
from ..metrics.label_table import LabelTable
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, STEP, Work
from ..primitives.interning import Interner
from ..primitives.msgpack_stream import MsgpackList
from . import playback
from .ended_view import EndedView, compact, encoded_state, expand
from .event_context import EventContext
from .expiry_queue import SECOND, ExpiryQueue, ceil_second
from .stalls import CLASSIFICATION_TIMEOUT
from .view import Labels, View, ViewKey, ViewState, capture_view_state

CONCURRENCY_WINDOW = 30_000
"""ms; a view counts as concurrent this long after its latest event (players send a heartbeat
every 10 s)."""

MAX_PRESENT_AGE = 300_000
"""ms; an event older than this when it comes says nothing of the present."""

MAX_INTERNED_TEXTS = 10_000
"""Texts (names of players, ids of videos) that are shared by the views at the most."""

LabelledViewState = tuple[int, ViewState]
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
        evicted: How many were dropped.
    """

    views: list[LabelledViewState]
    ended: list[LabelledViewState]
    due: tuple[list[int], list[int], list[int]]
    sequence: int
    playing: list[int]
    pending_views: list[tuple[int, int]]
    evicted: int


class ViewTable:
    """The views by key.

    A view that has ended is remembered for as long as an event of it can still come: a
    viewer who comes back from a long pause goes on with the same running totals.

    Attributes:
        evicted: Views dropped because there were more than ``limit`` (grows only).
    """

    def __init__(self, timeout: int, limit: int, retention: int) -> None:
        """
        Args:
            timeout: ms of silence after which a view has ended.
            limit: Views remembered at the most, ended ones included.
            retention: ms for which a view that has ended is remembered.
        """
        self._timeout = timeout
        self._limit = limit
        self._retention = retention
        self._views: dict[ViewKey, View] = {}
        self._ended: dict[ViewKey, View | EndedView] = {}  # in order of their end
        self._interner = Interner(MAX_INTERNED_TEXTS)
        self._expiry = ExpiryQueue()
        self._pending: dict[View, int] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._views)

    def view_for(self, context: EventContext, now: int) -> View | None:
        """The view of an event, made if it is new; None if the event belongs to none."""
        if context.view is None:
            return None
        labels = context.labels.group.labels
        view = self.get_or_create(context.view, labels, now)
        view.labels = labels
        return view

    def __contains__(self, key: ViewKey) -> bool:
        """Whether a view is remembered, ended or not."""
        return key in self._views or key in self._ended

    def find(self, key: ViewKey) -> View | None:
        """A view that is remembered, to be changed: one that has ended is to be folded again."""
        view = self._views.get(key)
        if view is None and key in self._ended:
            view = self._ended[key] = expand(key, self._ended[key])
        return view

    def log_position(self, key: ViewKey) -> int:
        """How many entries of the log of a view have been followed."""
        view = self._views.get(key)
        if view is None and key in self._ended:
            view = expand(key, self._ended[key])
        return 0 if view is None else view.log_position

    def get_or_create(self, key: ViewKey, labels: Labels, now: int) -> View:
        """The view of a key, of which something came now; made if it is new."""
        view = self._views.get(key)
        if view is None:
            view = self._create_or_revive(key, labels)
            self._views[view.key] = view
            self._expiry.schedule(view, now + self._timeout)
        if now > view.last_seen:
            view.last_seen = now
        return view

    def update_after_event(self, view: View, event: Event, now: int) -> None:
        """Keep the books after a view has followed an event."""
        if not view.playing:
            view.is_concurrent = False
        elif now - event.event_time <= MAX_PRESENT_AGE:
            view.is_concurrent = True
        if playback.is_pending(view):
            self._pending[view] = now
        elif view in self._pending:
            del self._pending[view]

    def reset_logs(self) -> None:
        """The store has lost the logs of the views: what is known of them is only here.

        What waits for an explanation is no longer ours: others will count it.
        """
        for view in self._views.values():
            view.log_position = 0
            playback.resolve_pending(view)
        for key, ended in self._ended.items():
            view = expand(key, ended)
            view.log_position = 0
            playback.resolve_pending(view)
            if view is not ended:
                self._ended[key] = compact(view, view.labels)

    def remove_pending(self, view: View) -> bool:
        """Take a view out of those that wait for an explanation; returns whether it did."""
        return self._pending.pop(view, None) is not None

    def pop_pending(self, now: int, *, ignore_timeout: bool) -> list[View]:
        """Take out the views whose explanations have had their time."""
        due = [
            v
            for v, since in self._pending.items()
            if ignore_timeout or now - since >= CLASSIFICATION_TIMEOUT
        ]
        for view in due:
            del self._pending[view]
        return due

    def count_concurrent(self, now: int) -> Work[dict[Labels, int]]:
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

    def expire_views(self, now: int) -> Iterator[View | None]:
        """End the views that have been silent for the time-out, or are too many.

        The order is the same for workers that know the same, whatever they have known before.

        Yields:
            Each view that ends: what follows from its end changes it once more, then ``fold``
            it. None for one that was looked at in vain.
        """
        while (second := self._expiry.first_second) is not None:
            is_due = second * SECOND <= now
            if not is_due and len(self._views) <= self._limit:
                break
            silent = []
            for view in self._expiry.pop_first():
                until = view.last_seen + self._timeout
                if ceil_second(until) > second:
                    self._expiry.schedule(view, until)
                    yield None
                else:
                    silent.append(view)
                    yield None
            silent.sort(key=_by_silence)
            for view in silent:
                if is_due or len(self._views) > self._limit:
                    self._end_view(view)
                    yield view
                else:
                    self._expiry.schedule(view, view.last_seen + self._timeout)
        yield from self._evict_ended(now)

    def compact_view(self, view: View) -> None:
        """Nobody will change a view that has ended, unless it comes back: keep it small."""
        if self._ended.get(view.key) is view:
            self._ended[view.key] = compact(view, view.labels)

    def capture_state(self, table: LabelTable) -> Work[ViewTableState]:
        """The state, for a snapshot. Meanwhile nothing must change."""
        views, playing = MsgpackList(), MsgpackList()
        places: dict[View, int] = {}  # of those that wait for an explanation: they are few
        for place, view in enumerate(self._views.values()):
            views.add((table.assign_number(view.labels), capture_view_state(view)))
            if view.is_concurrent:
                playing.add(place)
            if view in self._pending:
                places[view] = place
            if place % STEP == 0:
                yield STEP
        ended = MsgpackList()
        for count, (key, one) in enumerate(self._ended.items(), 1):
            ended.add((table.assign_number(one.labels), encoded_state(key, one)))
            if count % STEP == 0:
                yield STEP
        pending_views = [(places[view], since) for view, since in self._pending.items()]
        return ViewTableState(
            views.raw(), ended.raw(), ([], [], []), 0, playing.raw(), pending_views, self.evicted
        )

    def restore_state(self, state: ViewTableState, table: LabelTable) -> None:
        """Take a state back."""
        views = [View.from_state(saved, table.rows[labels]) for labels, saved in state.views]
        self._views = {view.key: view for view in views}
        self._ended = {
            saved.key: compact(saved, table.rows[labels]) for labels, saved in state.ended
        }
        for view in views:
            self._expiry.schedule(view, view.last_seen + self._timeout)
        for place in state.playing:
            views[place].is_concurrent = True
        self._pending = {views[n]: since for n, since in state.pending_views}
        self.evicted = state.evicted

    def _create_or_revive(self, key: ViewKey, labels: Labels) -> View:
        if key in self._ended:
            return expand(key, self._ended.pop(key))
        same = self._interner.of
        own = ViewKey(same(key.org_id), key.view_id, same(key.video), same(key.player))
        return View(own, labels)

    def _end_view(self, view: View) -> None:
        del self._views[view.key]
        self._ended[view.key] = view
        view.is_concurrent = False
        self._pending.pop(view, None)

    def _evict_ended(self, now: int) -> Iterator[None]:
        """Let go of views that ended long ago, or are too many."""
        surplus = len(self._ended) + len(self._views) - self._limit
        gone: list[
            ViewKey
        ] = []  # found in one go: a dictionary whose front was removed is slow to begin with
        for key, ended in self._ended.items():
            is_due = now - ended.last_seen > self._retention
            if not is_due and len(gone) >= surplus:
                break
            self.evicted += not is_due
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
