"""Files and folders of the data directory are for their owner only, whatever the umask."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from openqoe.core import Config
from openqoe.core.effects import Append, Record
from openqoe.embedded import open_reader
from openqoe.shells.service import logs
from openqoe.shells.service.bootstrap import WorkerRuntime, open_runtime
from openqoe.shells.storage.private_files import create_private_folder, restrict_data_directory


@pytest.fixture(autouse=True)
def _open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def run_worker(directory: Path) -> WorkerRuntime:
    """Open everything that a worker has in its data directory, and write into it."""
    config = Config(data_dir=str(directory), embedded="on", log_level="error")
    runtime = open_runtime(config, "t", logs.configure(config))
    runtime.start(lambda _: None, lambda *_: None)
    assert runtime.storage is not None
    runtime.storage.submit(Append(1, Record(1, 0, b"{}", None, b"d" * 16)))
    open_reader(directory / "embedded.db").close()
    return runtime


def test_new_folders_are_synced_into_their_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink())
    )
    for _ in range(2):
        create_private_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def modes(directory: Path) -> dict[str, int]:
    paths = [directory, *directory.rglob("*")]
    return {str(path.relative_to(directory)): path.stat().st_mode & 0o777 for path in paths}


def test_files_of_a_running_and_a_stopped_worker_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "data"
    runtime = run_worker(directory)
    seen = modes(directory)
    runtime.close()
    seen.update(modes(directory))
    assert {"embedded.db", "embedded.db-wal", "partition.json", "slot-0/worker.db"} <= seen.keys()
    assert any("journal-" in name for name in seen)
    for name, mode in seen.items():
        is_folder = (directory / name).is_dir()
        assert mode == (0o700 if is_folder else 0o600), name
    assert directory.parent.stat().st_mode & 0o777 == 0o700


def test_start_repairs_modes_of_existing_files(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    run_worker(directory).close()
    (directory / "slot-0" / "worker.db.damaged-1").write_bytes(b"")
    for path in [directory, *directory.rglob("*")]:
        with suppress(FileNotFoundError):  # SQLite deletes its own on closing
            path.chmod(0o777 if path.is_dir() else 0o666)
    run_worker(directory).close()
    assert set(modes(directory).values()) == {0o700, 0o600}


def test_foreign_files_and_their_directory_keep_their_modes(tmp_path: Path) -> None:
    (tmp_path / "slot-0").mkdir()
    (tmp_path / "index.html").touch()
    (tmp_path / "slot-0" / "lock").symlink_to(tmp_path / "index.html")
    tmp_path.chmod(0o755)
    restrict_data_directory(tmp_path)
    assert modes(tmp_path) == {
        ".": 0o755,
        "index.html": 0o666,
        "slot-0": 0o700,
        "slot-0/lock": 0o666,
    }
