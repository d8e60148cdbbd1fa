"""What clients can pin, measured over sockets, against the bounds of ``docs/security.md``."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.engine.memory_bounds import MemoryBound, bounds_with_key, bounds_without_key
from tests.support.event_builders import batch, event
from tests.support.services import PATIENCE
from tests.support.worker_process import Command, WorkerProcess, serve, serve_trio

MIB = 1024 * 1024

ALLOCATOR = 1.2
"""Part that an allocator adds: fragments, and arenas that are not returned at once."""

SLACK = 30 * MIB
"""Code that is imported on first use, and the transient memory of a request or a flush."""

SHELLS = [pytest.param(serve, id="asyncio"), pytest.param(serve_trio, id="trio")]


def resident(worker: WorkerProcess) -> int:
    """Return the bytes of the process in memory."""
    assert worker.process is not None
    status = Path(f"/proc/{worker.process.pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def most(bounds: Sequence[MemoryBound]) -> float:
    return ALLOCATOR * sum(bound.total for bound in bounds) + SLACK


@pytest.mark.parametrize("command", SHELLS)
def test_client_without_key_stays_within_the_bounds(command: Command) -> None:
    """1,500 unfinished heads of 30 KB, which were 46 MB, and 1,000 heads of 15 KB in the cache."""
    settings = {"API_KEY": "k", "OPENQOE_MAX_CONNECTIONS": "1600"}
    with WorkerProcess(settings, command=command, is_fresh=True) as worker, ExitStack() as opened:
        before = resident(worker)
        address = (worker.address, worker.port)
        for _ in range(1_500):
            client = opened.enter_context(socket.create_connection(address, timeout=PATIENCE))
            client.sendall(b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 30_000)
        client = opened.enter_context(socket.create_connection(address, timeout=PATIENCE))
        for number in range(1_000):
            client.sendall(
                b"POST /v1/events HTTP/1.1\r\nHost: a\r\nX-B: %d%b\r\nContent-Length: 2\r\n\r\n{}"
                % (number, b"y" * 15_000)
            )
            assert client.recv(4096).startswith(b"HTTP/1.1 401 ")
        time.sleep(1)
        config = Config.from_environment(settings)
        assert resident(worker) - before < most(bounds_without_key(config))


def hostile(number: int, now: int) -> dict[str, Any]:
    """Return an event whose texts are long and its own."""
    own = f"{number}-"
    return event(
        "error",
        at=now,
        view_id=own + "v" * 240,
        session_id=own + "s" * 240,
        viewer_id=own + "w" * 240,
        player_id=own + "p" * 240,
        app_name=own + "a" * 2_000,
        app_version=own + "b" * 2_000,
        player={"name": own + "c" * 2_000},
        video={"id": own + "d" * 2_000, "title": own + "\U0001f600" * 500},
        data={
            "error_family": own + "f" * 500,
            "error_code": own + "g" * 500,
            "error_context": {"error_details": own + "e" * 3_000},
        },
    )


def test_page_key_stays_within_the_bounds() -> None:
    """10,000 events, each with 15 KB of texts of its own, and 500 targets of CMCD with 20 KB.

    Nothing but the embedded store receives them.
    """
    settings = {
        "API_KEY": "k",
        "OPENQOE_MAX_VIEWS": "5000",
        "OPENQOE_MAX_SERIES": "10000",
        "OPENQOE_DEDUP_MAX": "1000",
        "OPENQOE_MAX_WAITING_BYTES": str(8 * MIB),
        "OPENQOE_FLUSH_INTERVAL": "2",
    }
    with WorkerProcess(settings, is_fresh=True) as worker:
        before = resident(worker)
        sent = 0
        for start in range(0, 10_000, 200):
            now = int(time.time() * 1000)
            body = batch(*(hostile(number, now) for number in range(start, start + 200)))
            sent += len(body)
            status, answer = worker.post(body, Authorization="Bearer k")
            assert status in (202, 503), json.dumps(answer)
        headers = {"Authorization": "Bearer k", "Content-Type": "application/cmcd"}
        for number in range(500):
            query = f"org_id=acme&player_id={number}&env=" + "h" * 20_000
            record = f'cid="film",sid="view",ts={now},v=2,e=ps,sta=s,sn={number}\n'
            code, _, _ = worker.request("POST", f"/v1/cmcd?{query}", record.encode(), headers)
            assert code in (204, 503)
        time.sleep(5)
        config = Config.from_environment(settings)
        bounds = (*bounds_without_key(config), *bounds_with_key(config))
        pinned = resident(worker) - before
        assert pinned < most(bounds)
        assert pinned < sent / 2, f"{pinned} of {sent} bytes"
