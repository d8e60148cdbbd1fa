"""Programs and ports that tests need from the machine they run on."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

ROOM: Final = 2 << 30
"""Bytes that must be free in memory for the data of a server to go there."""


def require(binary: str) -> str:
    """The path of a program; without it the test is skipped, or fails if `REQUIRE_SERVICES=1` says
    it must be there.
    """
    path = shutil.which(binary)
    if path is not None:
        return path
    reason = f"needs the program {binary!r}, which is not on the PATH"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} (and REQUIRE_SERVICES=1)", pytrace=False)
    pytest.skip(reason)


_held: Final[list[socket.socket]] = []


def free_port() -> int:
    """A loopback TCP port that nobody listens on, and that nobody else is given while this process
    lives.

    A socket that is bound to it but does not listen keeps the kernel from giving it to another test
    before the server is up, which would then take that server for its own. Servers that set
    `SO_REUSEADDR`, as all do, can bind it all the same.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    _held.append(held)
    port: int = held.getsockname()[1]
    return port


def fast_folder(prefix: str) -> Path:
    """A new folder, in memory where there is room for it: what others write to the disk meanwhile
    has held up a server that keeps its data there for ten seconds and more.
    """
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if has_room else None))


def wait_until(
    condition: Callable[[], object],
    timeout: float = 5.0,
    description: str = "the condition",
    interval: float = 0.02,
) -> None:
    """Return once `condition()` is true; fail the test if it is not within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {timeout} s in vain for {description}")
        time.sleep(interval)
