"""What holds everybody up is short, whatever there is: between two looks at its pace a flush does
little, and the garbage collector finds nothing large to go through."""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from openqoe.core.config.cardinality_limits import CardinalityLimit
from openqoe.core.governance.dimension import Dimension, DimensionState
from openqoe.core.metrics.label_table import LabelTable
from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.metrics.registry import Registry
from openqoe.core.primitives.incremental import SMALL_ITEMS_PER_UNIT
from openqoe.core.qoe.expiry_queue import TUPLE_SIZE, ExpiryQueue
from openqoe.core.qoe.view import View, ViewKey
from openqoe.core.qoe.view_table import ViewTable
from openqoe.core.sinks.series_exporter import SeriesExporter
from tests.support.event_builders import NOW
from tests.support.rig import HOUR, MINUTE

MANY = 1_000
SEEKS = Metric("seeks_total", MetricType.COUNTER, "Seeks.")

Result = TypeVar("Result")


def steps(work: Generator[object, None, Result]) -> tuple[int, Result]:
    """How often work can be interrupted, and what comes of it."""
    count = 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return count, result
        count += 1


def text(number: int) -> str:
    """A text that is an object of its own, as those of events are."""
    return f"text {number}"


def views_of(number: int) -> ViewTable:
    views = ViewTable(timeout=MINUTE, limit=10 * MANY, retention=HOUR)
    for one in range(number):
        views.get_or_create(ViewKey("org", text(one), None, None), (), NOW)
    return views


def series_of(number: int) -> Registry:
    registry = Registry(10 * MANY)
    for one in range(number):
        registry.find_or_create(SEEKS, (("player_id", text(one)),)).observe(1.0)
    return registry


# The collector


def test_the_collector_does_not_go_through_the_views() -> None:
    views = views_of(MANY)
    gc.collect()
    views.get_or_create(ViewKey("org", text(MANY), None, None), (), NOW)
    assert not gc.is_tracked(views._views)


def test_the_collector_does_not_go_through_the_views_that_have_ended() -> None:
    views = views_of(MANY)
    for view in views.expire_views(NOW + MINUTE):
        if view is not None:
            views.compact_view(view)
    assert len(views._ended) == MANY
    assert not gc.is_tracked(views._ended)


def test_the_collector_does_not_go_through_the_series() -> None:
    registry = series_of(MANY)
    gc.collect()
    registry.find_or_create(SEEKS, (("player_id", text(MANY)),))
    assert not gc.is_tracked(registry._series)


def test_the_collector_goes_through_the_agenda_once() -> None:
    agenda = ExpiryQueue()
    for one in range(MANY):
        agenda.schedule(View(ViewKey("org", text(one), None, None), ()), NOW)
    gc.collect()
    tracked = [one for one in islice(referents(agenda), 10 * MANY) if gc.is_tracked(one)]
    assert (
        max(len(one) for one in tracked if isinstance(one, list)) < MANY / TUPLE_SIZE + TUPLE_SIZE
    )
    assert [view.key.view_id for view in agenda.pop_first()] == [text(one) for one in range(MANY)]
    assert agenda.first_second is None


def referents(thing: object) -> Iterator[object]:
    """What the collector finds from here."""
    for one in gc.get_referents(thing):
        if gc.is_tracked(one) and not isinstance(one, type):
            yield one
            yield from referents(one)


# The parts


def test_views_that_fall_silent_together_are_looked_at_one_by_one() -> None:
    seen = list(views_of(MANY).expire_views(NOW + MINUTE))
    assert seen[:MANY] == [None] * MANY
    assert None not in seen[MANY:]


def test_views_that_are_forgotten_together_go_in_parts() -> None:
    views = views_of(MANY)
    for view in views.expire_views(NOW + MINUTE):
        if view is not None:
            views.compact_view(view)
    seen = list(views.expire_views(NOW + HOUR + MINUTE))
    assert seen == [None] * (2 * MANY // SMALL_ITEMS_PER_UNIT)
    assert ViewKey("org", text(0), None, None) not in views


def test_series_that_end_together_are_looked_at_one_by_one() -> None:
    exporter = SeriesExporter(series_of(MANY), "w-0", MINUTE)
    list(exporter.export_series(NOW))
    exported = list(exporter.export_series(NOW + MINUTE))
    assert exported[:MANY] == [None] * MANY
    assert None not in exported[MANY:]
    count, state = steps(exporter.capture_state(LabelTable()))
    assert count == MANY
    assert len(state.just_ended) == MANY


def test_admitted_values_are_taken_down_in_parts() -> None:
    dimension = Dimension("player_id", CardinalityLimit("allow", 10 * MANY))
    for one in range(MANY):
        dimension.govern(text(one), 1)
    count, state = steps(dimension.capture_state())
    assert count == MANY / SMALL_ITEMS_PER_UNIT
    packed = b"".join(state.admitted.drain_blocks())  # type: ignore[attr-defined]
    saved = msgspec.convert([msgspec.msgpack.decode(packed), 0], DimensionState)
    assert saved.admitted == {text(one): 1 for one in range(MANY)}


def test_a_table_of_labels_goes_in_parts() -> None:
    table = LabelTable()
    for one in range(MANY):
        assert table.assign_number((("org_id", "acme"), ("player_id", text(one)))) == one
    assert table.assign_number((("org_id", "acme"), ("player_id", text(7)))) == 7
    count, _ = steps(table.capture_state())
    assert count >= MANY / SMALL_ITEMS_PER_UNIT
