"""All LogQL of dashboards and documentation, by Grafana's own grammar."""

from __future__ import annotations

import math
import re
from typing import Final

import pytest

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS
from openqoe.core.config.log_labels import STREAM_LABELS
from tests.deploy import dashboard_files
from tests.deploy.dashboard_files import Query
from tests.deploy.go_template import render
from tests.deploy.log_queries import DOCS, LOG_QUERIES
from tests.deploy.logql_syntax import parse_logql, unquote
from tests.support import captures

MAX_SERIES: Final = 500
"""Series that Loki returns for each query, by default."""

FEW_VALUES: Final = {
    name
    for name, limit in DEFAULT_LIMITS.items()
    if limit.action == "allow" and (limit.max_cardinality or MAX_SERIES) < MAX_SERIES
}
"""Labels that have fewer values than that by default."""


@pytest.mark.parametrize("query", LOG_QUERIES, ids=lambda query: query.where)
def test_log_query_is_valid_and_has_selective_matcher(query: Query) -> None:
    """Loki requires a matcher that rejects the empty string."""
    assert any(
        operator in ("=", "=~") and not re.fullmatch(value, "")
        for _, operator, value in parse_logql(query.expr).matchers
    )


@pytest.mark.parametrize("query", LOG_QUERIES, ids=lambda query: query.where)
def test_log_query_selects_streams_by_stream_labels_only(query: Query) -> None:
    """Other labels are structured metadata: a matcher in the selector would find nothing."""
    assert {label for label, _, _ in parse_logql(query.expr).matchers} <= set(STREAM_LABELS)


@pytest.mark.parametrize("query", LOG_QUERIES, ids=lambda query: query.where)
def test_metric_query_groups_by_labels_with_few_values_only(query: Query) -> None:
    """Loki fails a query of more series, also within topk: views and messages are too many."""
    parsed = parse_logql(query.expr)
    if parsed.is_metric:
        groups = {
            name.text
            for node in parsed.tree.find_all("Grouping")
            for name in node.find_all("Identifier")
        }
        assert groups <= FEW_VALUES


def test_ranking_panels_count_no_more_lines_than_loki_returns() -> None:
    """Grafana counts log lines by the labels that the query keeps."""
    rankings = [
        panel
        for panel in dashboard_files.panels(dashboard_files.load("openqoe-events"))
        if panel["type"] == "table"
    ]
    assert len(rankings) == 3
    for panel in rankings:
        (target,) = panel["targets"]
        assert target["queryType"] == "range"
        assert target["maxLines"] == 5_000  # Loki's max_entries_limit_per_query
        options = {one["id"]: one["options"] for one in panel["transformations"]}
        assert list(options) == ["extractFields", "groupBy", "sortBy", "limit", "organize"]
        columns = options["groupBy"]["fields"]
        kept = target["expr"].rpartition("| keep ")[2].split(", ")
        assert set(kept) == columns.keys()
        counted = [
            f"{name} (count)"
            for name, column in columns.items()
            if column["aggregations"] == ["count"]
        ]
        assert [one["field"] for one in options["sortBy"]["sort"]] == counted
        assert options["organize"]["renameByName"].keys() == {*columns, *counted} - {"event_type"}


@pytest.mark.parametrize(
    "text",
    [
        "{org_id=}",
        '{org_id="acme"} |',
        '{org_id="acme"} | json video.id',
        'sum by (view_id) (count_over_time({org_id="acme"}))',
        'sum by (view_id) (count_over_time({org_id="acme"} [$__range]))',
    ],
)
def test_malformed_query_raises_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="malformed"):
        parse_logql(text)


def test_parsed_query_lists_its_labels_and_paths() -> None:
    query = parse_logql(
        'topk(3, sum by (code, video_id) (count_over_time({event_type=~"error|x", env!="test"} '
        '| view_id=`v` | json code="data.code", at="playback_time" | at>500 or at="" |= "text" '
        '| line_format `{{if .player_name}}{{printf "%.1f" (divf .at 1000.5)}}{{end}}` [5m])))'
    )
    assert query.matchers == (("event_type", "=~", "error|x"), ("env", "!=", "test"))
    assert query.filters == {"view_id", "at"}
    assert query.paths == {"code": "data.code", "at": "playback_time"}
    assert query.used == {"code", "video_id", "player_name", "at"}
    assert query.is_metric
    assert not parse_logql('{event_type="error"} | keep view_id').is_metric
    assert parse_logql('{event_type="error"} | keep view_id').used == {"view_id"}


def summary(title: str = "Events in order") -> str:
    """The template of the lines of a panel."""
    (query,) = (query for query in LOG_QUERIES if query.where == f"openqoe-events: {title}")
    (template,) = parse_logql(query.expr).tree.find_all("LineFormatExpr")
    return unquote(template.child("String").text)


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ({"position": "38578.099365234375"}, "stallstart at 38.6 s"),
        ({"position": "0"}, "stallstart at 0.0 s"),
        ({"position": ""}, "stallstart (no position)"),
        ({"position": "1000", "stall": "1840.6"}, "stallstart at 1.0 s, stalled 1.8 s"),
        ({"position": "1000", "played": "61234.5"}, "stallstart at 1.0 s, played 61.2 s"),
        (
            {"event_type": "playing", "position": "1000", "played": "1"},
            "playing at 1.0 s",
        ),
        ({"bitrate": "2740900.25"}, "stallstart (no position), bit rate 2741 kbit/s"),
        ({"bitrate": "2740.9"}, "stallstart (no position), bit rate 2741 kbit/s"),
        (
            {"event_type": "error", "error": "-1", "message": "fragLoadError"},
            "error (no position), error -1: fragLoadError",
        ),
    ],
)
def test_summary_line_has_units_and_names_missing_position(
    labels: dict[str, str], line: str
) -> None:
    assert render(summary(), {"event_type": "stallstart", **labels}) == line


@pytest.mark.parametrize(
    "template", ["{{if .a}}", "{{end}}", "{{range .a}}{{end}}", "{{.a | upper}}", "{{upper .a}}"]
)
def test_template_outside_subset_raises(template: str) -> None:
    with pytest.raises((ValueError, IndexError)):
        render(template, {"a": "b"})


@pytest.mark.parametrize("generation", [1, 2])
def test_documentation_states_event_types_of_a_player(generation: int) -> None:
    """They are a factor in the number of Loki's streams."""
    counts = []
    for player in ("hlsjs", "dashjs", "shaka", "videojs", "html5"):
        capture = captures.load(f"sdk{generation}-{player}")
        events = (event for request in capture.requests for event in request.events)
        counts.append(len({event["event_type"] for event in events}))
    text = (DOCS / "grafana.md").read_text(encoding="utf-8")
    assert f"{min(counts)} to {max(counts)} with the" in text


def test_documentation_multiplies_streams_correctly() -> None:
    text = (DOCS / "grafana.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d,]+)", text, re.MULTILINE)
    assert len(rows) == 4
    for *factors, streams in rows:
        assert math.prod(map(int, factors)) == int(streams.replace(",", ""))
