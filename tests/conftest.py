"""What holds for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

# Here, before a test opens a worker in this process: that freezes what the garbage collector looks
# at, and hypothesis, which asks it about Trio's random numbers when imported, would see nothing.
import hypothesis  # noqa: F401
import pytest

from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble

# Worker processes are durable: tests/support/worker_process.py gives each its own data directory.
os.environ.setdefault("OPENQOE_DURABILITY", "memory")


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
    """The data directory is below the current folder by default: no test shares it."""
    monkeypatch.chdir(tmp_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that take long come first: where several run at a time, none is left for the end."""
    items.sort(key=lambda item: _takes_long(item.path), reverse=True)


def _takes_long(path: Path) -> bool:
    return "end_to_end" in path.parts or path.name == "test_documentation.py"
