"""The keys file, and the service's secret in the data directory."""

import os
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes
from typing import Final

from openqoe.core.access.keys_file import MAX_BYTES, SETTING, KeysFileError
from openqoe.core.config.worker_config import Config
from openqoe.core.effects import KeysFile

from ..storage import StorageError
from ..storage.private_files import create_private_folder, restrict_mode

SECRET: Final = "secret"
"""Name of the secret's file in the data directory."""

SECRET_BYTES: Final = 32


def read_keys_file(config: Config) -> KeysFile:
    """Read the keys file."""
    assert config.keys_file is not None
    try:
        # A named pipe would block the open call, and with it the reload of keys for ever.
        descriptor = os.open(config.keys_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return KeysFile(None, f"{SETTING} is not a regular file")
            return KeysFile(file.read(MAX_BYTES + 1))  # one more: the core rejects the file
    except OSError as error:
        return KeysFile(None, f"{SETTING} cannot be read: {error.strerror}")


def load_keys(config: Config) -> bytes | None:
    """Return the content of the keys file at the start; None without a file.

    Raises:
        KeysFileError: The file cannot be read.
    """
    if config.keys_file is None:
        return None
    found = read_keys_file(config)
    if found.content is None:
        raise KeysFileError((found.reason,))
    return found.content


def load_secret(config: Config) -> bytes:
    """Return the secret that the processes of a data directory share; creates it if needed.

    Without a data directory it lasts as long as the process.

    Raises:
        StorageError: It can be neither read nor created.
    """
    if config.durability == "memory" and not config.is_embedded:
        return token_bytes(SECRET_BYTES)
    path = Path(config.data_dir) / SECRET
    try:
        create_private_folder(path.parent)
        with suppress(FileNotFoundError):
            return _read_secret(path)
        # Linked once it is complete, so that no process ever reads a part of it.
        draft = path.with_name(f"{SECRET}.{os.getpid()}")
        with suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
        return _read_secret(path)
    except OSError as error:
        raise StorageError(f"cannot use {path}: {error.strerror}") from None


def _read_secret(path: Path) -> bytes:
    restrict_mode(path)
    secret = path.read_bytes()
    if len(secret) < SECRET_BYTES:
        raise StorageError(f"{path} is damaged: restore it, or delete it to have a new one made")
    return secret
