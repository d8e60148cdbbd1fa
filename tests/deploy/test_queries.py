"""Every query of the dashboards, rules and runbooks, asked of a real Prometheus.

It is filled by simulated viewers and a worker in trouble (`world`), so none may be empty; and where
the simulation knows the truth, the answer is the truth. Queries are asked at the moment of the last
flush: Prometheus then has nothing to extrapolate, and counts are exact.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import pytest

from openqoe.core.config.log_labels import STREAM_LABELS
from openqoe.simulator.truth import quantile
from tests.deploy import dashboard_files, rule_files
from tests.deploy.dashboard_files import NAMES, Query
from tests.deploy.log_queries import LOG_QUERIES
from tests.deploy.logql_evaluator import select_lines
from tests.deploy.logql_syntax import LogQuery, parse_logql
from tests.deploy.simulated_hour import FLUSH, INCIDENT_FROM, LENGTH, SECOND, SimulatedHour
from tests.deploy.test_rules import PAGES, blocks
from tests.support.loki_double import LogEntry
from tests.support.prometheus_server import Instant, Prometheus
from tests.support.services import require
from tests.support.simulated_viewers import assert_counted

ALL_OF_IT: Final = f"{(LENGTH + FLUSH) // SECOND}s"
"""A window that starts before the first flush, where counters start with 0."""

TIMES: Final = {
    "__range": ALL_OF_IT,
    "__rate_interval": f"{4 * FLUSH // SECOND}s",  # as Grafana derives it from the flush interval
    "__auto": "1m",
}

ORGANISATIONS: Final = ("acme", "campus", "nordlicht", "samba")


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    require("prometheus")
    with Prometheus() as server:
        yield server


@pytest.fixture(scope="module")
def world(prometheus: Prometheus) -> SimulatedHour:
    return SimulatedHour(prometheus)


def test_prometheus_refuses_no_simulated_sample(
    prometheus: Prometheus, world: SimulatedHour
) -> None:
    prometheus.assert_nothing_rejected()


# Queries have results


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_shows_data(prometheus: Prometheus, world: SimulatedHour, name: str) -> None:
    dashboard = dashboard_files.load(name)
    values = {**TIMES, **dashboard_files.default_values(dashboard)}
    for query in dashboard_files.queries(dashboard):
        if query.language == "prometheus":
            expr = dashboard_files.substitute(query.expr, values)
            shown = values_at_end(prometheus, world, expr)
            if not query.instant:
                shown = chain(shown, values_of_hour(prometheus, world, expr))
            assert any(map(math.isfinite, shown)), f"{query.where}: {query.expr}"


def values_at_end(prometheus: Prometheus, world: SimulatedHour, expr: str) -> Iterator[float]:
    """The values of a query at the last flush, the last ones of `values_of_hour`."""
    yield from (one.value for one in prometheus.query(expr, world.end / SECOND))


def values_of_hour(prometheus: Prometheus, world: SimulatedHour, expr: str) -> Iterator[float]:
    """The values of a query over the last hour. Asked lazily: it is costly for Prometheus."""
    end = world.end / SECOND
    for one in prometheus.query_range(expr, end - 3600, end, 60):
        yield from (value for _, value in one.samples)


def has_results(prometheus: Prometheus, world: SimulatedHour, expr: str) -> bool:
    """Whether a query has a result at any minute of the last hour."""
    values = chain(values_at_end(prometheus, world, expr), values_of_hour(prometheus, world, expr))
    return next(values, None) is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_dashboard_variable_has_values(
    prometheus: Prometheus, world: SimulatedHour, name: str
) -> None:
    dashboard = dashboard_files.load(name)
    chosen = dashboard_files.default_values(dashboard)
    for variable in dashboard_files.variables(dashboard).values():
        if variable["type"] != "query":
            continue
        asked = variable["query"]
        if variable["datasource"]["type"] == "loki":
            assert {entry.labels.get(asked["label"]) for entry in world.loki.entries()} - {None}
            continue
        selector, _, label = asked["query"].removeprefix("label_values(")[:-1].rpartition(",")
        found = prometheus.series(
            dashboard_files.substitute(selector, chosen), start=world.begin / SECOND
        )
        assert {labels.get(label) for labels in found} - {None}, variable["name"]


def test_every_recording_rule_has_results(prometheus: Prometheus, world: SimulatedHour) -> None:
    """Slices without their guard of 25 views, which no slice of so few viewers reaches."""
    for rule in rule_files.recordings():
        expr = rule["expr"].replace("> 25 / 900", "> 0")
        assert has_results(prometheus, world, expr), rule


def test_series_selected_by_rules_exist(prometheus: Prometheus, world: SimulatedHour) -> None:
    """An alert without a fault has no result, so its series are queried instead."""
    for rule in rule_files.rules():
        for selector in rule_files.selectors(rule["expr"]):
            if rule_files.metric_of(selector) != "up":  # added by Prometheus for scraped targets
                window = f"last_over_time({selector}[{ALL_OF_IT}])"
                assert prometheus.query(window, world.end / SECOND), (rule, selector)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runbook_queries_return_results(
    prometheus: Prometheus, world: SimulatedHour, page: Path
) -> None:
    """Each query has a result at some time, unless it looks for a condition of the moment."""
    for query in blocks(page.read_text(encoding="utf-8"), "promql"):
        assert has_results(prometheus, world, query) or query.endswith("== 0"), query


# Values equal the truth


def panel(name: str, title: str, place: int = 0) -> Query:
    """The query of a panel."""
    found = [
        query
        for query in dashboard_files.queries(dashboard_files.load(name))
        if query.where == title
    ]
    return found[place]


def value(prometheus: Prometheus, world: SimulatedHour, query: Query, **chosen: str) -> float:
    """The single value that a panel shows."""
    (one,) = table(prometheus, world, query, **chosen)
    return one.value


def table(
    prometheus: Prometheus, world: SimulatedHour, query: Query, **chosen: str
) -> list[Instant]:
    """The values that a panel shows with these variables; all others are All."""
    values = {
        **TIMES,
        **dict.fromkeys(dashboard_files.find_variables(query.expr) - TIMES.keys(), ".*"),
    }
    expr = dashboard_files.substitute(query.expr, {**values, **chosen})
    return prometheus.query(expr, world.end / SECOND)


@pytest.mark.parametrize("org", ORGANISATIONS)
@pytest.mark.parametrize(
    ("title", "metric"),
    [
        ("Views started", "openqoe_views_started_total"),
        ("Watch time", "openqoe_watch_time_seconds"),
    ],
)
def test_views_and_watch_time_panels_equal_truth(
    prometheus: Prometheus, world: SimulatedHour, title: str, metric: str, org: str
) -> None:
    found = value(prometheus, world, panel("openqoe-overview", title), org_id=org)
    assert found == pytest.approx(world.truth.total(metric, org_id=org), rel=1e-9)
    assert found > 0


@pytest.mark.parametrize("org", ORGANISATIONS)
def test_rebuffering_panels_equal_truth(
    prometheus: Prometheus, world: SimulatedHour, org: str
) -> None:
    truth = world.truth
    labels = {"org_id": org, "cause": "rebuffer"}
    stalled = truth.histogram("openqoe_rebuffer_duration_seconds", **labels).total
    stalls = truth.total("openqoe_rebuffer_events_total", **labels)
    watched = truth.total("openqoe_watch_time_seconds", org_id=org)
    found = value(prometheus, world, panel("openqoe-overview", "Rebuffer percentage"), org_id=org)
    assert found == pytest.approx(stalled / watched, rel=1e-9)
    often = panel("openqoe-quality", "Rebufferings per hour watched")
    assert value(prometheus, world, often, org_id=org) == pytest.approx(
        3600 * stalls / watched, rel=1e-9
    )


def outcome_ratio(world: SimulatedHour, org: str, how: str) -> float:
    """The fraction of the ended views with an outcome, by its definition."""
    counts = {
        outcome: count
        for (its_org, outcome), count in world.truth.by(
            "openqoe_view_outcomes_total", "org_id", "outcome"
        ).items()
        if its_org == org
    }
    of = counts.keys() - {"bounce", "unknown"}
    if how == "playback_failure":
        of = {"completed", "stopped", how}
    return counts.get(how, 0.0) / sum(counts.get(outcome, 0.0) for outcome in of)


OUTCOMES: Final = {
    "Exits before start": "exit_before_start",
    "Start failures": "start_failure",
    "Playback failures": "playback_failure",
}
"""Panels of outcomes."""


@pytest.mark.parametrize("org", ORGANISATIONS)
@pytest.mark.parametrize("title", OUTCOMES)
def test_outcome_panels_equal_truth(
    prometheus: Prometheus, world: SimulatedHour, title: str, org: str
) -> None:
    found = value(prometheus, world, panel("openqoe-overview", title), org_id=org)
    assert found == pytest.approx(outcome_ratio(world, org, OUTCOMES[title]), rel=1e-9)


def test_simulated_views_have_every_outcome_of_simulated_players(world: SimulatedHour) -> None:
    found = {how for (how,) in world.truth.by("openqoe_view_outcomes_total", "outcome")}
    assert found >= {"completed", "stopped", *OUTCOMES.values()}


@pytest.mark.parametrize("org", ORGANISATIONS)
@pytest.mark.parametrize(
    ("title", "metric", "labels"),
    [
        ("Completion", "openqoe_completion_rate", {}),
        ("View score", "openqoe_view_score", {"part": "all"}),
    ],
)
def test_completion_and_score_panels_equal_truth(
    prometheus: Prometheus,
    world: SimulatedHour,
    title: str,
    metric: str,
    labels: dict[str, str],
    org: str,
) -> None:
    true = world.truth.histogram(metric, org_id=org, **labels)
    found = value(prometheus, world, panel("openqoe-overview", title), org_id=org)
    assert found == pytest.approx(true.total / sum(true.counts), rel=1e-9)


@pytest.mark.parametrize(
    ("title", "numerator", "denominator"),
    [
        ("Bit rate", "openqoe_bitrate_bits_total", "openqoe_bitrate_known_seconds_total"),
        (
            "Dropped frames",
            "openqoe_expected_frames_dropped_total",
            "openqoe_frames_expected_total",
        ),
    ],
)
def test_weighted_panels_equal_truth(
    prometheus: Prometheus, world: SimulatedHour, title: str, numerator: str, denominator: str
) -> None:
    true = [world.truth.total(name, org_id="nordlicht") for name in (numerator, denominator)]
    found = value(prometheus, world, panel("openqoe-quality", title), org_id="nordlicht")
    assert found == pytest.approx(true[0] / true[1], rel=1e-9)


def test_every_series_equals_truth(prometheus: Prometheus, world: SimulatedHour) -> None:
    found = prometheus.query('{instance="w-0",__name__=~"openqoe_.+"}', world.end / SECOND)
    assert_counted(world.truth.samples(), ((one.labels, one.value) for one in found))


def test_recording_rules_over_whole_time_equal_truth(
    prometheus: Prometheus, world: SimulatedHour
) -> None:
    truth = world.truth
    rebuffer = "openqoe_rebuffer_duration_seconds"
    for org in ORGANISATIONS:
        completion = truth.histogram("openqoe_completion_rate", org_id=org)
        wanted = {
            "org_env:openqoe_rebuffer_ratio:rate30m": truth.histogram(
                rebuffer, org_id=org, cause="rebuffer"
            ).total
            / truth.total("openqoe_watch_time_seconds", org_id=org),
            "org_env:openqoe_bitrate_bps:weighted1h": truth.total(
                "openqoe_bitrate_bits_total", org_id=org
            )
            / (truth.total("openqoe_bitrate_known_seconds_total", org_id=org) or math.nan),
            "org_env:openqoe_completion_rate:mean30m": completion.total / sum(completion.counts),
            **{
                f"org_env:openqoe_{how}_ratio:rate30m": outcome_ratio(world, org, how)
                for how in OUTCOMES.values()
            },
        }
        for rule in rule_files.recordings():
            true = wanted.pop(rule["record"], math.nan)
            if not math.isnan(true):
                expr = re.sub(r"\[\d+[mh]\]", f"[{ALL_OF_IT}]", rule["expr"])
                found = prometheus.query(expr, world.end / SECOND)
                (one,) = (one for one in found if one.labels.get("org_id") == org)
                assert one.value == pytest.approx(true, rel=1e-9), rule["record"]
        assert not any(math.isfinite(true) for true in wanted.values()), wanted


@pytest.mark.parametrize("org", ORGANISATIONS)
@pytest.mark.parametrize(("title", "q"), [("Startup, median", 0.5), ("Startup, 95 %", 0.95)])
def test_startup_quantile_panels_equal_truth(
    prometheus: Prometheus, world: SimulatedHour, org: str, title: str, q: float
) -> None:
    metric = "openqoe_video_startup_seconds"
    true = quantile(metric, world.truth.histogram(metric, org_id=org), q)
    found = value(prometheus, world, panel("openqoe-overview", title), org_id=org)
    assert found == pytest.approx(true, rel=1e-9)


@pytest.mark.parametrize("org", ORGANISATIONS)
def test_errors_per_view_panel_equals_truth(
    prometheus: Prometheus, world: SimulatedHour, org: str
) -> None:
    truth = world.truth
    errors = truth.total("openqoe_errors_total", org_id=org, content_type="vod")
    views = truth.total("openqoe_views_started_total", org_id=org, content_type="vod")
    found = value(prometheus, world, panel("openqoe-vod", "Errors for each view"), org_id=org)
    assert found == pytest.approx(errors / views, rel=1e-9)


def test_error_table_equals_truth(prometheus: Prometheus, world: SimulatedHour) -> None:
    found = table(prometheus, world, panel("openqoe-overview", "Most errors"), org_id="nordlicht")
    wanted = world.truth.by("openqoe_errors_total", "org_id", "video_id")
    assert {(one.labels["video_id"]): one.value for one in found if one.value} == pytest.approx(
        {video: count for (org, video), count in wanted.items() if org == "nordlicht"}
    )
    codes = (
        "sum by (error_family, error_code) "
        f'(increase(openqoe_errors_total{{org_id="nordlicht"}}[{ALL_OF_IT}])) > 0'
    )
    by_code = world.truth.by("openqoe_errors_total", "org_id", "error_family", "error_code")
    assert {
        (one.labels["error_family"], one.labels["error_code"]): one.value
        for one in prometheus.query(codes, world.end / SECOND)
    } == pytest.approx(
        {(family, code): n for (org, family, code), n in by_code.items() if org == "nordlicht"}
    )


@pytest.mark.parametrize("org", ORGANISATIONS)
def test_completion_funnel_panel_equals_truth(
    prometheus: Prometheus, world: SimulatedHour, org: str
) -> None:
    bars = [
        query
        for query in dashboard_files.queries(dashboard_files.load("openqoe-engagement"))
        if query.where == "Completion funnel"
    ]
    truth = world.truth
    wanted = [
        truth.total("openqoe_views_started_total", org_id=org),
        *(
            truth.total("openqoe_quartile_reached_total", org_id=org, quartile=quartile)
            for quartile in ("25", "50", "75", "100")
        ),
        truth.total("openqoe_views_completed_total", org_id=org),
    ]
    found = [value(prometheus, world, bar, org_id=org) for bar in bars]
    assert found == pytest.approx(wanted, rel=1e-9)


def test_dashboard_filter_restricts_results(prometheus: Prometheus, world: SimulatedHour) -> None:
    query = panel("openqoe-overview", "Views started")
    for chosen in (
        {"org_id": "nordlicht", "network_country": "DE"},
        {"org_id": "acme|samba", "device_category": "mobile"},
        {"player_name": "dashjs"},
        {"org_id": "nordlicht", "content_type": "live"},
    ):
        wanted = sum(
            count
            for labels, count in world.truth.by("openqoe_views_started_total", *chosen).items()
            if all(
                one in text.split("|") for one, text in zip(labels, chosen.values(), strict=True)
            )
        )
        # The faulty worker has views of other organisations.
        chosen = {"org_id": "|".join(ORGANISATIONS), **chosen}
        assert value(prometheus, world, query, **chosen) == pytest.approx(wanted, rel=1e-9)


def test_country_panel_equals_truth(prometheus: Prometheus, world: SimulatedHour) -> None:
    found = table(prometheus, world, panel("openqoe-overview", "By country"), org_id="nordlicht")
    wanted = world.truth.by("openqoe_views_started_total", "org_id", "network_country")
    assert {one.labels["network_country"]: one.value for one in found} == pytest.approx(
        {country: count for (org, country), count in wanted.items() if org == "nordlicht"}
    )


def test_live_and_on_demand_sum_to_all(prometheus: Prometheus, world: SimulatedHour) -> None:
    for org in ORGANISATIONS:
        parts = [
            value(prometheus, world, panel(name, "Views started"), org_id=org)
            for name in ("openqoe-live", "openqoe-vod")
            if table(prometheus, world, panel(name, "Views started"), org_id=org)
        ]
        whole = value(prometheus, world, panel("openqoe-overview", "Views started"), org_id=org)
        assert sum(parts) == pytest.approx(whole, rel=1e-9)


# Alerts


@pytest.mark.parametrize(
    ("alert", "org"),
    [
        ("OpenQoERebuffering", "nordlicht"),
        ("OpenQoEStartupSlow", "nordlicht"),
        ("OpenQoEErrors", "nordlicht"),
        ("OpenQoEBitrateCollapse", "nordlicht"),
        ("OpenQoEPlaybackFailures", "acme"),
    ],
)
def test_incident_fires_its_alert_and_none_fires_before(
    prometheus: Prometheus, world: SimulatedHour, alert: str, org: str
) -> None:
    """The incidents are the CDN of one organisation and a release of another."""
    selector = f'ALERTS{{alertname="{alert}",org_id="{org}",severity="warning"}}'
    fired = [
        at
        for one in prometheus.samples(selector, "2h", world.end / SECOND)
        for at, _ in one.samples
    ]
    assert fired
    assert min(fired) >= (world.begin + INCIDENT_FROM) / SECOND


@pytest.mark.parametrize(
    "alert",
    [
        "OpenQoERestartLoop",
        "OpenQoERecordsMissing",
        "OpenQoEDeliveryLate",
        "OpenQoEDataDropped",
        "OpenQoEItemsRefused",
        "OpenQoESeriesOverflow",
        "OpenQoECardinalityFolded",
        "OpenQoEViewsForgotten",
        "OpenQoESharedStoreAway",
        "OpenQoECountedAlone",
    ],
)
def test_worker_fault_fires_its_alert(
    prometheus: Prometheus, world: SimulatedHour, alert: str
) -> None:
    selector = f'ALERTS{{alertname="{alert}"}}'
    assert prometheus.samples(selector, "2h", world.end / SECOND)


# Logs


def test_log_queries_use_labels_that_worker_sends(world: SimulatedHour) -> None:
    entries = list(world.loki.entries())
    stream = set().union(*(entry.labels for entry in entries))
    metadata = set().union(*(entry.metadata for entry in entries))
    assert stream == set(STREAM_LABELS)
    assert not stream & metadata
    members = paths(entries)
    for query in LOG_QUERIES:
        asked = parse_logql(query.expr)
        assert {label for label, _, _ in asked.matchers} <= stream, query
        assert asked.filters <= metadata | asked.paths.keys(), query
        assert set(asked.paths.values()) <= members, query
        assert asked.used <= stream | metadata | asked.paths.keys(), query


def test_streams_are_at_most_product_of_documentation(world: SimulatedHour) -> None:
    """One environment and one instance: docs/grafana.md multiplies players by event types."""
    labels = [entry.labels for entry in world.loki.entries() if entry.labels["instance"] == "w-0"]
    players = {(one["org_id"], one["player_id"]) for one in labels}
    types = {one["event_type"] for one in labels}
    assert len({tuple(one.items()) for one in labels}) <= len(players) * len(types)


def log_query(title: str, **chosen: str) -> LogQuery:
    """The query of a panel of the events dashboard; variables not chosen are All."""
    dashboard = dashboard_files.load("openqoe-events")
    values = {**TIMES, **dashboard_files.default_values(dashboard), **chosen}
    expr = panel("openqoe-events", title).expr
    return parse_logql(dashboard_files.substitute(expr, values))


@pytest.mark.parametrize(
    "chosen",
    [
        {"org_id": "nordlicht", "network_country": "DE"},
        {"org_id": "acme|samba", "device_category": "mobile"},
        {"player_name": "dashjs"},
    ],
    ids=str,
)
def test_dashboard_filter_restricts_log_lines(world: SimulatedHour, chosen: dict[str, str]) -> None:
    query = log_query("Events in the log, by type", **{"org_id": "|".join(ORGANISATIONS), **chosen})
    found = Counter(line.labels["event_type"] for line in select_lines(query, world.loki.entries()))
    wanted: Counter[str] = Counter()
    for (event_type, *labels), count in world.truth.by(
        "openqoe_events_total", "event_type", *chosen
    ).items():
        pairs = zip(labels, chosen.values(), strict=True)
        if all(label in text.split("|") for label, text in pairs):
            wanted[event_type] += int(count)
    assert found == wanted


@pytest.mark.parametrize("org", ORGANISATIONS)
def test_view_rankings_count_errors_and_stalls_without_startup_waits(
    world: SimulatedHour, org: str
) -> None:
    """Live streams begin at any position: only metrics recognise the wait at their start."""
    truth = world.truth
    entries = world.loki.entries()
    errors = list(select_lines(log_query("Views with most errors", org_id=org), entries))
    assert len(errors) == truth.total("openqoe_errors_total", org_id=org)
    stalls = list(select_lines(log_query("Views with most stalls", org_id=org), entries))
    stalled = "openqoe_rebuffer_events_total"
    waits = truth.total(stalled, org_id=org, cause="startup", content_type="vod")
    assert len(stalls) == truth.total(stalled, org_id=org) - waits
    assert waits > 0
    for labels, _ in (*errors, *stalls):
        assert labels.keys() == {"event_type", "view_id", "video_id", "player_name"}


def test_event_summaries_have_no_unrounded_numbers(world: SimulatedHour) -> None:
    entries = some_of_each(world.loki.entries())
    lines = [line.text for line in select_lines(log_query("Events in order"), entries)]
    assert len(lines) == len(entries)
    for line in lines:
        assert not re.search(r"\d\.\d\d|  |,,| ms", line.partition(", error")[0]), line
    assert any(re.fullmatch(r"stall_?start at \d+\.\d s", line) for line in lines)
    assert any("(no position)" in line for line in lines)


def test_event_types_in_log_queries_are_sent(world: SimulatedHour) -> None:
    types = {entry.labels["event_type"] for entry in world.loki.entries()}
    assert "error" in types
    assert {"stall_start", "stallstart"} <= types


def some_of_each(entries: Iterable[LogEntry]) -> list[LogEntry]:
    """At most 50 entries of each event type and player."""
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for entry in entries:
        kind = entry.labels["event_type"], entry.labels["player_id"]
        seen[kind] += 1
        if seen[kind] <= 50:
            found.append(entry)
    return found


def paths(entries: Iterable[LogEntry]) -> set[str]:
    """The JSON paths of the lines, from some lines of each event type and player."""
    kinds = {
        (e.labels["event_type"], e.labels["player_id"], len(e.line) // 200): e.line for e in entries
    }
    found: set[str] = set()

    def walk(value: object, path: str) -> None:
        found.add(path)
        if isinstance(value, dict):
            for name, member in value.items():
                walk(member, f"{path}.{name}" if path else name)

    for line in kinds.values():
        walk(json.loads(line), "")
    return found
