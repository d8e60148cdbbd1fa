"""The recorder: applies the metric catalogue to events.

Callers pass the events of a batch sorted by event time, because players build them
asynchronously and send them unsorted. Equal calls give equal series.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import cast

import msgspec

from ..events.cmcd_record import CmcdEvent
from ..events.event_types import Event
from ..metrics.label_table import LabelTable
from ..metrics.metric import Metric
from ..metrics.registry import Group, Registry
from ..metrics.series import Gauge, Labels, Series
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, IncrementalWork
from ..primitives.msgpack_stream import MsgpackList
from . import playback
from .catalogue import CONCURRENT_VIEWS, EVENTS_TOTAL, RULES_BY_KIND, RecordingRule
from .event_context import EventContext
from .fields import player_name
from .labeller import Labeller, label_text
from .observation import Observation
from .reorder_window import REORDER_WINDOW
from .signals import Signal
from .sources import cmcd, signals_of_run
from .view import View, ViewKey
from .view_rows import ChangedViews
from .view_table import ViewTable, ViewTableState
from .vocabulary import KIND_BY_EVENT_TYPE, ObservationKind, generations_of

ViewEvents = Sequence[tuple[Event, EventContext]]
"""Events of one view with their contexts."""


_RULES_BY_EVENT_TYPE = {
    event_type: (kind, RULES_BY_KIND[kind]) for event_type, kind in KIND_BY_EVENT_TYPE.items()
}
_NO_RULES = (ObservationKind.OTHER, RULES_BY_KIND[ObservationKind.OTHER])

_context_of = itemgetter(1)


class RecorderState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A recorder in a snapshot."""

    views: ViewTableState
    concurrent: list[int]


class Recorder:
    """Records events, and observations derived from them, in series.

    Attributes:
        views: The known views.
    """

    def __init__(
        self,
        registry: Registry,
        labeller: Labeller,
        views: ViewTable,
        govern: Callable[[str, str, int], str | None],
        on_fault: Callable[[Exception], None],
        changed_views: ChangedViews | None = None,
    ) -> None:
        """
        Args:
            registry: Holds the series.
            labeller: Finds the labels of views.
            views: The known views.
            govern: Governs label values.
            on_fault: Reports a fault of ours in one view.
            changed_views: Notes the views whose rows have changed, if rows are stored.
        """
        self._registry = registry
        self._labeller = labeller
        self._govern = govern
        self._concurrent: Mapping[Labels, int] = {}  # at the latest flush
        self._changed_views = changed_views
        self._on_fault = on_fault
        self.views = views

    def record_events(
        self,
        events: Iterable[tuple[Event, EventContext]],
        now: int,
        applied_at: int | None = None,
    ) -> None:
        """Records events, and updates their views.

        Args:
            events: Events with their contexts.
            now: Time of arrival in ms.
            applied_at: The present in ms, if it may be later; see ``playback.apply_signals``.
        """
        if applied_at is None:
            applied_at = now
        for context, run in groupby(events, _context_of):  # nearly all of a batch are of one view
            group, key = context.labels.group, context.view
            view = None if key is None else self._follow(key, group.labels, now)
            new = self._record_run([event for event, _ in run], group, view, now)
            if view is not None and new:
                self._apply_signals(view, signals_of_run(new), new, group, now, applied_at)

    def _follow(self, key: ViewKey, labels: Labels, now: int) -> View:
        """Finds or creates the view of a batch, after what time has changed in it before.

        A flush at any time between two batches gives the same, or none.
        """
        view = self.views.find_live(key)
        if view is not None and now - view.last_seen >= REORDER_WINDOW:
            if self.views.is_pending_over(view, now):
                self.views.remove_pending(view)
                self._record_result(view, _apply_all, now)
            if self.views.is_over(view, now):
                self.views.note_end(view)
                self._record_result(view, playback.end_view, now)
        view = self.views.get_or_create(key, labels, now)
        view.labels = labels
        return view

    def record_view_events(self, view: View, events: ViewEvents, now: int) -> None:
        """Records events of one view."""
        if not events:
            return
        new: list[Event] = []
        signals: list[Signal] = []
        for context, run in groupby(events, _context_of):
            own = [event for event, _ in run]
            new_ones = self._record_run(own, context.labels.group, view, now)
            new += new_ones
            if new_ones:
                signals += signals_of_run(new_ones)
        group = events[-1][1].labels.group
        view.labels = group.labels
        if new:
            self._apply_signals(view, signals, new, group, now, now)

    def _apply_signals(
        self,
        view: View,
        signals: Sequence[Signal],
        events: Sequence[Event],
        group: Group,
        now: int,
        applied_at: int,
    ) -> None:
        """Passes what the events of a batch say to the playback model of their view."""
        for observation in playback.apply_signals(view, signals, now, applied_at):
            self._record(observation, RULES_BY_KIND[observation.kind], group, now)
        self.views.update_after_event(view, events[-1], now, applied_at)
        if self._changed_views is not None:
            self._changed_views.add_events(view, events)

    def _record_result(
        self, view: View, derive: Callable[[View], Sequence[Observation]], now: int
    ) -> None:
        """Records what time alone has led to in a view. A fault of ours in it is reported, and
        costs the signals of this view that wait, not the flush of all."""
        try:
            self.record_observations(view, derive(view), now)
        except Exception as error:
            view.playback.window, view.playback.arrivals = (), ()
            self._on_fault(error)

    def record_observations(
        self, view: View, observations: Iterable[Observation], now: int
    ) -> None:
        """Records observations of a view to which time alone has led."""
        if self._changed_views is not None:
            self._changed_views.add(view)
        group: Group | None = None
        for observation in observations:
            if group is None:
                group = self._labeller.find_group(view.labels)
            self._record(observation, RULES_BY_KIND[observation.kind], group, now)

    def _record_run(
        self, events: Sequence[Event], group: Group, view: View | None, now: int
    ) -> Sequence[Event]:
        """Records events with one context; returns those that are new."""
        if isinstance(events[0], CmcdEvent):
            records = cast(Sequence[CmcdEvent], events)
            return [one for one in records if self._record_cmcd(one, group, view, now)]
        generations = generations_of(player_name(events[0]))
        cache = group.series_cache
        for event in events:
            event_type = event.event_type
            counter = cache.get(event_type)
            if counter is None or counter.has_ended:
                counter = self._event_counter(event_type, group, now)
            counter.observe(1.0)
            if view is not None and event_type in generations:
                # Rows need it before the signals of the batch are received.
                view.playback.generation = generations[event_type]
            kind, rows = _RULES_BY_EVENT_TYPE.get(event_type, _NO_RULES)
            if rows:
                self._record(Observation(kind, event, view), rows, group, now)
            if view is None:
                for observation in _observe_without_view(event, kind):
                    self._record(observation, RULES_BY_KIND[observation.kind], group, now)
        return events

    def _record_cmcd(self, event: CmcdEvent, group: Group, view: View | None, now: int) -> bool:
        """Records a CMCD record; returns whether it is new: they alone identify repeated ones."""
        trace = cmcd.trace_of(event)
        codes = trace.codes if view is None else cmcd.note_record(trace, view)
        if codes is None:
            return False
        self._event_counter(event.event_type, group, now).observe(1.0)
        for observation in cmcd.observations_of(event, view, codes):
            self._record(observation, RULES_BY_KIND[observation.kind], group, now)
        return True

    def _event_counter(self, event_type: str, group: Group, now: int) -> Series:
        """Finds the counter of events of a type; the group caches it under the bare type."""
        return group.find_series(event_type) or self._find_series(
            group, EVENTS_TOTAL, event_type, (event_type,), now
        )

    def resolve_pending(self, now: int, *, ignore_timeout: bool = False) -> None:
        """Records the classifications whose time-out is over."""
        for view in self.views.pop_pending(now, ignore_timeout=ignore_timeout):
            self._record_result(view, _apply_all, now)

    def resolve_view(self, view: View, now: int) -> None:
        """Resolves a view that several workers follow; records it if its latest event was ours."""
        observations = playback.apply_waiting(view, None)
        if self.views.remove_pending(view):
            self.record_observations(view, observations, now)

    def reset_logs(self, now: int) -> None:
        """Handles the loss of the shared logs of views: each worker records the stalls and pauses
        that are pending on its own."""
        self.resolve_pending(now, ignore_timeout=True)
        self.views.reset_logs()

    def expire_views(self, now: int) -> IncrementalWork[None]:
        """Ends the views that have timed out."""
        for view in self.views.expire_views(now):
            if view is not None:
                self._record_result(view, playback.end_view, now)
                self.views.compact_view(view)
            yield 1

    def set_concurrent(self, counts: Mapping[Labels, int]) -> IncrementalWork[None]:
        """Sets the gauge of concurrent views; label sets without any left are set to 0 once."""
        gauges: dict[Gauge, int] = {}
        gone = (labels for labels in self._concurrent if labels not in counts)
        for labels in chain(counts, gone):
            group = self._labeller.find_group(labels)
            gauge = group.find_series(CONCURRENT_VIEWS) or self._registry.series_in_group(
                group, CONCURRENT_VIEWS, CONCURRENT_VIEWS, (), lambda name, text: text
            )
            assert isinstance(gauge, Gauge)
            # Label sets beyond the limit share one series, which holds their sum.
            gauges[gauge] = gauges.get(gauge, 0) + counts.get(labels, 0)
            yield 1
        for number, (gauge, count) in enumerate(gauges.items()):
            gauge.set(count)
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        self._concurrent = counts

    def capture_state(self, table: LabelTable) -> IncrementalWork[RecorderState]:
        """Captures the state for a snapshot. Nothing may change meanwhile."""
        concurrent = MsgpackList()
        for number, labels in enumerate(self._concurrent):
            concurrent.add(table.assign_number(labels))
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        views = yield from self.views.capture_state(table)
        return RecorderState(views, concurrent.as_field())

    def restore_state(self, state: RecorderState, table: LabelTable) -> None:
        """Restores a captured state."""
        self.views.restore_state(state.views, table)
        self._concurrent = {table.rows[number]: 0 for number in state.concurrent}

    def _record(
        self, observation: Observation, rows: Iterable[RecordingRule], group: Group, now: int
    ) -> None:
        cache = group.series_cache
        for metric, value_of, key_of in rows:
            value = 1.0 if value_of is None else value_of(observation)
            if value is None:
                continue
            key = metric if key_of is None else key_of(observation)
            series = cache.get(key)
            if series is None or series.has_ended:
                values = cast(tuple[str, ...], key[1:]) if isinstance(key, tuple) else ()
                series = self._find_series(group, metric, key, values, now)
            series.observe(value)

    def _find_series(
        self, group: Group, metric: Metric, key: object, values: tuple[str, ...], now: int
    ) -> Series:
        """Finds the series of a metric under raw label values; the group caches it by the key."""

        def govern(name: str, text: str) -> str | None:
            return self._govern(name, label_text(text), now)

        return self._registry.series_in_group(group, key, metric, values, govern)


def _apply_all(view: View) -> Sequence[Observation]:
    return playback.apply_waiting(view, None)


def _observe_without_view(event: Event, kind: ObservationKind) -> Sequence[Observation]:
    """The observations that the playback model would make, were there a view."""
    if kind is ObservationKind.STALL_START:
        return [Observation(ObservationKind.STALL, event, None, None, "rebuffer")]
    if kind is ObservationKind.PAUSE:
        return [Observation(ObservationKind.VIEWER_PAUSE, event, None)]
    return ()
