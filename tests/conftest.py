"""Fixtures and order of all tests."""

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

# Imported before a test starts a worker in this process: the worker freezes the garbage collector's
# objects, and hypothesis, which searches them for Trio's random generator, would find none.
import hypothesis
import pytest

from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble

# Worker processes are durable: tests/support/worker_process.py gives each its own data directory.
os.environ.setdefault("OPENQOE_DURABILITY", "memory")


# Times say nothing about a strategy while other tests run beside it.
hypothesis.settings.register_profile(
    "parallel", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("parallel")


# A test run in the background (nohup, `&`) inherits ignored signals, and so would the worker
# processes, which tests stop with these.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Exempt what collection creates from garbage collection: modules and thousands of tests stay
    until the end, and each worker that a test starts in this process would examine them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def receiver() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble() as double:
        yield double


@pytest.fixture
def loki() -> Iterator[LokiDouble]:
    with LokiDouble() as double:
        yield double


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in a folder of its own, since the data directory is below it by default."""
    monkeypatch.chdir(tmp_path)


SLOW = {
    "end_to_end",
    "simulation",
    "simulator",
    "browser",
    "conformance",
    "cli",
    "service",
    "cluster",
    "test_documentation.py",
    "test_queries.py",
    "test_snapshot.py",
}
"""Folders and modules that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run slow modules first, so that parallel runs do not end with one of them."""
    items.sort(key=lambda item: _is_slow(item.path), reverse=True)


def _is_slow(path: Path) -> bool:
    return bool(SLOW.intersection(path.parts))
