"""Evaluates the log part of LogQL queries over entries of the Loki double.

The subset is that of the dashboards and runbooks; anything else is an error. As in Loki, a label
filter finds stream labels, structured metadata and extracted labels alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tests.deploy.go_template import render
from tests.deploy.logql_syntax import LogQuery, Node, matcher_parts, unquote
from tests.support.loki_double import LogEntry

Labels = dict[str, str]


class LogLine(NamedTuple):
    """A line of a result."""

    labels: Labels
    text: str


def select_lines(query: LogQuery, entries: Iterable[LogEntry]) -> Iterator[LogLine]:
    """The lines that a query returns, or would count.

    Raises:
        ValueError: The query is outside the subset.
    """
    stages = [stage.children[-1] for stage in query.tree.find_all("PipelineStage")]
    for entry in entries:
        if all(_matches(entry.labels, *matcher) for matcher in query.matchers):
            line = LogLine({**entry.labels, **entry.metadata}, entry.line)
            found = _run_stages(stages, line)
            if found is not None:
                yield found


def _run_stages(stages: Iterable[Node], line: LogLine) -> LogLine | None:
    """The line after all stages; None if one drops it."""
    for stage in stages:
        following = _run_stage(stage, line)
        if following is None:
            return None
        line = following
    return line


def _matches(labels: Labels, label: str, operator: str, value: str) -> bool:
    found = labels.get(label, "")
    equal = found == value if operator in ("=", "!=") else bool(re.fullmatch(value, found))
    return equal is not operator.startswith("!")


def _run_stage(stage: Node, line: LogLine) -> LogLine | None:
    """The line after a stage; None if the stage drops it."""
    labels, text = line
    match stage.name:
        case "LineFilters":
            kept = all(_contains(text, item) for item in stage.find_all("LineFilter"))
            return line if kept else None
        case "LabelFilter":
            return line if _passes(labels, stage) else None
        case "JsonExpressionParser":
            return LogLine({**labels, **_extracted(stage, text)}, text)
        case "LineFormatExpr":
            return LogLine(labels, render(unquote(stage.child("String").text), labels))
        case "KeepLabelsExpr":
            names = {node.text for node in stage.find_all("Identifier")}
            return LogLine({n: v for n, v in labels.items() if n in names}, text)
    raise ValueError(f"not a supported stage: {stage.text}")


def _contains(text: str, item: Node) -> bool:
    if item.child("Filter").text != "|=":
        raise ValueError(f"not a supported line filter: {item.text}")
    return unquote(item.child("String").text) in text


def _passes(labels: Labels, label_filter: Node) -> bool:
    match [child.name for child in label_filter.children]:
        case ["Matcher"]:
            return _matches(labels, *matcher_parts(label_filter.children[0]))
        case ["LabelFilter", "Or", "LabelFilter"]:
            return any(_passes(labels, node) for node in label_filter.children[::2])
        case ["NumberFilter"]:
            label, operator, value = (node.text for node in label_filter.children[0].children)
            if operator != ">=":
                raise ValueError(f"not a supported comparison: {label_filter.text}")
            return float(labels[label]) >= float(value)
    raise ValueError(f"not a supported filter: {label_filter.text}")


def _extracted(parser: Node, text: str) -> Labels:
    """The labels of a JSON parser: empty where the member is missing or null."""
    members = json.loads(text, parse_int=str, parse_float=str)
    return {
        node.child("Identifier").text: _text(_member(members, unquote(node.child("String").text)))
        for node in parser.find_all("LabelExtractionExpression")
    }


def _member(value: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
