"""Measures running workers of each shell under load, relative to its null server.

    python -m bench.serve [--quick] [asyncio] [trio] [gunicorn]

It has three parts. All workers deliver to a receiver that accepts everything.

- throughput: ``wrk`` keeps connections busy. The workers of all durabilities and the null server
  run at the same time and are measured in turn, so that other load on the machine affects all.
- rates: a generator sends at a fixed rate, independent of responses: at 70% of the worker's
  throughput, at the same rate with continual flushes of 100,000 series, and at twice the
  throughput. The null server at 70% shows the share of the machine and the generator. There are
  several rounds, each with new workers.
- memory: resident memory after many events, and the time to start.

The generator shares the machine's cores: compare the ratios of one run.
"""

import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

from bench import load_generator, machine, population, results, workload, wrk
from bench.sink import Sink
from tests.support.worker_process import Command, WorkerProcess, gunicorn, serve, serve_trio

QUICK = results.is_quick()
ROUNDS = 1 if QUICK else 3
SECONDS = 1 if QUICK else 2
RATED_SECONDS = 2.0 if QUICK else 6.0
FLUSHED_SECONDS = 1 if QUICK else 5
"""Flush interval and duration of a throughput measurement in s, so that it includes flushes."""

SHELLS: dict[str, Command] = {
    "asyncio": serve,
    "trio": serve_trio,
    "gunicorn": gunicorn("gthread"),
}
CONNECTIONS = 256
"""Connections of the generator with a fixed rate, used in turn."""

BUSY_CONNECTIONS = 64
"""Connections of a throughput measurement: enough to keep the worker busy, without overload."""

OVERLOAD_CONNECTIONS = 1_500
"""Connections of the generator in an overload."""

SETTLING = 1.0 if QUICK else 6.0
"""Duration in s of the separately reported start of an overload, whose first 2 s are served as a
burst."""

DURABILITIES = ("memory", "normal", "full")
LOADS = ((10, 16), (10, 256), (1000, 16))
"""Events per batch, connections."""


def null_server(shell: str) -> Command:
    """The command of a shell's null server."""
    if shell == "gunicorn":
        python = sys.executable
        return lambda port: (
            *(python, "-m", "gunicorn", "-k", "gthread", "--threads", "16"),
            *("--bind", f"127.0.0.1:{port}", "bench.null_server:application"),
        )
    return lambda port: (sys.executable, "-m", "bench.null_server", shell, str(port))


def settings(sink: Sink, **more: str) -> Mapping[str, str]:
    """The settings of a worker that delivers to the sink."""
    return {
        "OPENQOE_LOG_LEVEL": "error",
        "PROMETHEUS_URL": f"{sink.url}/api/v1/write",
        "LOKI_URL": f"{sink.url}/loki/api/v1/push",
        **more,
    }


def process_group(worker: WorkerProcess) -> int:
    assert worker.process is not None
    return worker.process.pid


def throughput(shell: str, sink: Sink) -> list[dict[str, Any]]:
    """Measure the throughput of all durabilities and of the null server."""
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
                    before = machine.cpu_seconds(process_group(worker))
                    done = wrk.run(worker.port, bodies, connections, SECONDS)
                    cpu = machine.cpu_seconds(process_group(worker)) - before
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
    """Measure response times at fixed rates: the null server and the worker at 70% of the
    throughput, the worker with flushes of many series, and the worker at twice the throughput.
    """
    rounds = [_measure_rates(shell, sink) for _ in range(ROUNDS)]
    rows = []
    for name in rounds[0]:
        parts = [part[name] for part in rounds]
        row = {
            "shell": shell,
            "load": name,
            "sent/s": round(median(part.rate for part in parts)),
            "accepted/s": round(median(part.load.rate for part in parts)),
            "refused/s": round(median(part.load.per_second(503) for part in parts)),
            "not sent/s": round(
                median(part.load.per_second(load_generator.NOT_SENT) for part in parts)
            ),
            "not answered": sum(part.load.statuses[load_generator.NO_RESPONSE] for part in parts),
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
    """The result of one load in one round.

    Attributes:
        rate: The sending rate in requests per second.
        load: The result.
        stolen: The fraction of a processor used by other machines on the same hardware.
    """

    rate: float
    load: load_generator.Load
    stolen: float


def _measure_rates(shell: str, sink: Sink) -> dict[str, _Part]:
    """Measure one round: the results by the name of the load."""
    bodies = list(workload.bodies(10, 2_000))
    delivering = settings(sink, OPENQOE_FLUSH_INTERVAL=str(FLUSHED_SECONDS))

    def measure_throughput(worker: WorkerProcess) -> float:
        # Repeated before each load: the speed of the machine can change by 2 within seconds.
        return load_generator.run_closed_loop(
            worker.port,
            load_generator.encode_posts(bodies),
            BUSY_CONNECTIONS,
            FLUSHED_SECONDS,
        ).rate

    def send_at_rate(
        worker: WorkerProcess, rate: float, connections: int, names: Mapping[str, float]
    ) -> dict[str, _Part]:
        before, began = machine.stolen_seconds(), time.perf_counter()
        done = load_generator.run_at_rate(
            worker.port,
            load_generator.encode_posts(bodies),
            rate,
            list(names.values()),
            connections,
        )
        stolen = (machine.stolen_seconds() - before) / (time.perf_counter() - began)
        return {name: _Part(rate, one, stolen) for name, one in zip(names, done, strict=True)}

    found: dict[str, _Part] = {}
    with (
        WorkerProcess(delivering, command=SHELLS[shell]) as worker,
        WorkerProcess(command=null_server(shell)) as null,
    ):
        measure_throughput(worker)  # warm-up
        for name, target in (("null server, as many", null), ("70%", worker)):
            rate = measure_throughput(worker) * 0.7
            found |= send_at_rate(target, rate, CONNECTIONS, {name: RATED_SECONDS})
        # Measured before the series exist: with them, flushes would lower the throughput.
        rate = measure_throughput(worker) * 0.7
        for body in population.series(3_000 if QUICK else 100_000):
            worker.post(body)
        time.sleep(FLUSHED_SECONDS + 1)
        found |= send_at_rate(worker, rate, CONNECTIONS, {"70%, 100,000 series": RATED_SECONDS})
    with WorkerProcess(delivering, command=SHELLS[shell]) as worker:
        measure_throughput(worker)
        parts = {"twice, at first": SETTLING, "twice": RATED_SECONDS}
        rate = measure_throughput(worker) * 2
        found |= send_at_rate(worker, rate, OVERLOAD_CONNECTIONS, parts)
    return found


def _each(values: Iterable[int]) -> str:
    return " / ".join(str(value) for value in values)


def memory(shell: str, sink: Sink) -> list[dict[str, Any]]:
    """Measure the memory with 10,000 series and 100,000 views, before and after more events of the
    same views; the time to start, and to restart with 100,000 journalled events."""
    rows = []
    views = 5_000 if QUICK else 100_000
    events = 10_000 if QUICK else 100_000
    more = {"OPENQOE_FLUSH_INTERVAL": "5"}
    with WorkerProcess(settings(sink, **more), command=SHELLS[shell]) as worker:
        start = _restart(worker)
        empty = machine.memory(process_group(worker))
        for body in population.series(views // 10):
            worker.post(body)
        for body in population.views(views):
            worker.post(body)
        time.sleep(6)
        full = machine.memory(process_group(worker))
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
            "MB after": round(machine.memory(process_group(worker)) / 1e6),
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
    """Kill and restart a worker; return the seconds until it answers."""
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
