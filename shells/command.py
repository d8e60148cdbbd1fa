"""Entry point of the ``openqoe`` command: says which extra is missing, if one is."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from openqoe.shells import cli
    except ImportError as error:
        sys.exit(
            f"openqoe: {error.name} is missing; the command line comes with a shell:\n"
            "  pip install 'openqoe-worker[asyncio]'"
        )
    cli.main()
