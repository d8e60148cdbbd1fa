"""All LogQL of dashboards and documentation, by Grafana's own grammar."""

from __future__ import annotations

import re
from typing import Final

import pytest

from tests.deploy.dashboard_files import Query
from tests.deploy.log_queries import LOG_QUERIES
from tests.deploy.logql_syntax import parse_logql

STREAM_LABELS: Final = {"org_id", "player_id", "event_type", "env", "instance"}
"""The stream labels by default (`OPENQOE_LOG_LABELS`)."""


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
    assert {label for label, _, _ in parse_logql(query.expr).matchers} <= STREAM_LABELS


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
