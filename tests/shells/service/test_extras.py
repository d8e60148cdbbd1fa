"""Extras: each shell needs only its own packages, and a missing package names its extra."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

SERVERS = ("aiohttp", "trio", "gunicorn", "uvloop")
"""Packages that one shell needs and the others must not."""

BLOCKED = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from openqoe.shells.cli.entry_point import main
sys.argv = ["openqoe", *{arguments!r}]
main()
"""


def run_without(names: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the ``openqoe`` command in a process in which some packages cannot be imported."""
    code = BLOCKED.format(names=names, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )


def project() -> dict[str, Any]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(content["project"])


@pytest.mark.parametrize(
    ("missing", "arguments", "command"),
    [
        ("aiohttp", ["serve"], "pip install 'openqoe-worker[asyncio]'"),
        ("trio", ["serve", "--shell", "trio"], "pip install 'openqoe-worker[trio]'"),
        ("httpx", ["serve", "--shell", "trio"], "pip install 'openqoe-worker[trio]'"),
        ("httpx", ["check"], "pip install 'openqoe-worker[shell]'"),
        ("click", ["version"], "pip install 'openqoe-worker[shell]'"),
        ("structlog", ["version"], "pip install 'openqoe-worker[shell]'"),
    ],
)
def test_command_with_missing_package_prints_how_to_install_it(
    missing: str, arguments: list[str], command: str
) -> None:
    run = run_without([missing], arguments)
    assert run.returncode == 2
    assert f"{missing} is missing" in run.stderr
    assert command in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["stats", "--url", "http://127.0.0.1:1"],
        ["simulate", "--url", "http://127.0.0.1:1", "--patience", "0"],
        ["replay", os.devnull],
        ["check"],
        ["drain"],
        ["outbox"],
    ],
    ids=lambda arguments: str(arguments[0]),
)
def test_client_command_runs_without_any_server_package(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENQOE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("OPENQOE_DURABILITY", "normal")
    run = run_without(list(SERVERS), arguments)
    assert "Traceback" not in run.stderr
    assert "is missing" not in run.stdout + run.stderr
    assert run.returncode == (1 if arguments[0] in ("stats", "simulate") else 0), run.stderr


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("core", [*SERVERS, "httpx", "click", "structlog", "dotenv", "httptools", "google"]),
        ("shells.asyncio_shell", ["trio", "httpx", "gunicorn", "uvloop", "httptools", "google"]),
        ("shells.trio_shell", ["aiohttp", "gunicorn", "uvloop", "httptools", "google"]),
        ("shells.wsgi_shell", [*SERVERS, "httptools", "google"]),
        ("shells.cli.command_group", [*SERVERS, "httpx", "google"]),
    ],
)
def test_module_imports_without_packages_of_others(module: str, others: list[str]) -> None:
    code = f"import sys\nfor name in {others!r}:\n    sys.modules[name] = None\n"
    run = subprocess.run(
        [sys.executable, "-c", f"{code}import openqoe.{module}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_base_install_requires_exactly_the_imports_of_the_core() -> None:
    imported: set[str] = set()
    optional = {"httptools"}
    distributions = {"snappy": "python-snappy"}
    for path in (ROOT / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names.append(node.module)
            imported.update(name.partition(".")[0] for name in names)
    external = imported - set(sys.stdlib_module_names) - {"openqoe"} - optional
    required = {re.split("[><=;]", line)[0] for line in project()["dependencies"]}
    assert {distributions.get(name, name) for name in external} == required


@pytest.mark.parametrize(
    ("extra", "foreign"),
    [
        ("asyncio", {"trio", "gunicorn"}),
        ("trio", {"aiohttp", "uvloop", "gunicorn"}),
        ("wsgi", {"aiohttp", "trio", "uvloop"}),
    ],
)
def test_extra_requires_no_package_of_another(extra: str, foreign: set[str]) -> None:
    extras = project()["optional-dependencies"]
    required = [*extras[extra], *extras["shell"]]
    assert "openqoe-worker[shell]" in required
    assert not [line for line in required for name in foreign if line.startswith(name)]


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("wsgi_shell", "httpx", "wsgi"),
        ("wsgi_shell", "structlog", "wsgi"),
        ("asyncio_shell", "aiohttp", "asyncio"),
        ("trio_shell", "trio", "trio"),
    ],
)
def test_import_of_shell_with_missing_package_names_its_extra(
    module: str, missing: str, extra: str
) -> None:
    code = f"import sys\nsys.modules[{missing!r}] = None\nimport openqoe.shells.{module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = run.stderr.splitlines()[-1]
    assert last.endswith(f"{missing} is missing: pip install 'openqoe-worker[{extra}]'")


@pytest.mark.parametrize("shell", ["asyncio", "trio"])
def test_run_of_shell_module_with_missing_package_prints_one_line(
    shell: str, tmp_path: Path
) -> None:
    missing = {"asyncio": "aiohttp", "trio": "trio"}[shell]
    blocked = f"raise ModuleNotFoundError('gone', name={missing!r})\n"
    (tmp_path / f"{missing}.py").write_text(blocked)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        [sys.executable, "-m", f"openqoe.shells.{shell}_shell"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    expected = f"openqoe: {missing} is missing: pip install 'openqoe-worker[{shell}]'"
    assert run.stderr.splitlines() == [expected]
    assert run.returncode != 0


def test_serve_with_missing_parser_prints_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENQOE_HTTP_PARSER", "httptools")
    run = run_without(["httptools"], ["serve"])
    assert run.returncode == 2
    expected = "openqoe: httptools is missing: pip install 'openqoe-worker[fast]'"
    assert run.stderr.splitlines() == [expected]


def test_import_error_inside_the_package_is_not_reported_as_missing_extra() -> None:
    run = run_without(["openqoe.shells.net.listeners"], ["serve"])
    assert "pip install" not in run.stderr
    assert "openqoe.shells.net.listeners" in run.stderr
