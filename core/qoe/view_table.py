"""The table of all views: lookup, expiry, eviction, pending classifications, concurrency."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import islice, repeat

import msgspec

from ..events.event_types import Event
from ..metrics.label_table import LabelTable
from ..metrics.series import Labels
from ..primitives.fair_share import NEWCOMERS_SHARE, surplus_by_group
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, UNITS_PER_YIELD, IncrementalWork
from ..primitives.interning import Interner
from ..primitives.msgpack_stream import MsgpackList
from . import playback
from .ended_view import EndedView, compact, encoded_state, expand
from .expiry_queue import SECOND, ExpiryQueue, ceil_second
from .reorder_window import REORDER_WINDOW
from .view import View, ViewKey, ViewState, capture_view_state, key_text

CONCURRENCY_WINDOW = 30_000
"""ms after its latest event during which a view counts as concurrent (players send a heartbeat
every 10 s)."""

MAX_PRESENT_AGE = 300_000
"""ms of age up to which an arriving event says that its view is playing now."""

EARLY_END = 60_000
"""ms of silence after which a view ends of which nothing more is to be expected. No time-out is
shorter."""

ESTABLISHED_AFTER = 5_000
"""ms after its first event after which an event establishes a view: players report every 10 s, and
a sender that invents ids of views sends one event for each."""

ENDED_IN_QUEUE_SHARE = 8
"""Part of the limit that ended views may take in the expiry queue: one in so many."""

MAX_INTERNED_BYTES = 2 * 1024 * 1024
"""Approximate bytes of interned texts: names of players, ids of videos and organisations."""

LabelledViewState = tuple[int, ViewState]
"""The number of a view's label set, and the view."""


class ViewTableState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """All views in a snapshot. ``playing`` and ``pending_views`` hold indexes into ``views``.

    Attributes:
        views: Live views.
        ended: Ended views that are retained.
        due: Unused: three empty lists.
        sequence: Unused: 0.
        playing: Views that count as concurrent.
        pending_views: Views with a pending classification, and since when.
        evicted: See ``ViewTable``.
    """

    views: list[LabelledViewState]
    ended: list[LabelledViewState]
    due: tuple[list[int], list[int], list[int]]
    sequence: int
    playing: list[int]
    pending_views: list[tuple[int, int]]
    evicted: int


class ViewTable:
    """Views by key.

    An ended view is retained as long as an event of it may still arrive: a viewer who returns
    from a long pause continues the same running totals.

    Attributes:
        evicted: Views evicted because there were more than ``limit``; never decreases.
    """

    def __init__(self, timeout: int, limit: int, retention: int) -> None:
        """
        Args:
            timeout: ms of silence after which a view ends.
            limit: Maximum number of views, ended ones included.
            retention: ms for which an ended view is retained.
        """
        self._timeout = timeout
        self._limit = limit
        self._retention = retention
        self._views: dict[ViewKey, View] = {}
        self._ended: dict[ViewKey, View | EndedView] = {}  # ordered by end
        self._newcomers: dict[View, int] = {}  # when first seen, ms; ordered by silence
        self._ended_newcomers: dict[ViewKey, None] = {}  # of ``_ended``; ordered by end
        self._interner = Interner(MAX_INTERNED_BYTES)
        self._expiry = ExpiryQueue()
        self._pending: dict[View, int] = {}
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, key: ViewKey) -> bool:
        """Whether a view is known, live or ended."""
        return key in self._views or key in self._ended

    def find_live(self, key: ViewKey) -> View | None:
        """Finds a live view."""
        return self._views.get(key)

    def find(self, key: ViewKey) -> View | None:
        """Finds a view in order to change it; an ended one must be compacted again afterwards."""
        view = self._views.get(key)
        if view is None and key in self._ended:
            view = self._ended[key] = expand(key, self._ended[key])
        return view

    def log_position(self, key: ViewKey) -> int:
        """The number of applied entries of a view's shared log."""
        view = self._views.get(key)
        if view is None and key in self._ended:
            view = expand(key, self._ended[key])
        return 0 if view is None else view.log_position

    def get_or_create(self, key: ViewKey, labels: Labels, now: int) -> View:
        """Finds or creates a view, and marks it as seen now."""
        view = self._views.get(key)
        if view is None:
            view = self._create_or_revive(key, labels, now)
            self._views[view.key] = view
            self._expiry.schedule(view, now + self._timeout)
        elif view.is_newcomer:
            first_seen = self._newcomers.pop(view)
            if now - first_seen >= ESTABLISHED_AFTER:
                view.is_newcomer = False
            else:
                self._newcomers[view] = first_seen  # it is no longer the longest silent
        if now > view.last_seen:
            view.last_seen = now
        return view

    def is_established(self, key: ViewKey) -> bool:
        """Whether a view has come back since it was first seen."""
        view = self._views.get(key)
        return key in self._ended if view is None else not view.is_newcomer

    def update_after_event(self, view: View, event: Event, now: int, applied_at: int) -> None:
        """Updates concurrency and pending classifications of a view after an event.

        Args:
            view: The view.
            event: Its event.
            now: Time of arrival in ms.
            applied_at: The present in ms.
        """
        playing = view.playback
        if not playing.is_playing or playing.is_hidden:
            view.is_concurrent = False
        elif now - event.event_time <= MAX_PRESENT_AGE:
            view.is_concurrent = True
        if playback.is_pending(view):
            self._pending[view] = applied_at
        elif view in self._pending:
            del self._pending[view]
        if playback.ends_early(view):
            self._schedule_early_end(view)

    def _schedule_early_end(self, view: View) -> None:
        due = view.last_seen + EARLY_END
        if not view.early_expiry:
            view.early_expiry = ceil_second(due)
            self._expiry.schedule(view, due)

    def reset_logs(self) -> None:
        """Forgets all positions in shared logs, because the store has lost the logs.

        Pending classifications are dropped: the worker with the latest event counts them.
        """
        for view in self._views.values():
            view.log_position = 0
            playback.apply_waiting(view, None)
        for key, ended in self._ended.items():
            view = expand(key, ended)
            view.log_position = 0
            playback.apply_waiting(view, None)
            if view is not ended:
                self._ended[key] = compact(view, view.labels)

    def is_pending_over(self, view: View, now: int) -> bool:
        """Whether a view has a pending classification that has timed out."""
        since = self._pending.get(view)
        return since is not None and since <= now - REORDER_WINDOW

    def is_over(self, view: View, now: int) -> bool:
        """Whether a live view has been silent for long enough to end."""
        silence = EARLY_END if playback.ends_early(view) else self._timeout
        return ceil_second(view.last_seen + silence) * SECOND <= now

    def note_end(self, view: View) -> None:
        """Notes that a live view has ended although it goes on now."""
        if view.is_newcomer:
            del self._newcomers[view]
            view.is_newcomer = False
        self._pending.pop(view, None)

    def remove_pending(self, view: View) -> bool:
        """Removes a view from the pending ones; returns whether it was pending."""
        return self._pending.pop(view, None) is not None

    def pop_pending(self, now: int, *, ignore_timeout: bool) -> list[View]:
        """Removes and returns the pending views whose classification has timed out."""
        oldest = now - REORDER_WINDOW
        due = [v for v, since in self._pending.items() if ignore_timeout or since <= oldest]
        for view in due:
            del self._pending[view]
        return due

    def count_concurrent(self, now: int) -> IncrementalWork[dict[Labels, int]]:
        """Counts the views that play now, by base labels. The table must not change meanwhile."""
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
        """Ends the views that are silent since the time-out, or exceed the limit.

        The order depends on the views alone, so workers with equal views end them alike.

        Yields:
            Each view that ends; pass it to ``compact_view`` after its last change. None for each
            view that was examined, so that the work can be spread.
        """
        yield from self._end_silent(now)
        yield from self._evict_newcomers()
        yield from self._evict_established()
        yield from self._evict_ended(now)
        yield from self._remove_ended_from_queue()

    def _remove_ended_from_queue(self) -> Iterator[None]:
        """Frees the views that ended before their time-out, once they are many.

        A view is queued for the time-out, half an hour, and once more while it may end early.
        """
        if len(self._expiry) > 2 * len(self._views) + self._limit // ENDED_IN_QUEUE_SHARE:
            views = self._views
            for examined in self._expiry.remove(lambda view: views.get(view.key) is not view):
                yield from repeat(None, examined // SMALL_ITEMS_PER_UNIT + 1)

    def _end_silent(self, now: int) -> Iterator[View | None]:
        while (second := self._expiry.first_second) is not None and second * SECOND <= now:
            silent = []
            for view in self._expiry.pop_first():
                if self._views.get(view.key) is not view:
                    pass  # it ended early
                elif view.early_expiry == second:
                    view.early_expiry = 0
                    if self.is_over(view, second * SECOND):
                        silent.append(view)
                    elif playback.ends_early(view):
                        self._schedule_early_end(view)
                elif self.is_over(view, second * SECOND):
                    silent.append(view)
                else:
                    self._expiry.schedule(view, view.last_seen + self._timeout)
                yield None
            silent.sort(key=_by_silence)
            for view in silent:
                if self._views.get(view.key) is view:  # else it was queued twice
                    self._end_view(view)
                    yield view

    def _evict_newcomers(self) -> Iterator[View]:
        """Ends newcomers beyond the limit, the longest silent first."""
        surplus = min(
            len(self._views) - self._limit,
            len(self._newcomers) - self._limit // NEWCOMERS_SHARE,
        )
        for view in list(islice(self._newcomers, max(0, surplus))):
            self._end_view(view)
            yield view

    def _evict_established(self) -> Iterator[View | None]:
        """Ends views beyond the limit: the longest silent of the largest organisations."""
        if len(self._views) <= self._limit:
            return
        sizes = Counter(view.key.org_id for view in self._views.values())
        surplus = surplus_by_group(sizes, len(self._views) - self._limit)
        spared: list[tuple[View, int]] = []
        while len(self._views) > self._limit and (second := self._expiry.first_second) is not None:
            silent = []
            for view in self._expiry.pop_first():
                until = view.last_seen + self._timeout
                if self._views.get(view.key) is not view:
                    pass  # it ended early
                elif view.early_expiry == second or not surplus[view.key.org_id]:
                    spared.append((view, second * SECOND))
                elif ceil_second(until) > second:
                    self._expiry.schedule(view, until)
                else:
                    silent.append(view)
                yield None
            silent.sort(key=_by_silence)
            for view in silent:
                if self._views.get(view.key) is not view:
                    continue  # it was queued twice
                if surplus[view.key.org_id]:
                    surplus[view.key.org_id] -= 1
                    self._end_view(view)
                    yield view
                else:
                    spared.append((view, second * SECOND))
        for view, due in spared:
            self._expiry.schedule(view, due)

    def compact_view(self, view: View) -> None:
        """Compacts an ended view, unless it has come back."""
        if self._ended.get(view.key) is view:
            self._ended[view.key] = compact(view, view.labels)

    def forget_viewer(self, org_id: str, viewer_ids: Collection[str]) -> None:
        """Remove the ids of a viewer from all views; their numbers stay.

        At once, because the snapshot that follows must not hold them: a million views take a
        second.
        """
        org = key_text(org_id)
        for view in (*self._views.values(), *self._ended.values()):
            if isinstance(view, View):  # compact views have no details
                _forget_viewer(view, org, viewer_ids)

    def capture_state(self, table: LabelTable) -> IncrementalWork[ViewTableState]:
        """Captures the state for a snapshot. The table must not change meanwhile."""
        views, playing = MsgpackList(), MsgpackList()
        places: dict[View, int] = {}  # of the pending views, which are few
        for place, view in enumerate(self._views.values()):
            views.add((table.assign_number(view.labels), capture_view_state(view)))
            if view.is_concurrent:
                playing.add(place)
            if view in self._pending:
                places[view] = place
            if place % UNITS_PER_YIELD == 0:
                yield UNITS_PER_YIELD
        ended = MsgpackList()
        for count, (key, one) in enumerate(self._ended.items(), 1):
            ended.add((table.assign_number(one.labels), encoded_state(key, one)))
            if count % UNITS_PER_YIELD == 0:
                yield UNITS_PER_YIELD
        pending_views = [(places[view], since) for view, since in self._pending.items()]
        return ViewTableState(
            views.as_field(),
            ended.as_field(),
            ([], [], []),
            0,
            playing.as_field(),
            pending_views,
            self.evicted,
        )

    def restore_state(self, state: ViewTableState, table: LabelTable) -> None:
        """Restores a captured state."""
        views = [View.from_state(saved, table.rows[labels]) for labels, saved in state.views]
        self._views = {view.key: view for view in views}
        self._ended = {
            saved.key: compact(saved, table.rows[labels]) for labels, saved in state.ended
        }
        for view in views:
            self._expiry.schedule(view, view.last_seen + self._timeout)
            if playback.ends_early(view):
                self._schedule_early_end(view)
        for place in state.playing:
            views[place].is_concurrent = True
        self._pending = {views[n]: since for n, since in state.pending_views}
        self.evicted = state.evicted

    def list_keys(self) -> tuple[ViewKey, ...]:
        """The keys of all views, live ones first, then ended ones."""
        return (*self._views, *self._ended)

    def copy_view(self, key: ViewKey, other: "ViewTable") -> None:
        """Copies a view from another table, unless this one has a later state of it.

        Of workers that followed a shared log, the one that has applied more of it has the later
        state. Otherwise it is the one that has seen the view later.

        Only for tables at rest: they share the view, which may not change afterwards.
        """
        ours, theirs = self._views.get(key), other._views.get(key)
        if theirs is None:
            if ours is None and key not in self._ended:
                self._ended[key] = other._ended[key]
            return
        if ours is not None and _progress_of(ours) >= _progress_of(theirs):
            return
        self._ended.pop(key, None)
        self._ended_newcomers.pop(key, None)
        if ours is not None:
            self._pending.pop(ours, None)
        self._views[key] = theirs
        if theirs in other._pending:
            self._pending[theirs] = other._pending[theirs]

    def discard_views(self, keys: Iterable[ViewKey]) -> None:
        """Forgets views that another worker owns, as if they had never been here."""
        for key in keys:
            view = self._views.pop(key, None)
            self._ended.pop(key, None)
            self._ended_newcomers.pop(key, None)
            if view is not None:
                self._pending.pop(view, None)
                self._newcomers.pop(view, None)

    def _create_or_revive(self, key: ViewKey, labels: Labels, now: int) -> View:
        if key in self._ended:
            self._ended_newcomers.pop(key, None)
            return expand(key, self._ended.pop(key))
        same = self._interner.intern
        own = ViewKey(same(key.org_id), key.view_id, same(key.video), same(key.player))
        view = View(own, labels, is_newcomer=True)
        self._newcomers[view] = now
        return view

    def _end_view(self, view: View) -> None:
        del self._views[view.key]
        self._ended[view.key] = view
        if view.is_newcomer:
            del self._newcomers[view]
            view.is_newcomer = False  # if it comes back
            self._ended_newcomers[view.key] = None
        view.is_concurrent = False
        self._pending.pop(view, None)

    def _evict_ended(self, now: int) -> Iterator[None]:
        """Evicts ended views whose retention is over, and those that exceed the limit."""
        # Collected first: iterating a dictionary whose front was removed is slow.
        gone: list[ViewKey] = []
        for key, ended in self._ended.items():
            if now - ended.last_seen <= self._retention:
                break
            gone.append(key)
            if len(gone) % SMALL_ITEMS_PER_UNIT == 0:
                yield None
        yield from self._drop_ended(gone)
        for keys in (self._ended_newcomers, self._ended):
            surplus = len(self._ended) + len(self._views) - self._limit
            early = list(islice(keys, max(0, surplus)))
            self.evicted += len(early)
            yield from self._drop_ended(early)

    def _drop_ended(self, gone: list[ViewKey]) -> Iterator[None]:
        for number, key in enumerate(gone, 1):
            self._ended_newcomers.pop(key, None)
            del self._ended[key]
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield None


def _forget_viewer(view: View, org: str, viewer_ids: Collection[str]) -> None:
    details = view.details
    if details is not None and view.key.org_id == org and details.viewer_id in viewer_ids:
        view.details = msgspec.structs.replace(details, viewer_id="", session_id="")


def _progress_of(view: View) -> tuple[int, int]:
    """Position in the view's shared log, and time of its latest event: which state is later."""
    return view.log_position, view.last_seen


def _by_silence(view: View) -> tuple[int, tuple[tuple[bool, str], ...]]:
    """Sort key: longest silence first, then by view key, whose members may be None."""
    key = msgspec.structs.astuple(view.key)
    return view.last_seen, tuple((part is not None, part or "") for part in key)
