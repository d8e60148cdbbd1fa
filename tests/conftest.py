"""What holds for all tests."""

import os
from pathlib import Path

import pytest

# What has to survive says so: tests/support/process.py gives each worker a directory of its own.
os.environ.setdefault("OPENQOE_DURABILITY", "memory")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data directory is below the current folder by default: no test shares it."""
    monkeypatch.chdir(tmp_path)
