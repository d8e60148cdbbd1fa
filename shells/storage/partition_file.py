"""The number of slots that partition the views of a data directory, in a file of it."""

import json
import os
from contextlib import suppress
from pathlib import Path

from .private_files import create_private_file, sync_folder
from .storage_errors import StorageError

FILE = "partition.json"


def read_slot_count(directory: Path) -> int | None:
    """Return the number of slots that own views; None if they were never partitioned.

    Raises:
        StorageError: The file cannot be read.
    """
    path = directory / FILE
    try:
        count = json.loads(path.read_text(encoding="ascii"))["slots"]
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"slots is {count!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise StorageError(f"cannot read {path}: {error}") from None
    return count


def write_slot_count(directory: Path, count: int) -> None:
    """Replace the number of slots, in one step.

    Raises:
        StorageError: The file cannot be written.
    """
    path = directory / FILE
    temporary = path.with_name(f"{FILE}.new")
    try:
        create_private_file(temporary)
        with temporary.open("w", encoding="ascii") as file:
            json.dump({"slots": count}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        with suppress(OSError):  # some file systems cannot sync a folder
            sync_folder(directory)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
