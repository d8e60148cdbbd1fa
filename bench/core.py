"""µs per event through the core, beside the floor: typed decode and snappy of the same bytes.

python -m bench.core
"""

import statistics
import time
from collections.abc import Callable

import msgspec
import snappy

from bench import workload
from openqoe.core import Config, Request, Worker
from openqoe.core.events.schema import Event

EVENTS = 20_000
RUNS = 5


class _Batch(msgspec.Struct):
    events: list[Event]


def floor(bodies: list[bytes]) -> None:
    """What no implementation can do without."""
    decode = msgspec.json.Decoder(_Batch).decode
    for body in bodies:
        decode(body)
        snappy.compress(body)


def handle(bodies: list[bytes]) -> None:
    """Everything: validation, governance, views, metrics, logs, encoding, compression."""
    config = Config(prometheus_url="http://localhost/w", loki_url="http://localhost/l")
    worker = Worker(config, instance="bench-0")
    now = int(time.time() * 1000)
    for body in bodies:
        request = Request("POST", "/v1/events", body=body, received=now)
        status = worker.handle(request, now).response.status
        assert status == 202, status
    worker.close(now + 15_000)


def measure(run: Callable[[list[bytes]], None], bodies: list[bytes]) -> float:
    """Median of several runs, in µs per event."""
    times = []
    for _ in range(RUNS):
        begin = time.process_time()
        run(bodies)
        times.append(time.process_time() - begin)
    return statistics.median(times) / EVENTS * 1e6


def main() -> None:
    print(f"{'batch':>6} {'floor µs':>9} {'core µs':>9} {'ratio':>6} {'ms/batch':>9}")
    for size in (1, 10, 100, 1000):
        bodies = list(workload.bodies(size, EVENTS // size))
        base, core = measure(floor, bodies), measure(handle, bodies)
        print(f"{size:6} {base:9.2f} {core:9.2f} {core / base:6.1f} {core * size / 1000:9.2f}")


if __name__ == "__main__":
    main()
