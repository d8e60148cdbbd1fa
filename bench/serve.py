"""Running workers under load, each shell, beside its null server.

    python -m bench.serve [--quick] [asyncio] [trio] [gunicorn]

Three parts, each with workers that deliver to a receiver that takes everything:

- throughput: ``wrk`` keeps connections busy; the workers of all durabilities and the null server
  run at the same time and are asked in turn, so that what else the machine does hits all of them.
- rates: a generator that sends at a rate, whether answers come or not: at 70% of what the worker
  can do, the same while a flush of 100,000 series is made again and again, and at twice. The null
  server at the first of these rates tells how much of that is the machine's and the generator's.
  Several rounds, each with workers of its own.
- memory: what the worker takes after minutes' worth of events, and how long it takes to start.

The generator shares the machine's cores: compare the ratios of one run.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

from bench import load, machine, population, results, workload, wrk
from bench.sink import Sink
from tests.support.worker_process import Command, WorkerProcess, gunicorn, serve, serve_trio

QUICK = results.is_quick()
ROUNDS = 1 if QUICK else 3
SECONDS = 1 if QUICK else 2
RATED_SECONDS = 2.0 if QUICK else 6.0
FLUSHED_SECONDS = 1 if QUICK else 5
"""s between flushes, and for which it is found what a worker can do: so that is beside flushes."""

SHELLS: dict[str, Command] = {
    "asyncio": serve,
    "trio": serve_trio,
    "gunicorn": gunicorn("gthread"),
}
CONNECTIONS = 256
"""Connections of the generator that sends at a rate, in turn: each costs the processor's cache."""

BUSY = 64
"""Connections with which the worker's rate is found: it always has something to do, and does not
take them for a flood."""

CROWD = 1_500
"""The same where more is sent than can be answered."""

SETTLING = 1.0 if QUICK else 6.0
"""s of that which are looked at by themselves: what comes in the first two is served, as a burst
is."""

DURABILITIES = ("memory", "normal", "full")
LOADS = ((10, 16), (10, 256), (1000, 16))
"""Events a batch, connections."""


def null_server(shell: str) -> Command:
    """The command that starts a shell's null server."""
    if shell == "gunicorn":
        python = sys.executable
        return lambda port: (
            *(python, "-m", "gunicorn", "-k", "gthread", "--threads", "16"),
            *("--bind", f"127.0.0.1:{port}", "bench.null:application"),
        )
    return lambda port: (sys.executable, "-m", "bench.null", shell, str(port))


def settings(sink: Sink, **more: str) -> Mapping[str, str]:
    """The settings of a worker that delivers."""
    return {
        "OPENQOE_LOG_LEVEL": "error",
        "PROMETHEUS_URL": f"{sink.url}/api/v1/write",
        "LOKI_URL": f"{sink.url}/loki/api/v1/push",
        **more,
    }


def group(worker: WorkerProcess) -> int:
    assert worker.process is not None
    return worker.process.pid


def throughput(shell: str, sink: Sink) -> list[dict[str, Any]]:
    """Requests a second of all durabilities beside the null server."""
    rows = []
    with ExitStack() as stack:
        workers = {
            mode: stack.enter_context(
                WorkerProcess(settings(sink, OPENQOE_DURABILITY=mode), command=SHELLS[shell])
            )
            for mode in DURABILITIES
        }
        workers["null"] = stack.enter_context(WorkerProcess(command=null_server(shell)))
        for batch, connections in LOADS:
            bodies = stack.enter_context(wrk.Bodies(workload.bodies(batch, 20_000 // batch)))
            rounds: dict[str, list[tuple[wrk.Load, float]]] = {name: [] for name in workers}
            for _ in range(ROUNDS):
                for name, worker in workers.items():
                    before = machine.cpu_seconds(group(worker))
                    done = wrk.run(worker.port, bodies, connections, SECONDS)
                    cpu = machine.cpu_seconds(group(worker)) - before
                    rounds[name].append((done, cpu / done.requests / batch * 1e6))
            null = median(done.rate for done, _ in rounds["null"])
            for name, measured in rounds.items():
                loads = [done for done, _ in measured]
                rate = median(done.rate for done in loads)
                row = {
                    "shell": shell,
                    "durability": name,
                    "batch": batch,
                    "connections": connections,
                    "requests/s": round(rate),
                    "events/s": round(rate * batch),
                    "of null": round(rate / null, 2),
                    "CPU µs/event": round(median(cpu for _, cpu in measured), 1),
                    "p50": median(done.p50 for done in loads),
                    "p95": median(done.p95 for done in loads),
                    "p99": median(done.p99 for done in loads),
                    "p99.9": median(done.p999 for done in loads),
                    "refused": sum(done.refused for done in loads),
                }
                results.show(row)
                rows.append(row)
    return rows


def rates(shell: str, sink: Sink) -> list[dict[str, Any]]:
    """Times at 70% of what the worker can do, beside flushes of many series, and at twice.

    First those of the null server, which has hardly anything to do at the first of these rates.
    """
    rounds = [_rates(shell, sink) for _ in range(ROUNDS)]
    rows = []
    for name in rounds[0]:
        parts = [part[name] for part in rounds]
        row = {
            "shell": shell,
            "load": name,
            "sent/s": round(median(part.asked for part in parts)),
            "accepted/s": round(median(part.load.rate for part in parts)),
            "refused/s": round(median(part.load.per_second(503) for part in parts)),
            "not sent/s": round(median(part.load.per_second(load.NOT_SENT) for part in parts)),
            "not answered": sum(part.load.statuses[0] for part in parts),
        }
        for percentile in (50, 95, 99, 99.9):
            times = [part.load.percentile(percentile / 100) for part in parts]
            row[f"p{percentile}"] = round(median(times), 1)
        row["p99 of each round"] = _each(round(part.load.percentile(0.99)) for part in parts)
        row["stolen %"] = _each(round(part.stolen * 100) for part in parts)
        row["generator late ms"] = _each(round(part.load.late * 1000) for part in parts)
        results.show(row)
        rows.append(row)
    return rows


class _Part(NamedTuple):
    """What came of one load in one round.

    Attributes:
        asked: Requests a second that it was.
        load: What came of it.
        stolen: How much of a processor others on the same hardware had meanwhile.
    """

    asked: float
    load: load.Load
    stolen: float


def _rates(shell: str, sink: Sink) -> dict[str, _Part]:
    """One round, by the name of the load."""
    bodies = list(workload.bodies(10, 2_000))
    delivering = settings(sink, OPENQOE_FLUSH_INTERVAL=str(FLUSHED_SECONDS))

    def most(worker: WorkerProcess) -> float:
        # Anew each time: some seconds later the machine may be half or twice as fast.
        return load.run(worker.port, load.posts(bodies), BUSY, FLUSHED_SECONDS).rate

    def ask(
        worker: WorkerProcess, rate: float, connections: int, names: Mapping[str, float]
    ) -> dict[str, _Part]:
        before, began = machine.stolen_seconds(), time.perf_counter()
        done = load.at_rate(
            worker.port, load.posts(bodies), rate, list(names.values()), connections
        )
        stolen = (machine.stolen_seconds() - before) / (time.perf_counter() - began)
        return {name: _Part(rate, one, stolen) for name, one in zip(names, done, strict=True)}

    found: dict[str, _Part] = {}
    with (
        WorkerProcess(delivering, command=SHELLS[shell]) as worker,
        WorkerProcess(command=null_server(shell)) as null,
    ):
        most(worker)  # it gets into its stride
        for name, asked in (("null server, as many", null), ("70%", worker)):
            found |= ask(asked, most(worker) * 0.7, CONNECTIONS, {name: RATED_SECONDS})
        # Found before there are so many: later, much of what it accepts would wait for a flush.
        rate = most(worker) * 0.7
        for body in population.series(3_000 if QUICK else 100_000):
            worker.post(body)
        time.sleep(FLUSHED_SECONDS + 1)
        found |= ask(worker, rate, CONNECTIONS, {"70%, 100,000 series": RATED_SECONDS})
    with WorkerProcess(delivering, command=SHELLS[shell]) as worker:
        most(worker)
        parts = {"twice, at first": SETTLING, "twice": RATED_SECONDS}
        found |= ask(worker, most(worker) * 2, CROWD, parts)
    return found


def _each(values: Iterable[int]) -> str:
    return " / ".join(str(value) for value in values)


def memory(shell: str, sink: Sink) -> list[dict[str, Any]]:
    """MB with 10,000 series and 100,000 views, and again behind more events of the same; seconds
    to start, and to start again with 100,000 journalled events."""
    rows = []
    views = 5_000 if QUICK else 100_000
    events = 10_000 if QUICK else 100_000
    more = {"OPENQOE_FLUSH_INTERVAL": "5"}
    with WorkerProcess(settings(sink, **more), command=SHELLS[shell]) as worker:
        start = _restart(worker)
        empty = machine.memory(group(worker))
        for body in population.series(views // 10):
            worker.post(body)
        for body in population.views(views):
            worker.post(body)
        time.sleep(6)
        full = machine.memory(group(worker))
        for turn in range(2 if QUICK else 5):
            for body in population.views(views, again=turn + 1):
                worker.post(body)
        time.sleep(6)
        row = {
            "shell": shell,
            "series": round(worker.read_metric("openqoe_worker_series_live")),
            "views": round(worker.read_metric("openqoe_worker_views_live")),
            "start s": start,
            "MB empty": round(empty / 1e6),
            "MB": round(full / 1e6),
            "MB after": round(machine.memory(group(worker)) / 1e6),
            "events after": views * (2 if QUICK else 5),
        }
    with WorkerProcess(
        settings(sink, OPENQOE_FLUSH_INTERVAL="3600", OPENQOE_LOG_LEVEL="info"),
        command=SHELLS[shell],
    ) as worker:
        for body in workload.bodies(100, events // 100):
            worker.post(body)
        row["replayed"] = events
        row["start again s"] = _restart(worker)
        lines = [line for line in worker.log_records() if "replayed_batches" in line]
        row["replay s"] = lines[-1]["seconds"] if lines else 0.0
    results.show(row)
    rows.append(row)
    return rows


def _restart(worker: WorkerProcess) -> float:
    """Kill it and start it; seconds until it answers."""
    worker.kill()
    began = time.perf_counter()
    worker.start()
    return round(time.perf_counter() - began, 2)


def main() -> None:
    asked = [name for name in SHELLS if name in sys.argv[1:]] or list(SHELLS)
    found: dict[str, list[dict[str, Any]]] = {"throughput": [], "rates": [], "memory": []}
    with Sink() as sink:
        for shell in asked:
            found["throughput"] += throughput(shell, sink)
            found["rates"] += rates(shell, sink)
            found["memory"] += memory(shell, sink)
    for name, rows in found.items():
        results.save(name, rows)


if __name__ == "__main__":
    main()
