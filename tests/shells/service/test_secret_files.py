"""The keys file: what is read, and what cannot be."""

import os
from pathlib import Path

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.shells.service.secret_files import read_keys_file


def test_content_is_read(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(b"[]")
    (tmp_path / "link.json").symlink_to(tmp_path / "keys.json")
    for name in ("keys.json", "link.json"):
        assert read_keys_file(Config(keys_file=str(tmp_path / name))).content == b"[]"


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_file_gives_a_reason_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "keys.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":  # a read of it would wait for a writer
        os.mkfifo(path)
    found = read_keys_file(Config(keys_file=str(path)))
    assert found.content is None
    assert found.reason.startswith("OPENQOE_KEYS_FILE ")
