"""What durability costs: requests a second with full, normal and memory, in one run.

    python -m bench.durability

Batches of 10 events. The three workers of a shell run at the same time and are asked in turn, so
that what else the machine does hits all of them; the median of the rounds counts. The data
directories lie where temporary files do: set TMPDIR to measure another disk.
"""

import platform
import statistics
import subprocess
import tempfile
from contextlib import ExitStack

from bench import load, workload
from tests.support.process import Command, WorkerProcess, gunicorn, serve, serve_trio

SHELLS: dict[str, Command] = {
    "asyncio": serve,
    "trio": serve_trio,
    "gunicorn": gunicorn("gthread", "--threads", "16"),
}
MODES = ("memory", "normal", "full")
CONNECTIONS = (4, 16, 64)
ROUNDS = 3
SECONDS = 1.5


def main() -> None:
    bodies = list(workload.bodies(10, 500))
    disk = subprocess.run(
        ["stat", "-f", "-c", "%T", tempfile.gettempdir()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {disk}; requests/s, p99 in ms"
    )
    columns = "".join(f"{mode:>9}{'p99':>6}{'ratio':>7}" for mode in MODES)
    print(f"{'shell':10}{'connections':>12}{columns}")
    for shell, command in SHELLS.items():
        with ExitStack() as stack:
            workers = {
                mode: stack.enter_context(
                    WorkerProcess(
                        {
                            "OPENQOE_DURABILITY": mode,
                            "OPENQOE_LOG_LEVEL": "error",
                            "OPENQOE_EMBEDDED": "off",
                        },
                        command=command,
                    )
                )
                for mode in MODES
            }
            for connections in CONNECTIONS:
                measured: dict[str, list[load.Load]] = {mode: [] for mode in MODES}
                for _ in range(ROUNDS):
                    for mode, worker in workers.items():
                        requests = load.posts(bodies)
                        measured[mode].append(load.run(worker.port, requests, connections, SECONDS))
                print(f"{shell:10}{connections:12}{_columns(measured)}", flush=True)


def _columns(measured: dict[str, list[load.Load]]) -> str:
    rates = {mode: statistics.median(one.rate for one in loads) for mode, loads in measured.items()}
    text = ""
    for mode, loads in measured.items():
        p99 = statistics.median(one.p99 for one in loads) * 1000
        text += f"{rates[mode]:9.0f}{p99:6.0f}{rates[mode] / rates['memory']:7.2f}"
    return text


if __name__ == "__main__":
    main()
