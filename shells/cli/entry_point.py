"""Entry point of the ``openqoe`` command: says which extra is missing, if one is."""

import os
import sys

from ..service.extras import MissingExtraError, needs


def main() -> None:
    """Run the command line."""
    if sys.stderr is None:  # closed by the parent; its number must not become a client's
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    try:
        with needs("asyncio"):
            from . import commands
        commands.main(prog_name="openqoe")  # which imports the command that is asked for
    except MissingExtraError as error:
        sys.exit(f"openqoe: {error}")
