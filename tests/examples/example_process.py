"""Runs the examples as processes."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.worker_process import Command

EXAMPLES = Path(__file__).parents[2] / "examples"


def example_command(name: str, *arguments: str) -> Command:
    """The command line of an example that serves on a port, in Python's development mode."""

    def command(port: int) -> Sequence[str]:
        path = str(EXAMPLES / f"{name}.py")
        return (sys.executable, "-X", "dev", path, str(port), *arguments)

    return command
