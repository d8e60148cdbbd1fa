"""Names the install command when a package of an optional extra is missing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtraError(ImportError):
    """A package of an optional extra is missing."""


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Guard imports of packages that an extra installs.

    Raises:
        MissingExtraError: One is missing. Other faults of an import are passed on.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "openqoe").partition(".")[0]
        if package == "openqoe":
            raise
        message = f"{package} is missing: pip install 'openqoe-worker[{extra}]'"
        if sys.argv[:1] == ["-m"]:
            # ``python -m`` is still importing: a person reads this, not a program.
            sys.exit(f"openqoe: {message}")
        raise MissingExtraError(message, name=package) from error
