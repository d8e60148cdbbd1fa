"""Measures whether a worker keeps up for minutes on end.

    python -m bench.sustained [--quick] [saturation] [interval] [views]

All workers deliver to a receiver that accepts everything.

- saturation: 16 connections, each with one request at a time, keep a worker with 100,000 series
  busy for two minutes: accepted events, 503s, latencies.
- interval: a worker with 70,000 series and a flush interval of 1 s runs for ten minutes beside a
  light load: the largest age of its queues, and the interval that it keeps.
- views: 400 new views a second for twenty minutes: memory in each of them.

The generator shares the machine's cores: compare runs of one machine and one hour.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from bench import load_generator, machine, population, results, workload
from bench.sink import Sink
from tests.support.event_builders import batch, event
from tests.support.worker_process import WorkerProcess

QUICK = results.is_quick()
SATURATION_SECONDS = 10.0 if QUICK else 120.0
SATURATION_SERIES = 10_000 if QUICK else 100_000
INTERVAL_SECONDS = 20.0 if QUICK else 600.0
INTERVAL_SERIES = 7_000 if QUICK else 70_000
VIEWS_SECONDS = 20.0 if QUICK else 1_200.0
VIEWS_PER_SECOND = 400
CONNECTIONS = 16
BATCH = 10


def worker(sink: Sink, **settings: str) -> WorkerProcess:
    """A worker that delivers to the sink."""
    return WorkerProcess(
        {
            "OPENQOE_LOG_LEVEL": "warning",
            "PROMETHEUS_URL": f"{sink.url}/api/v1/write",
            "LOKI_URL": f"{sink.url}/loki/api/v1/push",
            **settings,
        }
    )


def process_of(running: WorkerProcess) -> int:
    assert running.process is not None
    return running.process.pid


def measure_saturation(sink: Sink) -> dict[str, Any]:
    """Keep connections busy; rejections, throughput and latencies."""
    with worker(sink) as running:
        for body in population.series(SATURATION_SERIES):
            running.post(body)
        before = machine.cpu_seconds(process_of(running))
        load = load_generator.run_closed_loop(
            running.port,
            load_generator.encode_posts(list(workload.bodies(BATCH, 2_000))),
            CONNECTIONS,
            SATURATION_SECONDS,
        )
        cpu = machine.cpu_seconds(process_of(running)) - before
        refused = {
            reason: round(
                running.read_metric("openqoe_worker_requests_refused_total", reason=reason)
            )
            for reason in ("bytes", "wait")
        }
    return {
        "events/s": round(load.rate * BATCH),
        "requests": load.statuses.total(),
        "503s": load.statuses[503],
        "refused": refused,
        "CPU µs/event": round(cpu / (load.statuses[202] * BATCH) * 1e6, 1),
        **{f"p{p}": round(load.percentile(p / 100), 1) for p in (50, 95, 99, 99.9)},
    }


def measure_interval(sink: Sink) -> dict[str, Any]:
    """Observe the queues of a worker with a short flush interval."""
    ages: list[float] = []
    intervals: list[float] = []
    with worker(sink, OPENQOE_FLUSH_INTERVAL="1") as running:
        for body in population.series(INTERVAL_SERIES):
            running.post(body)
        before, began = machine.cpu_seconds(process_of(running)), time.monotonic()
        requests = load_generator.encode_posts(list(workload.bodies(BATCH, 2_000)))
        sender = threading.Thread(
            target=load_generator.run_at_rate,
            args=(running.port, requests, 10.0, [INTERVAL_SECONDS], CONNECTIONS),
        )
        sender.start()
        while time.monotonic() - began < INTERVAL_SECONDS:
            time.sleep(1)
            stats = json.loads(running.request("GET", "/stats")[2])
            ages.append(max((one["oldest_age"] or 0) / 1000 for one in stats["destinations"]))
            intervals.append(stats.get("flush_interval_ms", {}).get("current", 1_000) / 1000)
        sender.join()
        cpu = machine.cpu_seconds(process_of(running)) - before
        notices = [record["event"] for record in running.log_records()]
    return {
        "series": INTERVAL_SERIES,
        "seconds": round(INTERVAL_SECONDS),
        "largest age s": round(max(ages), 1),
        "age at the end s": round(ages[-1], 1),
        "largest interval s": max(intervals),
        "interval at the end s": intervals[-1],
        "of a core": round(cpu / INTERVAL_SECONDS, 2),
        "log": notices,
    }


def measure_views(sink: Sink) -> dict[str, Any]:
    """Send new views at a constant rate; resident memory at the end of each minute."""
    memory: list[int] = []
    with worker(sink) as running:
        part = min(60.0, VIEWS_SECONDS)
        for _ in range(round(VIEWS_SECONDS / part)):
            load_generator.run_at_rate(
                running.port,
                _heads(_new_views()),
                VIEWS_PER_SECOND / BATCH,
                [part],
                CONNECTIONS,
            )
            memory.append(round(machine.memory(process_of(running)) / 1e6))
        views = running.read_metric("openqoe_worker_views_live")
    return {"views/s": VIEWS_PER_SECOND, "MB": memory, "live views": round(views)}


_view_numbers = iter(range(sys.maxsize))


def _new_views() -> Iterator[bytes]:
    """Batches of views that start, play and end."""
    while True:
        now = int(time.time() * 1000)
        views = [f"view-{next(_view_numbers)}" for _ in range(BATCH)]
        yield batch(
            *(
                event(kind, at=now + at, view_id=view, data={})
                for view in views
                for at, kind in enumerate(("viewstart", "playing", "ended"))
            )
        )


def _heads(bodies: Iterator[bytes]) -> Iterator[bytes]:
    for body in bodies:
        yield next(load_generator.encode_posts([body]))


def main() -> None:
    parts = {
        "saturation": measure_saturation,
        "interval": measure_interval,
        "views": measure_views,
    }
    asked = [name for name in parts if name in sys.argv[1:]] or list(parts)
    with Sink() as sink:
        for name in asked:
            row = {"load": name, **parts[name](sink)}
            results.show(row)
            results.save(f"sustained-{name}", [row])


if __name__ == "__main__":
    main()
