"""A strict parser of the subset of LogQL in the dashboards and runbooks.

Without a Loki in the tests, queries are parsed completely, so that a test can check that the worker
sends every label in them. Anything outside the subset is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_METRIC: Final = re.compile(r"(?:topk\(\d+, (?P<top>.*)\)|(?P<plain>sum by .*))", re.DOTALL)
_COUNT: Final = re.compile(
    r"sum by \((?P<by>[\w, ]+)\) \(count_over_time\((?P<log>.*) \[(?P<range>[\w$]+)\]\)\)",
    re.DOTALL,
)
_MATCHER: Final = re.compile(r'(\w+)(=~|!~|=|!=)"([^"]*)"')
_STAGES: Final = (
    ("filter", re.compile(r'\| (\w+)(?:=~|=)"[^"]*"')),
    ("json", re.compile(r'\| json ((?:\w+="[\w.]+"(?:, )?)+)')),
    ("format", re.compile(r"\| line_format `([^`]*)`")),
    ("contains", re.compile(r"\|= `[^`]*`")),
)


@dataclass
class LogQuery:
    """The labels and paths in a query.

    Attributes:
        matchers: Label, operator and value of the stream selector.
        filters: Labels in label filters.
        paths: JSON paths that are extracted as labels, by the label's name.
        used: Labels in the grouping or in the line format.
    """

    matchers: list[tuple[str, str, str]] = field(default_factory=list)
    filters: list[str] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)


def parse_logql(text: str) -> LogQuery:
    """Parse a query.

    Raises:
        ValueError: The query is outside the subset.
    """
    query = LogQuery()
    metric = _METRIC.fullmatch(text)
    if metric is not None:
        inner = metric["top"] or metric["plain"]
        count = _COUNT.fullmatch(inner)
        if count is None:
            raise ValueError(f"not a count of lines: {inner}")
        query.used += count["by"].split(", ")
        text = count["log"]
    selector = re.match(r"\{([^}]*)\}", text)
    if selector is None:
        raise ValueError(f"no stream selector: {text}")
    for part in selector[1].split(", "):
        matcher = _MATCHER.fullmatch(part)
        if matcher is None:
            raise ValueError(f"not a matcher: {part}")
        query.matchers.append((matcher[1], matcher[2], matcher[3]))
    rest = text[selector.end() :].strip()
    while rest:
        kind, stage = next(
            ((k, m) for k, pattern in _STAGES if (m := pattern.match(rest)) is not None),
            ("", None),
        )
        if stage is None:
            raise ValueError(f"not a stage: {rest}")
        if kind == "filter":
            query.filters.append(stage[1])
        elif kind == "json":
            query.paths |= dict(re.findall(r'(\w+)="([\w.]+)"', stage[1]))
        elif kind == "format":
            query.used += re.findall(r"\{\{(?:if )?\.(\w+)\}\}", stage[1])
            left = re.sub(r"\{\{(?:(?:if )?\.\w+|end)\}\}", "", stage[1])
            if "{{" in left:
                raise ValueError(f"not a template: {left}")
        rest = rest[stage.end() :].strip()
    return query
