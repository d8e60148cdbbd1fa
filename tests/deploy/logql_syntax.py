"""Parses LogQL with Grafana's own grammar (`@grafana/lezer-logql`), in Node.

The grammar is not strict: it inserts error nodes where a query is malformed. Any of them is an
error here.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.deploy.dashboard_files import ROOT
from tests.support.services import require, require_folder

GRAMMAR: Final = ROOT / "build" / "lezer-logql"
"""Where `tests/install-services` installs the grammar."""

_SCRIPT: Final = Path(__file__).with_name("parse_logql.mjs")


@dataclass(frozen=True)
class Node:
    """A node of a syntax tree.

    Attributes:
        name: Its kind in the grammar, or "error".
        text: Its part of the query.
        children: The nodes below it.
    """

    name: str
    text: str
    children: tuple[Node, ...]

    def find_all(self, name: str) -> Iterator[Node]:
        """All nodes of a kind below this one, from left to right."""
        for child in self.children:
            if child.name == name:
                yield child
            yield from child.find_all(name)

    def child(self, name: str) -> Node:
        """The first child of a kind."""
        return next(child for child in self.children if child.name == name)


@dataclass(frozen=True)
class LogQuery:
    """A query: its tree, and the labels and paths in it.

    Attributes:
        tree: The syntax tree.
        matchers: Label, operator and value of the stream selector.
        filters: Labels in label filters.
        paths: JSON paths that are extracted as labels, by the label's name.
        used: Labels in groupings, templates, `keep` and `unwrap`.
        is_metric: Whether it counts lines instead of returning them.
    """

    tree: Node
    matchers: tuple[tuple[str, str, str], ...]
    filters: frozenset[str]
    paths: dict[str, str]
    used: frozenset[str]
    is_metric: bool


@cache
def parse_logql(text: str) -> LogQuery:
    """Parse a query, whose variables are substituted.

    Raises:
        ValueError: The query is malformed.
    """
    run = subprocess.run(
        [require("node"), str(_SCRIPT), str(require_folder(GRAMMAR))],
        input=json.dumps([text]),
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(run.stdout)
    tree = _node(found)
    faults = [node.text for node in tree.find_all("error")]
    if faults:
        raise ValueError(f"malformed at {faults}: {text}")
    (selector,) = tree.find_all("Selector")
    used = {
        name.text
        for kind in ("Grouping", "KeepLabel", "UnwrapExpr")
        for node in tree.find_all(kind)
        for name in node.find_all("Identifier")
    }
    for template in tree.find_all("LineFormatExpr"):
        used |= template_labels(unquote(template.child("String").text))
    return LogQuery(
        tree,
        tuple(matcher_parts(node) for node in selector.find_all("Matcher")),
        frozenset(
            name.text
            for node in tree.find_all("LabelFilter")
            for name in node.find_all("Identifier")
        ),
        {
            node.child("Identifier").text: unquote(node.child("String").text)
            for node in tree.find_all("LabelExtractionExpression")
        },
        frozenset(used),
        any(True for _ in tree.find_all("MetricExpr")),
    )


def matcher_parts(matcher: Node) -> tuple[str, str, str]:
    """Label, operator and value of a matcher."""
    label, operator, value = (child.text for child in matcher.children)
    return label, operator, unquote(value)


def unquote(text: str) -> str:
    """The content of a string, without escapes."""
    if text[0] == '"' and "\\" in text:
        raise ValueError(f"escapes are not supported: {text}")
    return text[1:-1]


def template_labels(template: str) -> set[str]:
    """The labels in a template of `line_format`."""
    return {
        name
        for action in re.findall(r"\{\{(.*?)\}\}", template)
        for name in re.findall(r"(?<!\w)\.([A-Za-z_]\w*)", action)
    }


def _node(found: Any) -> Node:
    name, text, children = found
    return Node(name, text, tuple(_node(child) for child in children))
