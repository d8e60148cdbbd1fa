"""Pauses are short at any size: a flush does little between two checks of its budget, and the
garbage collector finds no large containers to traverse."""

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


def count_steps(work: Generator[object, None, Result]) -> tuple[int, Result]:
    """Run work to its end; returns how often it can be interrupted, and its result."""
    count = 0
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: Result = end.value
            return count, result
        count += 1


def make_text(number: int) -> str:
    """Return a text that is not interned, like those of events."""
    return f"text {number}"


def make_views(number: int) -> ViewTable:
    views = ViewTable(timeout=MINUTE, limit=10 * MANY, retention=HOUR)
    for one in range(number):
        views.get_or_create(ViewKey("org", make_text(one), None, None), (), NOW)
    return views


def make_registry(number: int) -> Registry:
    registry = Registry(10 * MANY)
    for one in range(number):
        registry.find_or_create(SEEKS, (("player_id", make_text(one)),)).observe(1.0)
    return registry


# The garbage collector


def test_garbage_collector_does_not_track_the_view_table() -> None:
    views = make_views(MANY)
    gc.collect()
    views.get_or_create(ViewKey("org", make_text(MANY), None, None), (), NOW)
    assert not gc.is_tracked(views._views)


def test_garbage_collector_does_not_track_the_ended_views() -> None:
    views = make_views(MANY)
    for view in views.expire_views(NOW + MINUTE):
        if view is not None:
            views.compact_view(view)
    assert len(views._ended) == MANY
    assert not gc.is_tracked(views._ended)


def test_garbage_collector_does_not_track_the_series_table() -> None:
    registry = make_registry(MANY)
    gc.collect()
    registry.find_or_create(SEEKS, (("player_id", make_text(MANY)),))
    assert not gc.is_tracked(registry._series)


def test_garbage_collector_tracks_only_short_lists_of_the_expiry_queue() -> None:
    queue = ExpiryQueue()
    for one in range(MANY):
        queue.schedule(View(ViewKey("org", make_text(one), None, None), ()), NOW)
    gc.collect()
    tracked = list(islice(tracked_referents(queue), 10 * MANY))
    assert (
        max(len(one) for one in tracked if isinstance(one, list)) < MANY / TUPLE_SIZE + TUPLE_SIZE
    )
    assert [view.key.view_id for view in queue.pop_first()] == [
        make_text(one) for one in range(MANY)
    ]
    assert queue.first_second is None


def tracked_referents(thing: object) -> Iterator[object]:
    """Return the objects that the garbage collector tracks, from here on."""
    for one in gc.get_referents(thing):
        if gc.is_tracked(one) and not isinstance(one, type):
            yield one
            yield from tracked_referents(one)


# The steps of a flush


def test_views_that_expire_together_are_processed_one_per_step() -> None:
    seen = list(make_views(MANY).expire_views(NOW + MINUTE))
    assert seen[:MANY] == [None] * MANY
    assert None not in seen[MANY:]


def test_views_past_their_retention_are_dropped_in_steps() -> None:
    views = make_views(MANY)
    for view in views.expire_views(NOW + MINUTE):
        if view is not None:
            views.compact_view(view)
    seen = list(views.expire_views(NOW + HOUR + MINUTE))
    assert seen == [None] * (2 * MANY // SMALL_ITEMS_PER_UNIT)
    assert ViewKey("org", make_text(0), None, None) not in views


def test_series_that_end_together_are_exported_one_per_step() -> None:
    exporter = SeriesExporter(make_registry(MANY), "w-0", MINUTE)
    list(exporter.export_series(NOW))
    exported = list(exporter.export_series(NOW + MINUTE))
    assert exported[:MANY] == [None] * MANY
    assert None not in exported[MANY:]
    count, state = count_steps(exporter.capture_state(LabelTable()))
    assert count == MANY
    assert len(state.just_ended) == MANY


def test_admitted_values_are_captured_in_steps() -> None:
    dimension = Dimension("player_id", CardinalityLimit("allow", 10 * MANY))
    for one in range(MANY):
        dimension.govern(make_text(one), 1)
    count, state = count_steps(dimension.capture_state())
    assert count == MANY / SMALL_ITEMS_PER_UNIT
    packed = b"".join(state.admitted.drain_blocks())  # type: ignore[attr-defined]
    saved = msgspec.convert([msgspec.msgpack.decode(packed), 0], DimensionState)
    assert saved.admitted == {make_text(one): 1 for one in range(MANY)}


def test_label_table_is_captured_in_steps() -> None:
    table = LabelTable()
    for one in range(MANY):
        assert table.assign_number((("org_id", "acme"), ("player_id", make_text(one)))) == one
    assert table.assign_number((("org_id", "acme"), ("player_id", make_text(7)))) == 7
    count, _ = count_steps(table.capture_state())
    assert count >= MANY / SMALL_ITEMS_PER_UNIT
