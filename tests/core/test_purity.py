"""Purity of the core: no I/O, clock or randomness; equal calls give equal bytes in any process."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import openqoe.core

CORE = Path(openqoe.core.__file__).parent
MODULES = sorted(CORE.rglob("*.py"))

IMPURE = """
    asyncio concurrent contextvars multiprocessing queue sched select selectors signal subprocess
    threading trio uvloop _thread
    aiohttp ftplib getpass http.client http.server httpx imaplib mmap poplib redis smtplib socket
    socketserver ssl urllib.request urllib3 _socket
    glob inspect io os pathlib pickle platform shelve shutil sqlite3 sys sysconfig tempfile
    locale random secrets time uuid zoneinfo
    click dotenv logging structlog
    faulthandler gc weakref
    openqoe.shells shells
"""
FORBIDDEN = frozenset(IMPURE.split())
"""Concurrency, sockets, files, clocks, randomness, logging, the interpreter itself; the shells."""

FORBIDDEN_NAMES = frozenset(
    {"open", "input", "print", "eval", "exec", "__import__", "breakpoint", "id", "hash"}
)
"""Built-in functions with side effects; and `id` and `hash`, whose values differ by process."""

CLOCKS = frozenset({"now", "utcnow", "today", "fromtimestamp"})
"""Methods of datetime and date that read the clock or the time zone."""


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the names of all imported modules and members."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def points_outside_the_core(node: ast.ImportFrom, depth: int) -> bool:
    """Whether a relative import of a module, ``depth`` folders below the core, points outside."""
    return node.level > depth + 1


def offences(source: str, depth: int = 0) -> list[str]:
    """Return the forbidden imports and calls of a module."""
    tree = ast.parse(source)
    found = []
    for name in imported(tree):
        parts = name.split(".")
        prefixes = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        if prefixes & FORBIDDEN:
            found.append(f"import {name}")
        if parts[0] == "openqoe":
            found.append(f"absolute import of {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and points_outside_the_core(node, depth):
            found.append(f"import from outside the core: {node.module}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in FORBIDDEN_NAMES:
                found.append(f"{node.func.id}()")
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS:
            if isinstance(node.value, ast.Name | ast.Attribute):
                holder = getattr(node.value, "id", getattr(node.value, "attr", ""))
                if holder in ("datetime", "date"):
                    found.append(f"{holder}.{node.attr}")
    return found


def test_core_has_modules() -> None:
    assert CORE / "worker.py" in MODULES
    assert len(MODULES) > 50


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_module_is_pure(module: Path) -> None:
    depth = len(module.relative_to(CORE).parts) - 1
    assert offences(module.read_text(encoding="utf-8"), depth) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "import json, socket",
        "from asyncio import sleep",
        "from http import server",
        "from urllib.request import urlopen",
        "from openqoe import shells",
        "from openqoe.shells.service.clock import now_ms",
        "from openqoe.core import worker",
        "from ..shells import clock",
        "def later():\n    import random",
        "if TYPE_CHECKING:\n    from logging import Logger",
        "stamp = datetime.now()",
        "stamp = datetime.datetime.now(UTC)",
        "day = date.today()",
        "open('x')",
        "key = hash(value)",
        "key = id(value)",
    ],
)
def test_impure_source_is_found(source: str) -> None:
    assert len(offences(source)) >= 1


def test_pure_source_is_accepted() -> None:
    source = (
        "from http import HTTPStatus\nfrom datetime import datetime\nx = self.now(1)\n"
        "from . import kv\nfrom .http import head\n"
    )
    assert offences(source) == []


# Determinism

SEQUENCE = """
import json, sys
from hashlib import sha256

from openqoe.core import (
    Config, HttpResult, KvFailure, KvResult, KvUpdate, NetworkFailure, Notice, Request, Respond,
    Worker,
)
from tests.support.memory_store import MemoryStore
from tests.support.event_builders import NOW, batch, event
from tests.support.handling import handle

config = Config.from_environment({
    "PROMETHEUS_URL": "http://p/write", "LOKI_URL": "http://l/push",
    "CARDINALITY_LIMITS": '{"env":{"max_cardinality":3}}', "OPENQOE_MAX_SERIES": "400",
    "OPENQOE_LOKI_ENCODING": sys.argv[1], "OPENQOE_EXTRA_LABELS": "view_id,network_region",
})
worker, store = Worker(config, instance="i", seed=5, shared=True), MemoryStore(lambda: now)
answers = [HttpResult(204), NetworkFailure("refused"), HttpResult(503, {"retry-after": "7"}),
           HttpResult(413), HttpResult(400, {}, b"out of order")]
lines, step, kv_calls, now = [], 0, 0, NOW

def run(effects, now):
    global step, kv_calls
    todo = list(effects)
    while todo:
        effect = todo.pop(0)
        lines.append(repr(effect))
        if isinstance(effect, Notice | Respond):
            continue
        if isinstance(effect, KvUpdate):
            kv_calls += 1
            result = KvResult(store.run(effect.operations)) if kv_calls % 9 else KvFailure("away")
        else:
            lines.append(sha256(effect.body).hexdigest() + repr(effect.headers))
            result, step = answers[step % len(answers)], step + 1
        todo += worker.complete(effect.id, result, now)

kinds = ["viewstart", "playing", "stall_start", "stall_end", "heartbeat", "qualitychange", "seek",
         "error", "quartile", "pause", "ended", "stallstart", "custom"]
for turn in range(60):
    now += 1_700
    events = [
        event(kinds[(turn + n) % len(kinds)], at=now - n * 40, view_id=f"v{(turn * n) % 9}",
              env=f"env{(turn + n) % 6}", video={"id": n, "title": f"film {turn}"},
              network={"region": f"r{turn % 5}"},
              data={"playing_time": 100 * turn, "bitrate": 10**6 + n, "quartile": 25,
                    "resolution": {"width": 16, "height": 90 * n}, "error_code": str(turn),
                    "stall_duration": 12.5 * n, "completion_rate": 0.5})
        for n in range(6)
    ]
    for request in (
        Request("POST", "/events", headers={"origin": "http://o"}, body=batch(*events, 1)),
        Request("GET", ("/metrics", "/stats", "/health", "/x")[turn % 4]),
        Request("GET", "/stats", query="dimension=env"),
    ):
        handled = handle(worker, request, now)
        lines.append(repr(handled.answers.values()))
        run(handled.effects, now)
    run(worker.poll(now), now)
    lines.append(repr(worker.next_poll()))
run(worker.close(now), now)
for later in range(1, 40):
    run(worker.poll(now + later * 60_000), now + later * 60_000)
lines.append(repr(worker.undelivered))
print("\\n".join(lines))
"""


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_equal_calls_give_equal_bytes_in_any_process(encoding: str) -> None:
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SEQUENCE, encoding],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "4711")
    ]
    assert outputs[0] == outputs[1]
    for word in (b"RemoteWrite(", b"LokiPush(", b"KvUpdate(", b"Notice(", b"status=207"):
        assert word in outputs[0]
