"""Measures the gain of more workers on one host, and the cost of a store shared by several hosts.

    python -m bench.scale_out

Batches of 10 events, durability normal, 16 connections. For each shell one worker, two that share
nothing (two ports and data directories), and several that divide the views. The second is the most
that this machine allows: the load generator shares its cores. Then one worker and two with Redis.
Requests per second, and CPU time per request of the workers and of Redis, relative to one worker.
The CPU time ends a second after the load, when forwarded batches have arrived.

Last, the size of a view in Redis.
"""

import os
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench import load_generator, machine, workload
from openqoe.core.http.messages import Request
from openqoe.shells.stores.redis_store import RedisStore
from tests.support.event_builders import NOW
from tests.support.fleet import Fleet
from tests.support.fleet_traffic import HEADERS, make_rounds
from tests.support.redis_server import Redis
from tests.support.worker_process import Command, WorkerProcess, gunicorn, serve, with_options

CONNECTIONS = 16
ROUNDS = 5
SECONDS = 2.0
SETTLE = 1.0
BATCH = 10
VIEWS = 2_000


@dataclass(frozen=True)
class Setup:
    """Workers to measure: so many data directories, with so many workers each."""

    name: str
    directories: int
    workers: int
    has_store: bool = False


SETUPS = {
    "asyncio": (
        Setup("1", 1, 1),
        Setup("1 + 1", 2, 1),
        Setup("2", 1, 2),
        Setup("1, Redis", 1, 1, has_store=True),
        Setup("2, Redis", 1, 2, has_store=True),
    ),
    "trio": (Setup("1", 1, 1), Setup("1 + 1", 2, 1), Setup("2", 1, 2)),
    "gunicorn": (
        Setup("1", 1, 1),
        Setup("1 + 1", 2, 1),
        Setup("2", 1, 2),
        Setup("4", 1, 4),
        Setup("2, Redis", 1, 2, has_store=True),
    ),
}


def command(shell: str, workers: int) -> Command:
    """The command of workers of a shell."""
    options = ("--workers", str(workers))
    if shell == "gunicorn":
        return gunicorn("gthread", "--threads", "16", *options)
    return with_options(serve, "--shell", shell, *options)


@dataclass(frozen=True)
class Measured:
    """One round: requests per second; CPU time per request of the workers and of Redis in µs."""

    rate: float
    cpu: float
    redis_cpu: float


def measure(workers: Sequence[WorkerProcess], redis: Redis, bodies: list[bytes]) -> Measured:
    before, redis_before = cpu_seconds(workers), redis.cpu_seconds()
    first, *others = (worker.port for worker in workers)
    done = load_generator.run_closed_loop(
        first, load_generator.encode_posts(bodies), CONNECTIONS, SECONDS, *others
    )
    time.sleep(SETTLE)
    requests = done.rate * done.seconds
    cpu = cpu_seconds(workers) - before
    redis_cpu = redis.cpu_seconds() - redis_before
    return Measured(done.rate, cpu / requests * 1e6, redis_cpu / requests * 1e6)


def cpu_seconds(workers: Sequence[WorkerProcess]) -> float:
    """The CPU time of workers so far."""
    processes = (worker.process for worker in workers)
    return sum(machine.cpu_seconds(one.pid) for one in processes if one is not None)


def main() -> None:
    bodies = list(workload.bodies(BATCH, 3000))
    cores = os.cpu_count()
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    heads = (
        f"{'requests/s':>11}{'events/s':>10}{'ratio':>7}{'CPU µs':>8}{'ratio':>7}{'Redis µs':>10}"
    )
    print(f"{'shell':10}{'workers':10}{heads}")
    with Redis() as redis:
        for shell, setups in SETUPS.items():
            with ExitStack() as stack:
                workers = {
                    setup: [
                        stack.enter_context(
                            WorkerProcess(
                                {
                                    "OPENQOE_KV_URL": redis.url if setup.has_store else "none",
                                    "OPENQOE_KV_PREFIX": f"{shell}{setup.name}",
                                    "OPENQOE_LOG_LEVEL": "error",
                                    "OPENQOE_EMBEDDED": "off",
                                },
                                command=command(shell, setup.workers),
                            )
                        )
                        for _ in range(setup.directories)
                    ]
                    for setup in setups
                }
                found: dict[Setup, list[Measured]] = {setup: [] for setup in setups}
                for _ in range(ROUNDS):
                    for setup, group in workers.items():
                        found[setup].append(measure(group, redis, bodies))
                print_costs(shell, found)
        print_size(redis)


def print_costs(shell: str, found: dict[Setup, list[Measured]]) -> None:
    """Print a line for each setup."""
    base_rate = base_cpu = 0.0
    for setup, measured in found.items():
        rate = statistics.median(each.rate for each in measured)
        cpu = statistics.median(each.cpu for each in measured)
        redis_cpu = statistics.median(each.redis_cpu for each in measured)
        base_rate, base_cpu = base_rate or rate, base_cpu or cpu
        print(
            f"{shell:10}{setup.name:10}{rate:11.0f}{rate * BATCH:10.0f}"
            f"{rate / base_rate:7.2f}{cpu:8.0f}{cpu / base_cpu:7.2f}{redis_cpu:10.0f}",
            flush=True,
        )


def print_size(redis: Redis) -> None:
    """Print the size of a view of three batches in Redis, claims included."""
    redis.delete_all()
    store = RedisStore(redis.url, "size")
    before = redis.used_memory()
    fleet = Fleet(2, store=store)
    for turn in make_rounds(VIEWS, seed=1, begin=NOW - 60_000)[:-1]:
        for number, body in enumerate(turn):
            fleet.handle(number % 2, Request("POST", "/events", "", HEADERS, body, NOW))
        fleet.pass_time(1_000)
    size = (redis.used_memory() - before) / VIEWS
    store.close()
    print(f"Redis: {size:.0f} bytes a view")


if __name__ == "__main__":
    main()
