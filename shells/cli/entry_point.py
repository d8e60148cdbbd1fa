"""Entry point of the ``openqoe`` command: reports an extra that is missing."""

import os
import sys

from ..service.extras import MissingExtraError, needs


def main() -> None:
    """Run the command line."""
    if sys.stderr is None:  # closed by the parent; its number must not become a client's
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    try:
        with needs("shell"):
            from . import command_group
        command_group.main(prog_name="openqoe")  # imports the command that is called
    except MissingExtraError as error:
        sys.stderr.write(f"openqoe: {error}\n")
        sys.exit(2)  # EXIT_USAGE; terminal_output may not be importable
