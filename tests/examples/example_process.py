"""How the tests run an example and what they post to it."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.event_builders import batch, event
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.worker_process import Command

EXAMPLES = Path(__file__).parents[2] / "examples"


def example_command(name: str, *arguments: str) -> Command:
    """The command line of an example that serves on a port, with Python's own checks on."""

    def command(port: int) -> Sequence[str]:
        path = str(EXAMPLES / f"{name}.py")
        return (sys.executable, "-X", "dev", path, str(port), *arguments)

    return command


def make_view_batch(first: int, count: int) -> bytes:
    """A batch in which so many views start."""
    now = int(time.time() * 1000)
    return batch(
        *(event("viewstart", at=now, view_id=f"v-{n}") for n in range(first, first + count))
    )


def count_started_views(receiver: RemoteWriteDouble) -> float:
    """The views that were started, as the destination knows it."""
    return receiver.total("openqoe_views_started_total")
