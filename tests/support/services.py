"""Programs, ports and folders that tests need from the machine."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import pytest

PATIENCE: Final = 60.0
"""Seconds that a test waits for what must come: more than it takes on a very busy machine."""

REQUIRED_MEMORY: Final = 2 << 30
"""Bytes that must be free in /dev/shm for a server to keep its data there."""


def require(binary: str) -> str:
    """The path of a program. Without it the test is skipped, or fails if `REQUIRE_SERVICES=1`."""
    path = shutil.which(binary)
    if path is None:
        _abandon(f"needs the program {binary!r}, which is not on the PATH")
    return path


def require_folder(folder: Path) -> Path:
    """A folder of installed files. Without it the test is skipped, like `require`."""
    if not folder.is_dir():
        _abandon(f"needs {folder.name!r}, which tests/install-services installs with npm")
    return folder


def _abandon(reason: str) -> NoReturn:
    """Skip the test, or fail it if `REQUIRE_SERVICES=1`."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(f"{reason} (and REQUIRE_SERVICES=1)", pytrace=False)
    pytest.skip(reason)


_reserved: Final[list[socket.socket]] = []


def free_port() -> int:
    """A free loopback TCP port, reserved while this process lives.

    A socket is bound to it without listening, so that the kernel cannot assign it to another test
    before the server is up. Servers that set `SO_REUSEADDR`, as all of ours do, can bind it.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _reserved.append(reserved)
    port: int = reserved.getsockname()[1]
    return port


def fast_folder(prefix: str) -> Path:
    """Create a folder, in memory if there is room.

    Writes of other processes have blocked a server with its data on disk for over 10 s.
    """
    memory = Path("/dev/shm")
    fits = memory.is_dir() and shutil.disk_usage(memory).free > REQUIRED_MEMORY
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if fits else None))


def wait_until(
    condition: Callable[[], object],
    timeout: float = PATIENCE,
    description: str = "the condition",
    interval: float = 0.02,
) -> None:
    """Wait until `condition()` is true; fail the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise AssertionError(f"timeout after {timeout} s: {description}")
        time.sleep(interval)
