"""The documentation is true: generated pages are fresh, paths exist, the README's session works."""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.event_builders import batch, event
from tests.support.services import free_port, require
from tests.support.worker_process import WorkerProcess

ROOT = Path(__file__).parent.parent


def generator() -> ModuleType:
    spec = util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["configuration.md", "metrics.md", "command-line.md"])
def test_generated_page_is_up_to_date(page: str) -> None:
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert written == generator().PAGES[page](), "run `make docs`"


HAND_WRITTEN = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "docs/runbooks/*.md")

PAGES = [
    str(path.relative_to(ROOT)) for pattern in HAND_WRITTEN for path in sorted(ROOT.glob(pattern))
]

FOLDERS = (
    *(".ci", "bench", "core", "dashboard", "deploy", "docs", "embedded", "examples", "package"),
    *("shells", "simulator", "tests"),
)
"""Top-level folders: a path in backticks that begins with one is a path of this repository."""

DJANGO = {"urls.py", "wsgi.py"}
"""Files of a Django project, in docs/embedding.md."""


def named_paths(text: str) -> set[str]:
    """Paths and bare names of Python files that a page has in backticks, outside of programs."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    names = re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", prose)
    return {
        name
        for name in names
        if name.endswith(".py") or ("/" in name and name.split("/")[0] in FOLDERS)
    }


@pytest.fixture(scope="module")
def file_names() -> set[str]:
    return {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


@pytest.mark.parametrize("page", PAGES)
def test_links_of_page_lead_to_existing_files(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_anchors_of_page_lead_to_existing_headings(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
        file = (ROOT / page).parent / target if target else ROOT / page
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in anchors, (target, anchor)


@pytest.mark.parametrize("page", PAGES)
def test_paths_named_by_page_exist(page: str, file_names: set[str]) -> None:
    named = named_paths((ROOT / page).read_text(encoding="utf-8"))
    missing = {name for name in named - file_names - DJANGO if not (ROOT / name).exists()}
    assert missing == set()


def test_named_paths_finds_paths_in_backticks_only() -> None:
    text = (
        "`core/worker.py`, `shells/cli/`, `timer.py`; not `/metrics`, `slot-N/lock`, core/no.py\n"
        "```text\n`core/program.py`\n```\n"
    )
    assert named_paths(text) == {"core/worker.py", "shells/cli/", "timer.py"}


def test_the_shell_session_of_the_readme_works(tmp_path: Path) -> None:
    require("prometheus")
    require("curl")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    session = re.search(r"<!-- test: shell session -->\n```bash\n(.*?)```", text, re.DOTALL)
    assert session is not None
    script = session[1]
    # Free ports replace those of the README, which may be in use; the rest is unchanged.
    for port in ("9090", "8787"):
        script = script.replace(port, str(free_port()))
    script = script.replace("openqoe serve", f"openqoe serve --port {_port_of(script)}")
    worker = f"http://127.0.0.1:{_port_of(script)}"
    (tmp_path / ".venv/bin").mkdir(parents=True)
    command = shutil.which("openqoe", path=str(Path(sys.executable).parent))
    launcher = f'#!/bin/sh\nexec {command or sys.executable + " -m openqoe.shells"} "$@"\n'
    (tmp_path / ".venv/bin/openqoe").write_text(launcher)
    (tmp_path / ".venv/bin/openqoe").chmod(0o755)
    # On a busy machine the start may take longer than 3 s. Remaining processes are killed below.
    wait = f"curl -s --retry 20 --retry-connrefused --retry-delay 1 {worker}/health"
    script = "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + script.replace(
        "NOW=", f"{wait}\nNOW=", 1
    )
    # `kill %1` needs job control, as in a terminal.
    run = subprocess.run(
        ["bash", "-m", "-e", "-c", script],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert '"message":"Events accepted","events_received":3' in run.stdout
    values = re.findall(r'"__name__":"(\w+)".*?"value":\[[\d.]+,"([\d.]+)"\]', run.stdout)
    assert values == [("openqoe_views_started_total", "1"), ("openqoe_playing_time_seconds", "10")]


def test_queries_on_embedded_store_page_work(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "embedded.md").read_text(encoding="utf-8")
    videos, error = re.findall(r"<!-- test: sql -->\n```sql\n(.*?)```", page, re.DOTALL)
    now = int(time.time() * 1000)
    film = {"id": "film-7", "title": "The film"}
    steps: list[tuple[str, dict[str, int]]] = [
        ("viewstart", {}),
        ("playing", {}),
        ("error", {"error_code": 5}),
        ("error", {"error_code": 7}),
    ]
    with WorkerProcess({"OPENQOE_FLUSH_INTERVAL": "0"}) as worker:
        for number, (kind, data) in enumerate(steps):
            step = event(kind, at=now + number * 10, view_id="v-1", video=film, data=data)
            assert worker.post(batch(step))[0] == 202
        assert worker.stop() == 0
        with closing(sqlite3.connect(worker.data / "embedded.db")) as database:
            ((_, titles, views),) = database.execute(videos).fetchall()
            errors = database.execute(error).fetchall()
    assert (titles, views) == ("The film", 1)
    assert [(kind, ms, json.loads(data)) for _, kind, ms, data in errors] == [
        (kind, number * 10, data) for number, (kind, data) in enumerate(steps)
    ]


def _port_of(script: str) -> str:
    found = re.search(r"curl -sS http://127.0.0.1:(\d+)/v1/events", script)
    assert found is not None
    return found[1]
