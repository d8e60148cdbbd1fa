"""The rules: promtool accepts and tests them, and each alert has a runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from openqoe.core.api import routes
from openqoe.shells.cli.command_group import COMMANDS
from tests.deploy import rule_files
from tests.deploy.rule_files import FOLDER, ROOT
from tests.deploy.test_dashboards import LABELS
from tests.support.services import require

RUNBOOKS: Final = ROOT / "docs" / "runbooks"
PAGES: Final = tuple(sorted(path for path in RUNBOOKS.glob("*.md") if path.name != "README.md"))

RECORDED: Final = {rule["record"] for rule in rule_files.recordings()}


def promtool(*arguments: str) -> str:
    run = subprocess.run(
        [require("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_promtool_accepts_rules() -> None:
    promtool("check", "rules", *(str(path) for path in rule_files.FILES))


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-scrape.yml"])
def test_promtool_accepts_configuration(name: str) -> None:
    assert f"{len(rule_files.FILES)} rule files found" in promtool("check", "config", name)


@pytest.mark.parametrize("name", ["qoe.yml", "worker.yml"])
def test_promtool_unit_tests_pass(name: str) -> None:
    promtool("test", "rules", f"tests/{name}")


def test_every_alert_is_tested_firing_and_silent() -> None:
    fired: set[str] = set()
    silent: set[str] = set()
    for path in (FOLDER / "tests").glob("*.yml"):
        for test in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in test.get("alert_rule_test", []):
                (fired if case.get("exp_alerts") else silent).add(case["alertname"])
    names = {rule["alert"] for rule in rule_files.alerts()}
    assert fired == names
    # The tests of healthy workers check that all alerts are silent; some have their own cases.
    assert silent <= names


def test_rules_use_existing_metrics() -> None:
    for rule in rule_files.rules():
        for selector in rule_files.selectors(rule["expr"]):
            name = rule_files.metric_of(selector)
            assert name in LABELS or name in RECORDED or name == "up", rule
            matchers = set(re.findall(r'(\w+)(?:=~|!~|=|!=)"', selector))
            if name in LABELS:
                assert matchers <= LABELS[name], rule


def test_alerts_have_summary_description_and_runbook() -> None:
    for rule in rule_files.alerts():
        name = rule["alert"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), name
        assert rule["labels"]["service"] == "openqoe", name
        notes = rule["annotations"]
        assert notes.keys() == {"summary", "description", "runbook_url"}, name
        assert notes["runbook_url"].endswith(f"/{name}.md"), name


def test_alerts_and_runbooks_match_one_to_one() -> None:
    assert {path.stem for path in PAGES} == {rule["alert"] for rule in rule_files.alerts()}
    index = (RUNBOOKS / "README.md").read_text(encoding="utf-8")
    for path in PAGES:
        assert f"[{path.stem}]({path.name})" in index


# The pages


@pytest.fixture(params=PAGES, ids=lambda path: path.stem)
def page(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def test_runbook_has_standard_headings(page: str) -> None:
    assert re.findall(r"^(#+ .*)", page, re.MULTILINE)[1:] == [
        "## Meaning",
        "## Impact",
        "## Diagnosis",
        "## Remedy",
    ]
    assert len(page.splitlines()) < 70


def test_runbook_names_severities_of_its_alert(page: str) -> None:
    name, severities = page.splitlines()[0].removeprefix("# "), page.splitlines()[2].lower()
    for rule in rule_files.alerts():
        if rule["alert"] == name:
            assert rule["labels"]["severity"] in severities.replace("information", "info")


def test_runbook_links_resolve(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (RUNBOOKS / target).exists(), target


def test_runbook_queries_use_existing_metrics(page: str) -> None:
    for query in blocks(page, "promql"):
        for selector in rule_files.selectors(query):
            name = rule_files.metric_of(selector)
            assert name in LABELS or name in RECORDED, query


def test_runbook_settings_and_commands_exist(page: str) -> None:
    configuration = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for setting in re.findall(r"`(OPENQOE_[A-Z_]+|API_KEY|CARDINALITY_LIMITS)\b", page):
        assert f"`{setting}`" in configuration, setting
    for command in re.findall(r"^openqoe (\w+)|`openqoe (\w+)", page, re.MULTILINE):
        assert "".join(command) in COMMANDS, command


def test_runbook_addresses_are_worker_endpoints(page: str) -> None:
    for path in re.findall(
        r"https?://(?:127\.0\.0\.1:8787|collector\.example\.com)(/[\w/]*)", page
    ):
        assert routes.find_endpoint(path) is not None, path


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)\n```", page, re.DOTALL)


def test_recording_rules_are_used_by_alerts_or_report_traffic_or_medians() -> None:
    read_by_alerts: set[str] = set()
    for rule in rule_files.alerts():
        read_by_alerts |= set(map(rule_files.metric_of, rule_files.selectors(rule["expr"])))
    for name in RECORDED - read_by_alerts:
        is_traffic = re.match("org_env:openqoe_(views_started|concurrent_views):", name)
        assert is_traffic or ":p50_" in name, name
