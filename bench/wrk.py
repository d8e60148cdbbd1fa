"""Runs Debian's ``wrk``, a load generator with low CPU cost, in a closed loop."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

_SCRIPT = Path(__file__).with_suffix(".lua")

_runs = count()


@dataclass(frozen=True, slots=True)
class Load:
    """The result of a load; times in ms.

    Attributes:
        rate: Accepted requests per second.
        refused: Responses with another status than 2xx.
    """

    rate: float
    requests: int
    refused: int
    p50: float
    p95: float
    p99: float
    p999: float


class Bodies:
    """Batches in a file for ``wrk``; a context manager that removes the file."""

    def __init__(self, bodies: Iterable[bytes]) -> None:
        descriptor, self.path = tempfile.mkstemp(prefix="openqoe-bodies-")
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(body + b"\n" for body in bodies)

    def __enter__(self) -> "Bodies":
        return self

    def __exit__(self, *_: object) -> None:
        Path(self.path).unlink()


def run(port: int, bodies: Bodies, connections: int, seconds: float) -> Load:
    """Keep connections busy, each with one request at a time.

    Raises:
        RuntimeError: ``wrk`` failed.
    """
    done = subprocess.run(
        [
            *("wrk", "-t", "1", "-c", str(connections), "-d", f"{max(1, round(seconds))}s"),
            *("-s", str(_SCRIPT), f"http://127.0.0.1:{port}", "--", bodies.path),
            f"run-{next(_runs)}",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
    summary = json.loads(lines[-1])
    accepted = summary["requests"] - summary["refused"]
    return Load(
        accepted / summary["seconds"],
        summary["requests"],
        summary["refused"],
        summary["p50"],
        summary["p95"],
        summary["p99"],
        summary["p99.9"],
    )
