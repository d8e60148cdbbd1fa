"""Reads the Grafana dashboards: panels, queries with variables substituted, variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent.parent
FOLDER: Final = ROOT / "deploy" / "grafana" / "dashboards"
NAMES: Final = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))

Dashboard = dict[str, Any]

_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")


@dataclass(frozen=True)
class Query:
    """One query of a panel, a variable or an annotation.

    Attributes:
        where: Names the panel.
        language: "prometheus" or "loki".
        expr: The query with its variables.
        instant: Whether it is an instant query.
    """

    where: str
    language: str
    expr: str
    instant: bool = False


def load(name: str) -> Dashboard:
    """Load a dashboard."""
    found: Dashboard = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Its panels, without rows."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            assert panel["panels"] == [], "rows are open: their panels stand beside them"
        else:
            yield panel


def queries(dashboard: Dashboard) -> Iterator[Query]:
    """The queries of its panels and annotations."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            language = target["datasource"]["type"]
            instant = target.get("instant", False) or target.get("queryType") == "instant"
            yield Query(panel["title"], language, target["expr"], instant)
    for annotation in dashboard["annotations"]["list"]:
        yield Query(annotation["name"], annotation["datasource"]["type"], annotation["expr"])


def variables(dashboard: Dashboard) -> dict[str, dict[str, Any]]:
    """Its variables by name."""
    return {variable["name"]: variable for variable in dashboard["templating"]["list"]}


def default_values(dashboard: Dashboard) -> dict[str, str]:
    """The values of the variables when a dashboard is opened: All, where available."""
    found = {}
    for name, variable in variables(dashboard).items():
        if variable["type"] in ("datasource", "adhoc"):
            continue
        value = variable["current"]["value"]
        found[name] = variable["allValue"] if value == "$__all" else value
    return found


def substitute(expr: str, values: Mapping[str, str]) -> str:
    """Substitute the variables of a query, as Grafana does.

    Raises:
        KeyError: A variable has no value.
    """
    return _VARIABLE.sub(lambda match: values[match[1] or match[2]], expr)


def find_variables(expr: str) -> set[str]:
    """The names of the variables in a query."""
    return {first or second for first, second in _VARIABLE.findall(expr)}
