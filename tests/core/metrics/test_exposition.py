"""The response body of `/metrics` in the text format 0.0.4."""

from __future__ import annotations

import pytest

from openqoe.core.metrics import exposition
from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.metrics.registry import Registry
from openqoe.core.metrics.series import Labels


def rendered(metric: Metric, labels: Labels, *values: float) -> list[str]:
    registry = Registry(100)
    series = registry.find_or_create(metric, labels)
    for value in values:
        series.observe(value)
    series.collect_changes()
    return exposition.render(registry).decode().splitlines()


def test_no_series_render_as_empty_text() -> None:
    assert exposition.render([]) == b""


def test_counter_is_rendered_with_help_and_type() -> None:
    metric = Metric("requests_total", MetricType.COUNTER, "Requests.")
    assert rendered(metric, (("route", "events"), ("status", "202")), 3) == [
        "# HELP requests_total Requests.",
        "# TYPE requests_total counter",
        'requests_total{route="events",status="202"} 3',
    ]


def test_histogram_is_rendered_with_buckets_sum_and_count() -> None:
    metric = Metric("seconds", MetricType.HISTOGRAM, "Time.", buckets=(0.5, 1))
    assert rendered(metric, (("route", "events"),), 0.25, 3) == [
        "# HELP seconds Time.",
        "# TYPE seconds histogram",
        'seconds_bucket{route="events",le="0.5"} 1',
        'seconds_bucket{route="events",le="1"} 1',
        'seconds_bucket{route="events",le="+Inf"} 2',
        'seconds_sum{route="events"} 3.25',
        'seconds_count{route="events"} 2',
    ]


def test_gauge_without_labels_is_rendered_without_braces() -> None:
    assert rendered(Metric("live", MetricType.GAUGE, "Live."), (), 2.5)[2] == "live 2.5"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ('say "hi"', r"say \"hi\""),
        ("back\\slash", r"back\\slash"),
        ("two\nlines", r"two\nlines"),
        ('\\"\n', r"\\\"\n"),
        ("čeština 🎬", "čeština 🎬"),
    ],
)
def test_label_values_are_escaped(value: str, text: str) -> None:
    metric = Metric("live", MetricType.COUNTER, "Live.")
    assert rendered(metric, (("field", value),), 1)[2] == f'live{{field="{text}"}} 1'


def test_help_is_escaped_except_quotes() -> None:
    metric = Metric("live", MetricType.COUNTER, 'The "most\\least".\nTwice.')
    assert rendered(metric, (), 1)[0] == r'# HELP live The "most\\least".\nTwice.'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (12.0, "12"),
        (0.1, "0.1"),
        (1e12, "1000000000000"),
    ],
)
def test_numbers_have_exposition_format(value: float, text: str) -> None:
    assert rendered(Metric("live", MetricType.GAUGE, "Live."), (), value)[2] == f"live {text}"


def test_families_are_sorted_by_name() -> None:
    registry = Registry(100)
    late, early = (
        Metric("b_total", MetricType.COUNTER, "B."),
        Metric("a_total", MetricType.COUNTER, "A."),
    )
    registry.find_or_create(late, (("x", "1"),))
    registry.find_or_create(early, ())
    registry.find_or_create(late, (("x", "2"),))
    lines = exposition.render(registry).decode().splitlines()
    assert [line for line in lines if not line.startswith("# HELP")] == [
        "# TYPE a_total counter",
        "a_total 0",
        "# TYPE b_total counter",
        'b_total{x="1"} 0',
        'b_total{x="2"} 0',
    ]
