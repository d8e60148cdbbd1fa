"""The meter: applies the catalogue to events.

Deterministic and in order: events of a batch are taken by event time, because players build
them asynchronously and send them unsorted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import cast

import msgspec

from ..events.event_types import Event
from ..metrics.label_table import LabelTable
from ..metrics.metric import Metric
from ..metrics.registry import Group, Registry
from ..metrics.series import Gauge, Series
from ..primitives.incremental import SMALL_ITEMS_PER_UNIT, IncrementalWork
from ..primitives.msgpack_stream import MsgpackList
from . import playback
from .catalogue import CONCURRENT_VIEWS, EVENTS_TOTAL, TAKEN_ON, Taking
from .event_context import EventContext
from .labeller import Labeller, label_text
from .observation import SILENCE, Observation
from .view import Labels, View
from .view_table import ViewTable, ViewTableState
from .vocabulary import Kind

Govern = Callable[[str, str], str | None]

Own = Sequence[tuple[Event, EventContext]]
"""Events of one view with their origins."""


class RecorderState(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A meter in a snapshot."""

    views: ViewTableState
    concurrent: list[int]


class Recorder:
    """Counts and measures what events tell.

    Attributes:
        views: The views that are known.
    """

    def __init__(
        self,
        registry: Registry,
        labeller: Labeller,
        views: ViewTable,
        govern: Callable[[str, str, int], str | None],
    ) -> None:
        self._registry = registry
        self._labeller = labeller
        self._govern = govern
        self._concurrent: Mapping[Labels, int] = {}  # as told last
        self.views = views

    def measure(self, events: Iterable[tuple[Event, EventContext]], now: int) -> None:
        """Take events into account.

        Args:
            events: Events with their origins.
            now: Time of arrival in ms.
        """
        latest: EventContext | None = None
        view: View | None = None
        last = SILENCE
        for event, origin in events:
            if origin is not latest:  # of a batch nearly all events are of one view
                if view is not None:
                    self.views.note(view, last, now)
                latest, view = origin, self.views.of(origin, now)
            self._measure(event, origin.labels.group, view, now)
            last = event
        if view is not None:
            self.views.note(view, last, now)

    def measure_view(self, view: View, events: Own, now: int) -> None:
        """Take events of one view into account."""
        for event, origin in events:
            view.labels = origin.labels.group.labels
            self._measure(event, origin.labels.group, view, now)
        if events:
            self.views.note(view, events[-1][0], now)

    def take(self, view: View, moments: Iterable[Observation], now: int) -> None:
        """Count what has followed for a view from the lapse of time."""
        for moment in moments:
            group = self._labeller.group(view.labels)
            self._take(moment, TAKEN_ON[moment.kind], group, now)

    def _measure(self, event: Event, group: Group, view: View | None, now: int) -> None:
        event_type = event.event_type
        # The group knows the counter by the bare type: no key to be made.
        counter = group.known.get(event_type)
        if counter is None or counter.has_ended:
            counter = self._find(group, EVENTS_TOTAL, event_type, (event_type,), now)
        counter.observe(1.0)
        meaning = playback.meaning_of(event_type)
        rows = TAKEN_ON[meaning.kind]
        if rows:
            self._take(Observation(meaning.kind, event, view), rows, group, now)
        if view is None:
            facts = _without_view(event, meaning.kind)
        else:
            facts = playback.follow(view, event, meaning)
        for fact in facts:
            self._take(fact, TAKEN_ON[fact.kind], group, now)

    def settle(self, now: int, *, all_of_them: bool = False) -> None:
        """Count what has waited for an explanation long enough."""
        for view in self.views.pending_views(now, all_of_them=all_of_them):
            self.take(view, playback.settle(view), now)

    def settle_view(self, view: View, now: int) -> None:
        """Decide what waits in a view that is followed by several workers; count it if its
        latest event was ours."""
        moments = playback.settle(view)
        if self.views.take_pending(view):
            self.take(view, moments, now)

    def lose_logs(self, now: int) -> None:
        """The shared store has lost the logs of the views: each worker counts what it has seen
        begin and nobody has explained."""
        self.settle(now, all_of_them=True)
        self.views.lose_logs()

    def expire(self, now: int) -> IncrementalWork[None]:
        """End the views that have been silent for too long."""
        for view in self.views.expire(now):
            if view is not None:
                self.take(view, playback.expire(view), now)
                self.views.fold(view)
            yield 1

    def count_concurrent(self, counts: Mapping[Labels, int]) -> IncrementalWork[None]:
        """Set the gauge of concurrent views; label sets that have none left get a 0 once."""
        gauges: dict[Gauge, int] = {}
        gone = (labels for labels in self._concurrent if labels not in counts)
        for labels in chain(counts, gone):
            group = self._labeller.group(labels)
            gauge = group.cached(CONCURRENT_VIEWS) or self._registry.grouped(
                group, CONCURRENT_VIEWS, CONCURRENT_VIEWS, (), lambda name, text: text
            )
            assert isinstance(gauge, Gauge)
            # Label sets past the limit share one series, which holds their sum.
            gauges[gauge] = gauges.get(gauge, 0) + counts.get(labels, 0)
            yield 1
        for number, (gauge, count) in enumerate(gauges.items()):
            gauge.set(count)
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        self._concurrent = counts

    def state(self, table: LabelTable) -> IncrementalWork[RecorderState]:
        """The state, for a snapshot. Meanwhile nothing must change."""
        concurrent = MsgpackList()
        for number, labels in enumerate(self._concurrent):
            concurrent.add(table.number(labels))
            if number % SMALL_ITEMS_PER_UNIT == 0:
                yield 1
        views = yield from self.views.state(table)
        return RecorderState(views, concurrent.as_field())

    def restore(self, state: RecorderState, table: LabelTable) -> None:
        """Take a state back."""
        self.views.restore(state.views, table)
        self._concurrent = {table.rows[number]: 0 for number in state.concurrent}

    def _take(self, moment: Observation, rows: Iterable[Taking], group: Group, now: int) -> None:
        known = group.known
        for metric, take_value, key_of in rows:
            value = 1.0 if take_value is None else take_value(moment)
            if value is None:
                continue
            key = metric if key_of is None else key_of(moment)
            series = known.get(key)
            if series is None or series.has_ended:
                values = cast(tuple[str, ...], key[1:]) if isinstance(key, tuple) else ()
                series = self._find(group, metric, key, values, now)
            series.observe(value)

    def _find(
        self, group: Group, metric: Metric, key: object, values: tuple[str, ...], now: int
    ) -> Series:
        """The series of a metric under raw label values; the group remembers it by the key."""

        def govern(name: str, text: str) -> str | None:
            return self._govern(name, label_text(text), now)

        return self._registry.grouped(group, key, metric, values, govern)


def _without_view(event: Event, kind: Kind) -> Sequence[Observation]:
    """What an event tells beside itself if it belongs to no view: nothing once a view."""
    if kind is Kind.STALL_START:
        return [Observation(Kind.STALL, event, None, None, "rebuffer")]
    if kind is Kind.PAUSE:
        return [Observation(Kind.PAUSED, event, None)]
    return []
