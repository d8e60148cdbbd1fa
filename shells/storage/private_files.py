"""Files and folders that only their owner can read: mode 0600 and 0700, whatever the umask.

Events and deduplicated batches hold ids and addresses of viewers. Files of earlier versions, or of
a restored backup, may be readable for others; each start repairs the modes.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .high_water_marks import FILE as MARKS

_FOLDERS = ("slot-*",)
_FILES = (
    "embedded.db*",
    "secret",
    "slot-*/worker.db*",
    "slot-*/journal-*",
    "slot-*/lock",
    "start.lock",
    "partition.json*",
    f"slot-*/{MARKS}",
)
_FOREIGN = ("lost+found",)


def create_private_folder(path: Path) -> None:
    """Create a folder and its missing parents with mode 0700.

    Raises:
        OSError: It cannot be created.
    """
    if not path.parent.exists():
        create_private_folder(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_dir():
            return
        raise
    with suppress(OSError):  # some file systems cannot sync a folder
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Sync a folder to the disk, so that new files in it survive a power failure.

    Raises:
        OSError: It cannot be synced.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_private_file(path: Path) -> None:
    """Create a file with mode 0600, or restrict an existing one.

    SQLite gives the files beside a database (``-wal``, ``-shm``) the mode of the database.

    Raises:
        OSError: It cannot be created.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # Not opened: closing it would release the locks that this process has on it.
        restrict_mode(path)


def restrict_mode(path: Path) -> None:
    """Remove the rights of group and others, if the path belongs to this user."""
    with suppress(OSError):  # a file of another user, or one that is gone by now
        status = path.lstat()
        is_ours = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
        if is_ours and status.st_mode & 0o077:
            path.chmod(stat.S_IMODE(status.st_mode) & 0o700)


def restrict_data_directory(directory: Path) -> None:
    """Restrict the modes of a data directory and of the files of the worker in it.

    A directory that holds other files as well keeps its mode, since others may need them.
    """
    ours = set(_list_matches(directory, _FOLDERS + _FILES))
    for path in ours:
        restrict_mode(path)
    with suppress(OSError):
        if all(path in ours or path.name in _FOREIGN for path in directory.iterdir()):
            restrict_mode(directory)


def _list_matches(directory: Path, patterns: tuple[str, ...]) -> Iterator[Path]:
    for pattern in patterns:
        with suppress(OSError):
            yield from directory.glob(pattern)
