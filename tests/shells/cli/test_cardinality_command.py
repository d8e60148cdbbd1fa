"""``openqoe cardinality``: lists values, and changes the setting in an env file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from openqoe.core.config.worker_config import Config
from openqoe.shells.cli.cardinality_command import SETTING, cardinality
from openqoe.shells.service.environment import environment
from tests.support.http_double import HttpDouble, ReceivedRequest, Reply


class Worker(HttpDouble):
    """A worker with two values, one of them with an escape sequence."""

    def respond(self, request: ReceivedRequest) -> Reply:
        answer = {"dimension": "env", "cardinality": 2, "values": ["prod", "qa\x1b[31m"]}
        return Reply(200, json.dumps(answer).encode())


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(SETTING, raising=False)
    path = tmp_path / "openqoe.env"
    path.write_text("# ours\nAPI_KEY=k\n", encoding="utf-8")
    path.chmod(0o640)
    return path


def run(*arguments: str | Path, status: int = 0) -> Result:
    result = CliRunner().invoke(cardinality, list(map(str, arguments)))
    assert result.exit_code == status, result.output
    return result


def lists(env_file: Path) -> tuple[set[str], set[str]]:
    limit = Config.from_environment(environment(env_file)).cardinality_limits["app_version"]
    return set(limit.allow), set(limit.deny)


def test_values_are_allowed_denied_and_forgotten_in_the_env_file(env_file: Path) -> None:
    run("allow", "app_version", "1.0", "it's # new", "--env-file", env_file)
    assert lists(env_file) == ({"1.0", "it's # new"}, set())
    run("deny", "app_version", "1.0", "spam", "--env-file", env_file)
    assert lists(env_file) == ({"it's # new"}, {"1.0", "spam"})
    run("forget", "app_version", "1.0", "spam", "it's # new", "--env-file", env_file)
    assert lists(env_file) == (set(), set())
    assert env_file.read_text(encoding="utf-8").startswith("# ours\nAPI_KEY=k\n")
    assert env_file.stat().st_mode & 0o777 == 0o640


def test_dry_run_prints_the_setting_and_changes_nothing(env_file: Path) -> None:
    before = env_file.read_bytes()
    output = run("deny", "app_version", "spam", "--env-file", env_file, "--dry-run").output
    assert output == 'CARDINALITY_LIMITS={"limits":{"app_version":{"deny":["spam"]}}}\n'
    assert env_file.read_bytes() == before


def test_other_members_of_the_setting_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def setting(*denied: str) -> dict[str, object]:
        version = {"max_cardinality": 7, "deny": denied}
        return {"limits": {"app_version": version, "env": {"action": "drop"}}}

    monkeypatch.setenv(SETTING, json.dumps(setting("a")))
    output = run("deny", "app_version", "b").output
    assert output == f"{SETTING}={json.dumps(setting('a', 'b'), separators=(',', ':'))}\n"


@pytest.mark.parametrize("arguments", [("deny",), ("allow", "env"), ("deny", "no_such", "x")])
def test_incomplete_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    run(*arguments, status=2)


def test_values_of_a_dimension_are_listed_one_a_line() -> None:
    with Worker() as worker:
        output = run("list", "env", "--url", worker.url).output
    assert output.splitlines()[0] == "prod"
    assert "\x1b" not in output
