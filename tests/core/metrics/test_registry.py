"""The registry: one series per label set, and a limit on their number."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.metrics.registry import (
    MAX_CACHED_PER_GROUP,
    SAMPLE_BYTES,
    Group,
    ProvisionalLabel,
    Registry,
)
from openqoe.core.metrics.series import Labels
from tests.support.rig import FLUSH, MINUTE, Rig, player_event

SEEKS = Metric("seeks_total", MetricType.COUNTER, "Seeks.")
ERRORS = Metric("errors_total", MetricType.COUNTER, "Errors.", labels=("error_code",))
STALLS = Metric("stall_seconds", MetricType.HISTOGRAM, "Stalls.", buckets=(0.5, 1))

ACME: Labels = (("org_id", "acme"),)
OTHER: Labels = (("org_id", "other"),)
OVERFLOW: Labels = (("overflow", "true"),)


def as_it_is(name: str, value: str) -> str | None:
    return value


def total(registry: Registry, metric: Metric) -> float:
    return sum(sum(series.values()) for series in registry if series.metric is metric)


def test_equal_labels_find_same_series() -> None:
    registry = Registry(100)
    series = registry.find_or_create(SEEKS, ACME)
    assert registry.find_or_create(SEEKS, ACME) is series
    assert registry.find_or_create(SEEKS, OTHER) is not series
    assert registry.find_or_create(STALLS, ACME) is not series
    assert registry.size == 1 + 1 + 5


def test_series_in_group_has_sorted_base_and_own_labels() -> None:
    registry = Registry(100)
    group = Group((("a", "1"), ("z", "1")))
    series = registry.series_in_group(group, (ERRORS, "404"), ERRORS, ("404",), as_it_is)
    assert series.labels == (("a", "1"), ("error_code", "404"), ("z", "1"))
    assert group.find_series((ERRORS, "404")) is series
    assert registry.series_in_group(group, SEEKS, SEEKS, (), as_it_is) is group.find_series(SEEKS)


@pytest.mark.parametrize("governed", [None, ""])
def test_label_dropped_by_governance_is_omitted(governed: str | None) -> None:
    registry = Registry(100)
    series = registry.series_in_group(
        Group(ACME), "404", ERRORS, ("404",), lambda name, value: governed
    )
    assert series.labels == ACME


def test_governed_value_replaces_raw_value() -> None:
    registry = Registry(100)
    group = Group(ACME)
    first, second = (
        registry.series_in_group(
            group, code, ERRORS, (code,), lambda name, value: f"{name}-{value[0]}"
        )
        for code in ("404", "410")
    )
    assert first is second
    assert dict(first.labels)["error_code"] == "error_code-4"


# The limit


def test_new_label_sets_beyond_limit_share_overflow_series() -> None:
    registry = Registry(2)
    for number in range(5):
        registry.find_or_create(SEEKS, (("org_id", str(number)),)).observe(1)
    registry.find_or_create(STALLS, ACME).observe(1)
    labels = [series.labels for series in registry if series.metric is SEEKS]
    assert labels == [(("org_id", "0"),), (("org_id", "1"),), OVERFLOW]
    assert total(registry, SEEKS) == 5
    assert registry.overflowed == 4


def test_existing_series_continue_beyond_limit() -> None:
    registry = Registry(1)
    kept = registry.find_or_create(SEEKS, ACME)
    registry.find_or_create(SEEKS, OTHER)
    assert registry.find_or_create(SEEKS, ACME) is kept


def test_histogram_counts_all_its_samples_toward_limit() -> None:
    registry = Registry(9)
    registry.find_or_create(STALLS, ACME)
    assert registry.find_or_create(STALLS, OTHER).labels == OVERFLOW


def test_removed_series_makes_room() -> None:
    registry = Registry(1)
    registry.remove(registry.find_or_create(SEEKS, ACME))
    assert registry.size == 0
    assert list(registry) == []
    assert registry.find_or_create(SEEKS, OTHER).labels == OTHER


@given(
    st.lists(st.tuples(st.sampled_from([SEEKS, ERRORS]), st.integers(0, 30)), max_size=80),
    st.integers(1, 20),
)
@settings(max_examples=60)
def test_any_labels_keep_totals_exact_and_series_bounded(
    observations: list[tuple[Metric, int]], limit: int
) -> None:
    registry = Registry(limit)
    for metric, org in observations:
        registry.find_or_create(metric, (("org_id", str(org)),)).observe(1)
    for metric in (SEEKS, ERRORS):
        assert total(registry, metric) == sum(seen is metric for seen, _ in observations)
    assert registry.size <= limit + 2  # one overflow series per metric
    assert registry.size == len(list(registry))


def test_worker_beyond_series_limit_keeps_totals_exact() -> None:
    rig = Rig(OPENQOE_MAX_SERIES="40")
    for number in range(60):
        rig.post({**player_event(0, "seek", 1.0, view=f"view-{number}"), "org_id": f"org-{number}"})
    rig.flush()
    assert rig.total("openqoe_seeks_total") == 60
    assert rig.total("openqoe_events_total") == 60
    assert rig.total("openqoe_seeks_total", overflow="true") > 0
    assert len(rig.receiver.select("openqoe_seeks_total")) <= 41
    assert rig.total("openqoe_worker_series_overflowed_total") > 0
    assert [notice.event for notice in rig.notices] == ["too many series"]


# Groups are caches


def test_removed_series_is_not_found_in_caches() -> None:
    registry = Registry(100)
    groups = [Group(ACME), Group(ACME)]
    series = [registry.series_in_group(group, SEEKS, SEEKS, (), as_it_is) for group in groups]
    assert series[0] is series[1]
    registry.remove(series[0])
    assert [group.find_series(SEEKS) for group in groups] == [None, None]
    assert registry.series_in_group(groups[0], SEEKS, SEEKS, (), as_it_is) is not series[0]


def test_group_cache_is_bounded() -> None:
    registry = Registry(1)
    group = Group(ACME)
    for number in range(MAX_CACHED_PER_GROUP + 5):
        registry.series_in_group(group, (ERRORS, str(number)), ERRORS, (str(number),), as_it_is)
    cached = sum(
        group.find_series((ERRORS, str(n))) is not None for n in range(MAX_CACHED_PER_GROUP + 5)
    )
    assert cached == 5


def test_event_after_end_of_series_creates_new_series() -> None:
    """The worker's own caches do not retain ended series."""
    rig = Rig(OPENQOE_SERIES_IDLE_TIMEOUT="60")
    rig.post(player_event(0, "seek", 1.0))
    rig.pass_time(2 * MINUTE)
    rig.post(player_event(1, "seek", 1.0))
    rig.flush()
    (samples,) = rig.receiver.select("openqoe_seeks_total").values()
    values = [value if isinstance(value, float) else "stale" for _, value in samples]
    assert values == [0, 1, 1, 1, 1, "stale", 0, 1]
    times = [at for at, _ in samples]
    assert times[-1] - times[-2] == FLUSH


def test_startup_times_of_opposite_extremes_add_nothing() -> None:
    rig = Rig()
    rig.post(
        player_event(0, "playerready", player_startup_time=-1e308),
        player_event(1, "canplay", video_startup_time=1e308),
    )
    rig.flush()
    assert all(abs(value) < 1e15 for value in rig.qoe_series().values())
    assert rig.total("openqoe_video_startup_seconds_count") == 0


def test_series_with_long_labels_take_the_places_of_several() -> None:
    """200,000 series with labels of 20 KB would take 4 GB."""
    registry = Registry(max_series=1_000)
    long = tuple((f"label_{number}", "x" * 2_000) for number in range(10))
    for number in range(1_000):
        registry.find_or_create(SEEKS, (("a", str(number)), *long)).observe(1)
    kept = [series for series in registry if series.labels != OVERFLOW]
    assert len(kept) * 20_000 <= 1_000 * SAMPLE_BYTES
    assert registry.overflowed == 1_000 - len(kept)
    assert total(registry, SEEKS) == 1_000
    for series in kept:
        registry.remove(series)
    assert registry.find_or_create(SEEKS, (("a", "1"), *long)).labels != OVERFLOW


def test_series_of_usual_length_are_limited_by_number_alone() -> None:
    registry = Registry(max_series=1_000)
    usual = tuple((f"label_{number}", "a usual value") for number in range(12))
    for number in range(1_000):
        registry.find_or_create(SEEKS, (("a", str(number)), *usual))
    assert registry.size == 1_000
    assert registry.overflowed == 0


def test_series_with_provisional_label_is_not_cached() -> None:
    registry = Registry(100)
    group = Group(ACME)
    labels: list[str] = [ProvisionalLabel("hash_01"), "404"]
    for _ in range(2):
        registry.series_in_group(group, "404", ERRORS, ("404",), lambda *_: labels.pop(0))
    found = group.find_series("404")
    assert found is not None and ("error_code", "404") in found.labels
