"""The dashboards: generated files are up to date, and metrics, variables and links exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from openqoe.core.metrics import health_metrics
from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.qoe import catalogue
from openqoe.core.qoe.labeller import METRIC_LABELS
from tests.deploy import dashboard_files
from tests.deploy.dashboard_files import NAMES, ROOT

GRAFANA: Final = ROOT / "deploy" / "grafana"

BUILT_IN: Final = {"__range", "__rate_interval", "__auto"}
"""Built-in variables of Grafana."""

OWN: Final = {"ALERTS": {"alertname", "alertstate"}}
"""Metrics of Prometheus itself, with their labels."""


def sample_names(metric: Metric) -> Iterator[str]:
    parts = ("_bucket", "_sum", "_count") if metric.type is MetricType.HISTOGRAM else ("",)
    yield from (metric.name + part for part in parts)


LABELS: Final = {
    name: {*metric.labels, "instance", "le", *labels}
    for metrics, labels in (
        (catalogue.METRICS, METRIC_LABELS),
        (health_metrics.METRICS, ("job",)),
    )
    for metric in metrics
    for name in sample_names(metric)
} | OWN
"""The possible labels of each sample name."""


def generated(folder: Path, *arguments: str) -> dict[str, str]:
    command = [sys.executable, str(GRAFANA / "generate.py"), "--output", str(folder), *arguments]
    subprocess.run(command, check=True)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}


@pytest.fixture(params=NAMES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dashboard_files.load(request.param)


def test_dashboard_files_are_up_to_date(tmp_path: Path) -> None:
    committed = {
        path.stem: path.read_text(encoding="utf-8")
        for path in dashboard_files.FOLDER.glob("*.json")
    }
    assert generated(tmp_path) == committed, "run `make dashboards`"


def test_runbook_base_url_turns_names_into_links(tmp_path: Path) -> None:
    for text in generated(tmp_path, "--runbooks", "https://wiki.test/qoe/").values():
        links = {link["title"]: link for link in json.loads(text)["links"]}
        assert links["Runbooks"]["url"] == "https://wiki.test/qoe/"
        assert "docs/runbooks" not in text
        for page in re.findall(r"https://wiki\.test/qoe/(\w+\.md)", text):
            assert (ROOT / "docs" / "runbooks" / page).exists()


def test_dashboard_uid_equals_file_name_and_is_unique() -> None:
    for name in NAMES:
        assert dashboard_files.load(name)["uid"] == name


def test_dashboard_has_grafana_11_schema_and_links_to_others(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] == 39
    assert dashboard["tags"] == ["openqoe"]
    (link,) = (link for link in dashboard["links"] if link["type"] == "dashboards")
    assert link["tags"] == ["openqoe"]
    assert link["includeVars"]
    assert link["keepTime"]


def test_every_panel_has_description(dashboard: dict[str, Any]) -> None:
    for panel in dashboard_files.panels(dashboard):
        text = panel["description"]
        assert len(text) > 20, panel["title"]
        for target in panel["targets"]:
            for name in re.findall(r"openqoe_\w+", target["expr"]):
                metric = re.sub("_(bucket|sum|count)$", "", name)
                assert f"`{metric}`" in text or f"`{name}`" in text, panel["title"]
        for page in re.findall(r"docs/runbooks/(\w+\.md)", text):
            assert (ROOT / "docs" / "runbooks" / page).exists(), panel["title"]


def test_every_panel_has_unit(dashboard: dict[str, Any]) -> None:
    for panel in dashboard_files.panels(dashboard):
        if panel["type"] in ("stat", "bargauge") or (
            panel["type"] == "timeseries" and panel["datasource"]["type"] == "prometheus"
        ):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_panels_do_not_overlap(dashboard: dict[str, Any]) -> None:
    occupied: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & occupied, panel["title"]
        occupied |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_dashboard_queries_use_existing_metrics_and_labels(dashboard: dict[str, Any]) -> None:
    for query in dashboard_files.queries(dashboard):
        if query.language != "prometheus":
            continue
        for name, inside in re.findall(r"\b(openqoe_\w+|ALERTS)\b(?:\{([^}]*)\})?", query.expr):
            assert name in LABELS, f"{query.where}: there is no {name}"
            labels = set(re.findall(r'(\w+)(?:=~|!~|=|!=)"', inside))
            assert labels <= LABELS[name], f"{query.where}: {name} has no such label"
        for group in re.findall(r"\bby \(([\w, ]+)\)", query.expr):
            metrics = re.findall(r"\bopenqoe_\w+", query.expr)
            assert set(group.split(", ")) <= set.union(*(LABELS[name] for name in metrics)), (
                query.where
            )


def test_query_variables_are_defined(dashboard: dict[str, Any]) -> None:
    variables = dashboard_files.variables(dashboard)
    for query in dashboard_files.queries(dashboard):
        assert dashboard_files.find_variables(query.expr) <= variables.keys() | BUILT_IN, (
            query.where
        )
    for name, variable in variables.items():
        if variable["type"] == "query":
            asked = json.dumps(variable["query"])
            before = list(variables)[: list(variables).index(name)]
            assert dashboard_files.find_variables(asked) <= set(before), name
            assert dashboard_files.find_variables(variable["datasource"]["uid"]) <= set(before), (
                name
            )
            assert variable["includeAll"]
            assert variable["multi"]
    for panel in dashboard_files.panels(dashboard):
        source = panel["datasource"]
        assert source["uid"] == {"prometheus": "${datasource}", "loki": "${logs}"}[source["type"]]
        assert dashboard_files.find_variables(source["uid"]) <= variables.keys()


def test_dashboard_variables_are_used(dashboard: dict[str, Any]) -> None:
    used = {
        name
        for query in dashboard_files.queries(dashboard)
        for name in dashboard_files.find_variables(query.expr)
    }
    for name, variable in dashboard_files.variables(dashboard).items():
        if variable["type"] not in ("datasource", "adhoc"):
            assert name in used, name


def test_table_links_target_dashboards_with_that_variable(
    dashboard: dict[str, Any],
) -> None:
    for url in re.findall(r'"(/d/[^"]+)"', json.dumps(dashboard)):
        match = re.fullmatch(r"/d/([\w-]+)\?\$\{__url_time_range\}&var-(\w+)=.*", url)
        assert match is not None, url
        assert match[2] in dashboard_files.variables(dashboard_files.load(match[1]))


def test_every_metric_appears_on_a_dashboard() -> None:
    shown = " ".join(
        query.expr
        for name in NAMES
        for query in dashboard_files.queries(dashboard_files.load(name))
    )
    families: dict[str, set[str]] = {}  # a gauge and a histogram can share a name
    for metric in (*catalogue.METRICS, *health_metrics.METRICS):
        families.setdefault(metric.name, set()).update(sample_names(metric))
    for name, samples in families.items():
        assert re.search(rf"\b(?:{'|'.join(samples)})\b", shown), f"no panel shows {name}"


def test_provisioning_names_existing_datasources_and_folders() -> None:
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "openqoe.yaml").read_text(encoding="utf-8")
    )["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    text = (GRAFANA / "provisioning" / "datasources" / "openqoe.yaml").read_text(encoding="utf-8")
    with_login = re.sub(r"^( +)# (?=basicAuth)", r"\1", text, flags=re.MULTILINE)
    for variant in (text, with_login):
        sources = yaml.safe_load(variant)["datasources"]
        assert [source["type"] for source in sources] == ["prometheus", "loki"]
        for source in sources:
            assert source["url"].startswith("$OPENQOE_")  # no address and no secret in the file
            secrets = source["secureJsonData"].values()
            assert all(value.startswith("$OPENQOE_") for value in secrets)
            # A variable in a boolean field that is empty would keep Grafana from starting.
            assert isinstance(source.get("basicAuth", False), bool)
            assert ("basicAuthPassword" in source["secureJsonData"]) is (variant == with_login)
