"""Missing extras are named, and no shell needs the packages of another."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

BLOCKED = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from openqoe.shells.cli.entry_point import main
sys.argv = ["openqoe", *{arguments!r}]
main()
"""


def run_without(names: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    code = BLOCKED.format(names=names, arguments=arguments)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize(
    ("missing", "arguments", "command"),
    [
        ("aiohttp", ["serve"], "pip install 'openqoe-worker[asyncio]'"),
        ("trio", ["serve", "--shell", "trio"], "pip install 'openqoe-worker[trio]'"),
        ("httpx", ["serve", "--shell", "trio"], "pip install 'openqoe-worker[trio]'"),
        ("click", ["version"], "pip install 'openqoe-worker[asyncio]'"),
        ("structlog", ["version"], "pip install 'openqoe-worker[asyncio]'"),
    ],
)
def test_missing_package_is_named_with_install_command(
    missing: str, arguments: list[str], command: str
) -> None:
    run = run_without([missing], arguments)
    assert run.returncode != 0
    assert f"{missing} is missing" in run.stderr
    assert command in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("openqoe.core", ["aiohttp", "trio", "httpx", "click", "structlog", "dotenv", "httptools"]),
        ("openqoe.shells.asyncio_shell", ["trio", "httpx", "gunicorn", "uvloop", "httptools"]),
        ("openqoe.shells.trio_shell", ["aiohttp", "gunicorn", "uvloop", "httptools"]),
        ("openqoe.shells.wsgi_shell", ["aiohttp", "trio", "gunicorn", "uvloop", "httptools"]),
        ("openqoe.shells.cli", ["aiohttp", "trio", "httpx", "gunicorn"]),
    ],
)
def test_shell_imports_without_packages_of_other_shells(module: str, others: list[str]) -> None:
    code = f"import sys\nfor name in {others!r}:\n    sys.modules[name] = None\nimport {module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("extra", "foreign"),
    [
        ("asyncio", {"trio", "httpx", "gunicorn"}),
        ("trio", {"aiohttp", "uvloop", "gunicorn"}),
        ("wsgi", {"aiohttp", "trio", "uvloop"}),
    ],
)
def test_extra_does_not_require_packages_of_other_shells(extra: str, foreign: set[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*extras[extra], *extras["shell"]]
    assert "openqoe-worker[shell]" in wanted
    assert not [line for line in wanted for name in foreign if line.startswith(name)]


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("wsgi_shell", "httpx", "wsgi"),
        ("wsgi_shell", "structlog", "wsgi"),
        ("asyncio_shell", "aiohttp", "asyncio"),
        ("trio_shell", "trio", "trio"),
    ],
)
def test_import_of_shell_names_install_command(module: str, missing: str, extra: str) -> None:
    code = f"import sys\nsys.modules[{missing!r}] = None\nimport openqoe.shells.{module}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = run.stderr.splitlines()[-1]
    assert last.endswith(f"{missing} is missing: pip install 'openqoe-worker[{extra}]'")


@pytest.mark.parametrize("shell", ["asyncio", "trio"])
def test_shell_run_as_module_names_install_command(shell: str, tmp_path: Path) -> None:
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
    wanted = f"openqoe: {missing} is missing: pip install 'openqoe-worker[{shell}]'"
    assert run.stderr.splitlines() == [wanted]
    assert run.returncode != 0


def test_missing_selected_parser_names_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENQOE_HTTP_PARSER", "httptools")
    run = run_without(["httptools"], ["serve"])
    assert run.returncode == 2
    wanted = "openqoe: httptools is missing: pip install 'openqoe-worker[fast]'"
    assert run.stderr.splitlines() == [wanted]


def test_other_import_fault_is_not_a_missing_extra() -> None:
    run = run_without(["openqoe.shells.net.listeners"], ["serve"])
    assert "pip install" not in run.stderr
    assert "openqoe.shells.net.listeners" in run.stderr
