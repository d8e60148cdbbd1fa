"""Entry point of the ``openqoe`` command: reports an extra that is missing."""

import sys

from ..service.extras import MissingExtraError, needs
from ..service.standard_descriptors import open_standard_descriptors


def main() -> None:
    """Run the command line."""
    open_standard_descriptors()
    try:
        with needs("shell"):
            from . import command_group
        command_group.main(prog_name="openqoe")  # imports the command that is called
    except MissingExtraError as error:
        sys.stderr.write(f"openqoe: {error}\n")
        sys.exit(2)  # EXIT_USAGE; terminal_output may not be importable
