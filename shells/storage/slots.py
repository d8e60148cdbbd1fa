"""Slots: numbered folders of the data directory, each owned by one process at a time.

The owner holds a lock on a file in the folder. The lock is the kernel's (flock), so it ends with
its process, however that ends. The file itself is never removed: a process could lock the removed
file while another locks its successor. Claim a slot after a fork, not before: the child would share
the lock.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .private_files import create_private_folder, restrict_data_directory
from .storage_errors import StorageError

FILE = "worker.db"
"""Name of a slot's database, in its folder."""

LOCK = "lock"
"""Name of the file that its owner locks."""

START_LOCK = "start.lock"
"""Name of the file that a process locks while it chooses its slot, in the data directory."""


class Slot:
    """A slot that this process owns until it releases it or ends.

    Attributes:
        number: Its number.
        path: Its database, which may not exist yet.
    """

    def __init__(self, number: int, folder: Path, descriptor: int) -> None:
        self.number = number
        self.path = folder / FILE
        self._descriptor: int | None = descriptor

    @property
    def is_intact(self) -> bool:
        """Whether its folder is still the one that this process owns."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), (self.path.parent / LOCK).stat())
        except OSError:
            return False

    def release(self) -> None:
        """Give the slot up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class Slots:
    """The slots of a data directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Wait until no other process of the directory chooses its slot, and keep them waiting.

        Repairs the modes of all files.

        Raises:
            StorageError: The directory cannot be created or written.
        """
        restrict_data_directory(self._directory)
        descriptor = self._open_lock(self._directory / START_LOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def claim(self) -> Slot:
        """Claim the lowest slot without an owner, or a new one.

        Raises:
            StorageError: The directory cannot be created or written.
        """
        number = 0
        while (slot := self._lock(number, create=True)) is None:
            number += 1
        return slot

    def claim_below(self, end: int) -> Slot | None:
        """Claim the lowest slot without an owner below a number; None if all have one.

        Raises:
            StorageError: The directory cannot be created or written.
        """
        for number in range(end):
            if (slot := self._lock(number, create=True)) is not None:
                return slot
        return None

    def claim_all(self, least: int) -> list[Slot] | None:
        """Claim all slots that exist, and those below ``least``; None if one has an owner.

        Raises:
            StorageError: The directory cannot be created or written.
        """
        claimed: list[Slot] = []
        try:
            for number in sorted({*self.numbers(), *range(least)}):
                slot = self._lock(number, create=True)
                if slot is None:
                    release_all(claimed)
                    return None
                claimed.append(slot)
        except BaseException:
            release_all(claimed)
            raise
        return claimed

    def claim_orphan(self, number: int, *, create: bool = False) -> Slot | None:
        """Claim a slot; None if it has an owner, or does not exist and is not to be created.

        Raises:
            StorageError: It cannot be read or created.
        """
        return self._lock(number, create=create)

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of all slots that exist, ascending."""
        names = (path.name.removeprefix("slot-") for path in self._directory.glob("slot-*"))
        return tuple(sorted(int(name) for name in names if name.isdecimal()))

    def database_path(self, number: int) -> Path:
        """Return the path of a slot's database."""
        return self._folder(number) / FILE

    def _folder(self, number: int) -> Path:
        return self._directory / f"slot-{number}"

    def _lock(self, number: int, *, create: bool) -> Slot | None:
        folder = self._folder(number)
        if not create and not folder.is_dir():
            return None
        descriptor = self._open_lock(folder / LOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return None
            raise StorageError(
                f"cannot lock {folder / 'lock'}: {error.strerror}; the data directory must be "
                "on a local disk"
            ) from None
        return Slot(number, folder, descriptor)

    def _open_lock(self, path: Path) -> int:
        try:
            create_private_folder(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot use the data directory {self._directory}: {error.strerror} "
                "(set OPENQOE_DATA_DIR, or OPENQOE_DURABILITY=memory)"
            ) from None


def release_all(slots: Iterable[Slot]) -> None:
    """Give slots up."""
    for slot in slots:
        slot.release()
