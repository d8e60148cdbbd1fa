"""Requests a second of a running worker, each shell, beside /health of the same shell.

    python -m bench.serve

Every shell is started as a process and asked over keep-alive connections by threads of this
one, so both share the machine's cores: compare the ratios, not the figures.
"""

import http.client
import statistics
import threading
import time
from collections.abc import Callable, Iterator

from bench import workload
from tests.support.hosts import HOSTS
from tests.support.process import WorkerProcess

Request = tuple[str, str, bytes | None]

CLIENTS = 4
SECONDS = 3


def ask(worker: WorkerProcess, next_request: Callable[[], Request]) -> float:
    """Requests a second, all clients together."""
    counts = [0] * CLIENTS
    end = time.perf_counter() + SECONDS

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", worker.port)
        while time.perf_counter() < end:
            method, path, body = next_request()
            connection.request(method, path, body)
            response = connection.getresponse()
            response.read()
            assert response.status in (200, 202), response.status
            counts[number] += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / SECONDS


def main() -> None:
    print(
        f"{'shell':18} {'health/s':>9} {'batches of 10/s':>16} {'ratio':>6} {'ms/1000 events':>15}"
    )
    for host in HOSTS:
        tens = workload.bodies(10, 40_000)
        thousands = list(workload.bodies(1000, 12))
        lock = threading.Lock()

        def batch(tens: Iterator[bytes] = tens, lock: threading.Lock = lock) -> Request:
            with lock:
                return "POST", "/v1/events", next(tens)

        with host.run({"OPENQOE_LOG_LEVEL": "error", "OPENQOE_EMBEDDED": "off"}) as worker:
            health = ask(worker, lambda: ("GET", "/health", None))
            batches = ask(worker, batch)
            times = []
            for body in thousands:
                begin = time.perf_counter()
                status, _ = worker.post(body)
                assert status == 202
                times.append(time.perf_counter() - begin)
        large = statistics.median(times) * 1000
        print(f"{host.name:18} {health:9.0f} {batches:16.0f} {batches / health:6.2f} {large:15.1f}")


if __name__ == "__main__":
    main()
