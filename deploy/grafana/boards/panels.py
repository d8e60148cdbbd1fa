"""Builders of panels, each with a description of its meaning and its metrics."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    logs,
    loki,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from boards.promql import METRICS
from openqoe.core.qoe import catalogue

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
LOKI = models.DataSourceRef(type_val="loki", uid="${logs}")

WIDTH = 24

MAX_LINES = 5_000
"""Lines of a log query that Grafana counts: Loki's default limit
(``max_entries_limit_per_query``)."""

Panel = (
    timeseries.Panel
    | stat.Panel
    | table.Panel
    | bargauge.Panel
    | heatmap.Panel
    | logs.Panel
    | statetimeline.Panel
)

GOOD, WARN, BAD = "green", "yellow", "red"

_SOURCES = {row.metric.name: row.source for row in catalogue.CATALOGUE}


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds of warning and bad values. If low values are bad, ``warn`` is above ``bad``."""

    warn: float
    bad: float

    def build(self) -> dashboard.ThresholdsConfig:
        if self.warn < self.bad:
            steps = ((None, GOOD), (self.warn, WARN), (self.bad, BAD))
        else:
            steps = ((None, BAD), (self.bad, WARN), (self.warn, GOOD))
        return dashboard.ThresholdsConfig().steps(
            [models.Threshold(value, colour) for value, colour in steps]
        )


NO_LIMITS = dashboard.ThresholdsConfig().steps([models.Threshold(None, "blue")])


def describe(text: str, exprs: Sequence[str], alert: str = "") -> str:
    """The description of a panel: its meaning, its metrics, its alert and runbook."""
    names = dict.fromkeys(
        METRICS[name].name
        for expr in exprs
        for name in re.findall(r"openqoe_\w+", expr)
        if name in METRICS
    )
    parts = [text]
    if names:
        parts.append("Metrics:\n" + "\n".join(f"- `{name}`: {_source(name)}" for name in names))
    if alert:
        parts.append(f"Alert: {alert}. Runbook: `docs/runbooks/{alert}.md`")
    return "\n\n".join(parts)


def _source(name: str) -> str:
    metric = next(m for m in METRICS.values() if m.name == name)
    return metric.help + (f" From {_SOURCES[name]}." if name in _SOURCES else "")


def _target(
    expr: str,
    legend: str,
    ref: str,
    *,
    instant: bool = False,
    shape: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expr).ref_id(ref).datasource(PROMETHEUS).format(shape)
    if legend:
        query = query.legend_format(legend)
    return query.instant() if instant else query.range()


def number(
    title: str,
    text: str,
    expr: str,
    *,
    unit: str = "short",
    limits: Limits | None = None,
    decimals: int | None = None,
    alert: str = "",
    width: int = 4,
    by_label: str = "",
) -> stat.Panel:
    """One number over the whole time range."""
    panel = (
        stat.Panel()
        .title(title)
        .description(describe(text, [expr], alert))
        .datasource(PROMETHEUS)
        .with_target(_target(expr, by_label, "A", instant=True))
        .unit(unit)
        .thresholds(NO_LIMITS if limits is None else limits.build())
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .graph_mode(looks.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(4)
        .span(width)
    )
    return panel if decimals is None else panel.decimals(decimals)


def graph(
    title: str,
    text: str,
    queries: Sequence[tuple[str, str]],
    *,
    unit: str = "short",
    limits: Limits | None = None,
    stacked: bool = False,
    share: bool = False,
    alert: str = "",
    width: int = 12,
    most: float | None = None,
) -> timeseries.Panel:
    """Lines over time.

    Args:
        queries: Expressions with their legends.
        stacked: Whether to stack them.
        share: Whether to show them as fractions of their sum.
        most: The maximum of the axis.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(describe(text, [expr for expr, _ in queries], alert))
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(25 if stacked or share else 8)
        .show_points(looks.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(
            common.VizTooltipOptions()
            .mode(looks.TooltipDisplayMode.MULTI)
            .sort(looks.SortOrder.DESCENDING)
        )
        .height(8)
        .span(width)
    )
    if stacked or share:
        mode = looks.StackingMode.PERCENT if share else looks.StackingMode.NORMAL
        panel = panel.stacking(common.StackingConfig().mode(mode).group("A"))
    if limits is not None:
        panel = panel.thresholds(limits.build()).thresholds_style(
            common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
        )
    if most is not None:
        panel = panel.max(most)
    for place, (expr, legend) in enumerate(queries):
        panel = panel.with_target(_target(expr, legend, chr(ord("A") + place)))
    return panel


def bars(
    title: str,
    text: str,
    queries: Sequence[tuple[str, str]],
    *,
    unit: str = "short",
    alert: str = "",
    width: int = 12,
    height: int = 8,
) -> bargauge.Panel:
    """Bars of values over the whole time range."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(describe(text, [expr for expr, _ in queries], alert))
        .datasource(PROMETHEUS)
        .unit(unit)
        .min(0)
        .thresholds(NO_LIMITS)
        .display_mode(looks.BarGaugeDisplayMode.BASIC)
        .orientation(looks.VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(height)
        .span(width)
    )
    for place, (expr, legend) in enumerate(queries):
        panel = panel.with_target(_target(expr, legend, chr(ord("A") + place), instant=True))
    return panel


def spread(title: str, text: str, expr: str, *, unit: str, width: int = 12) -> heatmap.Panel:
    """A histogram's buckets over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(describe(text, [expr]))
        .datasource(PROMETHEUS)
        .with_target(_target(expr, "{{le}}", "A", shape=PromQueryFormat.HEATMAP))
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Spectral")
            .exponent(0.5)
            .fill("dark-orange")
            .steps(64)
        )
        .height(8)
        .span(width)
    )


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers in a table."""

    title: str
    expr: str
    unit: str = "short"
    limits: Limits | None = None
    decimals: int | None = None


def rows(
    title: str,
    text: str,
    labels: Sequence[tuple[str, str]],
    columns: Sequence[Column],
    *,
    alert: str = "",
    width: int = 12,
    link: str = "",
) -> table.Panel:
    """A table: one row per label set, one column per query over the whole time range.

    Args:
        labels: The labels of the rows with their titles.
        columns: The values; rows are sorted by the first.
        link: The link of the first label; ``${__value.text}`` is its value.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(describe(text, [column.expr for column in columns], alert))
        .datasource(PROMETHEUS)
        .sort_by([common.TableSortByFieldState().display_name(columns[0].title).desc(True)])
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .height(9)
        .span(width)
    )
    names = dict(labels)
    for place, column in enumerate(columns):
        ref = chr(ord("A") + place)
        panel = panel.with_target(
            _target(column.expr, "", ref, instant=True, shape=PromQueryFormat.TABLE)
        )
        # With a single query Grafana calls its column "Value", else "Value #A".
        names["Value" if len(columns) == 1 else f"Value #{ref}"] = column.title
        panel = panel.override_by_name(column.title, _properties(column))
    if link:
        first = labels[0][1]
        links = [{"title": "Show", "url": link}]
        panel = panel.override_by_name(first, [models.DynamicConfigValue("links", links)])
    return panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "renameByName": names}
        )
    )


def _properties(column: Column) -> list[models.DynamicConfigValue]:
    found: list[models.DynamicConfigValue] = [models.DynamicConfigValue("unit", column.unit)]
    if column.decimals is not None:
        found.append(models.DynamicConfigValue("decimals", column.decimals))
    if column.limits is not None:
        found.append(models.DynamicConfigValue("thresholds", column.limits.build().build()))
        found.append(models.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return found


# Logs


def log_graph(
    title: str, text: str, expr: str, legend: str, *, width: int = 24
) -> timeseries.Panel:
    """Counts of log lines over time."""
    return (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .with_target(
            loki.Dataquery()
            .expr(expr)
            .legend_format(legend)
            .query_type("range")
            .ref_id("A")
            .datasource(LOKI)
        )
        .draw_style(looks.GraphDrawStyle.BARS)
        .fill_opacity(60)
        .stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A"))
        .min(0)
        .height(8)
        .span(width)
    )


def log_value(title: str, text: str, expr: str, unit: str, *, width: int = 12) -> timeseries.Panel:
    """A number of log lines over time, as steps.

    Args:
        title: Its title.
        text: Its description.
        expr: A log query that ends with ``unwrap``.
        unit: Unit of the number.
        width: Columns, of 24.
    """
    return (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .with_target(
            loki.Dataquery()
            .expr(f"max(max_over_time({expr} [$__auto]))")
            .legend_format(title)
            .query_type("range")
            .ref_id("A")
            .datasource(LOKI)
        )
        .unit(unit)
        .line_interpolation(looks.LineInterpolation.STEP_AFTER)
        .span_nulls(True)
        .min(0)
        .height(8)
        .span(width)
    )


def _latest_lines(expr: str) -> loki.Dataquery:
    """A query of log lines, of which Grafana shows the latest."""
    return (
        loki.Dataquery()
        .expr(expr)
        .query_type("range")
        .max_lines(MAX_LINES)
        .ref_id("A")
        .datasource(LOKI)
    )


def _transformers(
    transformations: Mapping[str, dict[str, object]],
) -> list[models.DataTransformerConfig]:
    return [
        models.DataTransformerConfig(id_val=name, options=options)
        for name, options in transformations.items()
    ]


def log_states(
    title: str, text: str, expr: str, states: Mapping[str, tuple[str, str]]
) -> statetimeline.Panel:
    """States over time: each log line sets the state of its event_type.

    Args:
        title: Its title.
        text: Its description.
        expr: A log query whose lines have the label event_type.
        states: State and colour by event_type.
    """
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .with_target(_latest_lines(expr))
        .mappings(
            [
                models.ValueMap(
                    options={
                        name: models.ValueMappingResult(text=state, color=colour, index=number)
                        for number, (name, (state, colour)) in enumerate(states.items())
                    }
                )
            ]
        )
        .height(6)
        .span(WIDTH)
    )
    transformations: dict[str, dict[str, object]] = {
        "extractFields": {"source": "labels", "format": "auto", "keepTime": True, "replace": True},
        "filterFieldsByName": {"include": {"names": ["Time", "event_type"]}},
        "sortBy": {"fields": {}, "sort": [{"field": "Time"}]},
    }
    for one in _transformers(transformations):
        panel = panel.with_transformation(one)
    return panel


def log_ranking(
    title: str, text: str, expr: str, names: dict[str, str], *, link: str = "", width: int = 12
) -> table.Panel:
    """The most frequent label sets of the latest log lines.

    Grafana counts the lines, because Loki fails a query of more than 500 series, and its
    ``approx_topk`` is experimental and off by default.

    Args:
        expr: A log query. Each of its lines has the labels and event_type, which is counted.
        names: Titles of the labels; the first has the ``link``.
    """
    counted = "event_type (count)"
    fields: dict[str, object] = {
        name: {"operation": "groupby", "aggregations": []} for name in names
    }
    fields["event_type"] = {"operation": "aggregate", "aggregations": ["count"]}
    panel = (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .with_target(_latest_lines(expr))
        .height(9)
        .span(width)
    )
    transformations: dict[str, dict[str, object]] = {
        "extractFields": {"source": "labels", "format": "auto", "replace": True},
        "groupBy": {"fields": fields},
        "sortBy": {"fields": {}, "sort": [{"field": counted, "desc": True}]},
        "limit": {"limitField": 20},
        "organize": {"renameByName": {**names, counted: "Events"}},
    }
    for one in _transformers(transformations):
        panel = panel.with_transformation(one)
    if link:
        links = [{"title": "Show", "url": link}]
        first = next(iter(names.values()))
        panel = panel.override_by_name(first, [models.DynamicConfigValue("links", links)])
    return panel


def log_lines(title: str, text: str, expr: str, *, ascending: bool = False) -> logs.Panel:
    """A list of log lines."""
    order = looks.LogsSortOrder.ASCENDING if ascending else looks.LogsSortOrder.DESCENDING
    return (
        logs.Panel()
        .title(title)
        .description(text)
        .datasource(LOKI)
        .with_target(loki.Dataquery().expr(expr).query_type("range").ref_id("A").datasource(LOKI))
        .show_time(True)
        .wrap_log_message(True)
        .prettify_log_message(False)
        .enable_log_details(True)
        .sort_order(order)
        .dedup_strategy(looks.LogsDedupStrategy.NONE)
        .height(14)
        .span(WIDTH)
    )
