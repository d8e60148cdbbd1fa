"""Extras: what is not in the base install is named with the command that installs it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtraError(ImportError):
    """A package is missing that an extra of ours installs."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import inside what an extra installs.

    Raises:
        MissingExtraError: It is not installed. Other faults of an import stay what they are.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "openqoe").partition(".")[0]
        if package == "openqoe":
            raise
        message = f"{package} is missing: pip install 'openqoe-worker[{extra}]'"
        if sys.argv[:1] == ["-m"]:
            # ``python -m`` is still looking for its module: a user waits, not a program.
            sys.exit(f"openqoe: {message}")
        raise MissingExtraError(message, name=package) from error
