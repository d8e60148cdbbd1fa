"""Assembles a dashboard: rows of panels, variables, links to the others."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from boards.panels import PROMETHEUS, Panel
from boards.variables import Variable

TAG = "openqoe"
SCHEMA_VERSION = 39
"""The schema version of Grafana 11.0. Later releases upgrade a dashboard when they load it."""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a common heading."""

    title: str
    panels: Sequence[Panel]


def board(
    name: str,
    title: str,
    description: str,
    variables: Iterable[Variable],
    rows: Iterable[Row],
    *,
    time: str = "now-3h",
    refresh: str = "1m",
    runbooks: str | None = None,
) -> str:
    """Build a dashboard as JSON.

    Args:
        name: The suffix of its file name and address (``openqoe-{name}``).
        runbooks: The base URL of the runbooks, for links.
    """
    made = (
        dashboard.Dashboard(f"OpenQoE: {title}")
        .uid(f"openqoe-{name}")
        .description(description)
        .tags([TAG])
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time(time, "now")
        .refresh(refresh)
        .timezone("browser")
        .link(
            dashboard.DashboardLink("OpenQoE")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    if runbooks is not None:
        made = made.link(
            dashboard.DashboardLink("Runbooks")
            .type(models.DashboardLinkType.LINK)
            .url(runbooks)
            .target_blank(True)
        )
    for variable in variables:
        made = made.with_variable(variable)
    for row in rows:
        made = made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made = made.with_panel(panel)
    document: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    document["schemaVersion"] = SCHEMA_VERSION
    document["annotations"] = {"list": [_alerts()]}
    for number, panel in enumerate(document["panels"], start=1):
        panel["id"] = number
        if panel["type"] != "row":
            panel.setdefault("fieldConfig", {"defaults": {}, "overrides": []})
        if runbooks is not None and "description" in panel:
            base = runbooks.rstrip("/")
            panel["description"] = panel["description"].replace("docs/runbooks", base)
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _alerts() -> dict[str, Any]:
    """The annotation of firing alerts. As a dict, since the SDK's annotation has no title."""
    return {
        "name": "Alerts",
        "datasource": {"type": PROMETHEUS.type_val, "uid": PROMETHEUS.uid},
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"OpenQoE.+",alertstate="firing"}',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{severity}} {{org_id}} {{env}} {{dimension}} {{slice}} {{destination}}",
    }
