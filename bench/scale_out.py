"""Measures the cost of a shared store and the gain of a second worker.

    python -m bench.scale_out

Batches of 10 events, durability normal, 16 connections. First one worker with each store: requests
per second and CPU time per request, of the worker and of Redis, relative to a worker without a
shared store. Then two workers with each store, relative to the same. The load generator shares the
cores of the machine: two workers on two cores compete with it.

Last, the size of a view in each store.
"""

import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import load_generator, machine, workload
from openqoe.core.http.messages import Request
from openqoe.shells.stores.redis_store import RedisStore
from openqoe.shells.stores.sqlite_store import SqliteStore
from openqoe.shells.stores.store_interface import Store
from tests.support.event_builders import NOW
from tests.support.fleet import Fleet
from tests.support.fleet_traffic import HEADERS, make_rounds
from tests.support.redis_server import Redis
from tests.support.worker_process import Command, WorkerProcess, gunicorn, serve, with_options

CONNECTIONS = 16
ROUNDS = 5
SECONDS = 2.0
BATCH = 10
VIEWS = 2_000


def command_of_two(name: str) -> Command:
    """The command of two workers of a shell."""
    if name == "gunicorn":
        return gunicorn("gthread", "--threads", "16", "--workers", "2")
    return with_options(serve, "--shell", name, "--workers", "2")


def command_of_one(name: str) -> Command:
    """The command of one worker of a shell."""
    if name == "gunicorn":
        return gunicorn("gthread", "--threads", "16")
    return with_options(serve, "--shell", name)


@dataclass(frozen=True)
class Measured:
    """One round: requests per second; CPU time per request of the workers and of Redis in µs."""

    rate: float
    cpu: float
    redis_cpu: float


def measure(worker: WorkerProcess, redis: Redis, bodies: list[bytes]) -> Measured:
    assert worker.process is not None
    before, redis_before = machine.cpu_seconds(worker.process.pid), redis.cpu_seconds()
    done = load_generator.run_closed_loop(
        worker.port, load_generator.encode_posts(bodies), CONNECTIONS, SECONDS
    )
    requests = done.rate * SECONDS
    cpu = machine.cpu_seconds(worker.process.pid) - before
    redis_cpu = redis.cpu_seconds() - redis_before
    return Measured(done.rate, cpu / requests * 1e6, redis_cpu / requests * 1e6)


def main() -> None:
    bodies = list(workload.bodies(BATCH, 3000))
    cores = os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    heads = (
        f"{'requests/s':>11}{'events/s':>10}{'ratio':>7}{'CPU µs':>8}{'ratio':>7}{'Redis µs':>10}"
    )
    print(f"{'shell':10}{'workers':>8} {'store':8}{heads}")
    with Redis() as redis:
        urls = {"memory": "memory", "sqlite": "sqlite", "redis": redis.url}
        for shell in ("asyncio", "trio", "gunicorn"):
            with ExitStack() as stack:
                workers = {
                    (number, store): stack.enter_context(
                        WorkerProcess(
                            {
                                "OPENQOE_KV_URL": url,
                                "OPENQOE_KV_PREFIX": f"{shell}{number}",
                                "OPENQOE_LOG_LEVEL": "error",
                                "OPENQOE_EMBEDDED": "off",
                            },
                            command=command_of_one(shell) if number == 1 else command_of_two(shell),
                        )
                    )
                    for number, store, url in [(1, *item) for item in urls.items()]
                    + [(2, *item) for item in urls.items() if item[0] != "memory"]
                }
                found: dict[tuple[int, str], list[Measured]] = {key: [] for key in workers}
                for _ in range(ROUNDS):
                    for key, worker in workers.items():
                        found[key].append(measure(worker, redis, bodies))
                print_costs(shell, found)
        print_sizes(redis)


def print_costs(shell: str, found: dict[tuple[int, str], list[Measured]]) -> None:
    """Print a line for each number of workers and store."""
    base_rate = base_cpu = 0.0
    for (number, store), measured in found.items():
        rate = statistics.median(each.rate for each in measured)
        cpu = statistics.median(each.cpu for each in measured)
        redis_cpu = statistics.median(each.redis_cpu for each in measured)
        base_rate, base_cpu = base_rate or rate, base_cpu or cpu
        print(
            f"{shell:10}{number:8} {store:8}{rate:11.0f}{rate * BATCH:10.0f}"
            f"{rate / base_rate:7.2f}{cpu:8.0f}{cpu / base_cpu:7.2f}{redis_cpu:10.0f}",
            flush=True,
        )


def print_sizes(redis: Redis) -> None:
    """Print the size of a view of three batches in each store, claims included."""
    print(f"{'store':8}{'views':>7}{'bytes a view':>14}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "shared.db"
        redis.delete_all()
        stores: dict[str, tuple[Store, Callable[[], int]]] = {
            "sqlite": (SqliteStore(file), lambda: file.stat().st_size),
            "redis": (RedisStore(redis.url, "size"), redis.used_memory),
        }
        for name, (store, size) in stores.items():
            before = size()
            fleet = Fleet(2, store=store)
            for turn in make_rounds(VIEWS, seed=1, begin=NOW - 60_000)[:-1]:
                for number, body in enumerate(turn):
                    fleet.handle(number % 2, Request("POST", "/events", "", HEADERS, body, NOW))
                fleet.pass_time(1_000)
            store.close()
            print(f"{name:8}{VIEWS:7}{(size() - before) / VIEWS:14.0f}", flush=True)


if __name__ == "__main__":
    main()
