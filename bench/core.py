"""µs of CPU per event through the core, by stage, beside the floor.

    python -m bench.core

The floor is what no implementation can do without: typed decode and snappy of the same bytes. It
is measured in turn with the stages, in process time, and the shortest of many short runs counts:
what others do on the machine only ever makes a run longer.
"""

import gc
import platform
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bench import results, workload
from openqoe.core import Config, Request, Worker
from openqoe.core.engine.dedup import digest_of
from openqoe.core.events.decoder import BatchDecoder
from tests.support.handling import handle

SIZES = (1, 10, 100, 1000)
EVENTS = 10_000
RUNS = 15

CONFIG = Config(prometheus_url="http://localhost/w", loki_url="http://localhost/l")


class Row(NamedTuple):
    """What one stage costs at one size of batches.

    Attributes:
        size: Events in a batch.
        stage: "floor", one of ``STAGES``, or "total" for all stages together.
        micros: µs of CPU per event.
        floors: The same in floors.
    """

    size: int
    stage: str
    micros: float
    floors: float


class Bench:
    """Batches of one size, and the stages that they go through."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.now = int(time.time() * 1000)
        self.bodies = list(workload.bodies(size, EVENTS // size))
        decoder = BatchDecoder(CONFIG)
        self._decode = decoder.decode
        self.batches = [decoder.decode(body, self.now) for body in self.bodies]
        ingest = self.worker()._ingest
        self.events = [ingest._by_time(batch, None, self.now) for batch in self.batches]

    def worker(self) -> Worker:
        """A new worker, which knows nothing."""
        return Worker(CONFIG, instance="bench-0")

    def fed(self) -> Worker:
        """A worker with all events."""
        worker = self.worker()
        self.handle(worker)
        return worker

    def floor(self, _: object = None) -> None:
        workload.floor(self.bodies)

    def decode(self, _: object) -> None:
        for body in self.bodies:
            self._decode(body, self.now)

    def digest(self, _: object) -> None:
        for body in self.bodies:
            digest_of(body)

    def origins(self, worker: Worker) -> None:
        for batch in self.batches:
            worker._ingest._by_time(batch, None, self.now)

    def logs(self, worker: Worker) -> None:
        log = worker._outflow.log
        assert log is not None
        for events in self.events:
            log.add_events(events, worker._ingest.labeller, self.now)

    def metrics(self, worker: Worker) -> None:
        for events in self.events:
            worker._ingest.meter.record_events(
                [(event, origin) for event, _, origin in events], self.now
            )

    def handle(self, worker: Worker) -> None:
        for body in self.bodies:
            request = Request("POST", "/v1/events", body=body, received=self.now)
            status = handle(worker, request, self.now).response.status
            assert status == 202, status

    def flush(self, worker: Worker) -> None:
        worker.close(self.now + 15_000)

    def whole(self, worker: Worker) -> None:
        self.handle(worker)
        self.flush(worker)


INNER = ("decode", "digest", "origins", "logs", "metrics")
"""The stages of ``handle`` that are measured by themselves; "request" is the rest."""

STAGES = {
    "decode": "bytes to valid events",
    "digest": "is it a duplicate?",
    "origins": "governed labels, order by time",
    "logs": "log entries, kept",
    "metrics": "views followed, series counted",
    "request": "routing, answer, effects; log requests that are full",
    "flush": "series and the rest of the entries encoded and compressed",
}


def measure(sizes: Iterable[int] = SIZES) -> list[Row]:
    """The cost of every stage at each size of batches."""
    rows: list[Row] = []
    for size in sizes:
        bench = Bench(size)
        runs: dict[str, tuple[Callable[[Any], None], Callable[[], Any]]] = {
            "floor": (bench.floor, lambda: None),
            **{name: (getattr(bench, name), bench.worker) for name in INNER},
            "handled": (bench.handle, bench.worker),
            "flush": (bench.flush, bench.fed),
            "total": (bench.whole, bench.worker),
        }
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(RUNS):
            for name, (stage, prepare) in runs.items():
                subject = prepare()
                gc.collect()
                best[name] = min(best[name], _time(stage, subject))
        costs = {name: spent / EVENTS * 1e6 for name, spent in best.items()}
        costs["request"] = costs.pop("handled") - sum(costs[name] for name in INNER)
        rows += (Row(size, stage, cost, cost / costs["floor"]) for stage, cost in costs.items())
    return rows


def _time(run: Callable[[Any], None], subject: object) -> float:
    begin = time.process_time()
    run(subject)
    return time.process_time() - begin


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}; µs of CPU per event (floors)")
    rows = measure()
    cells = {(row.size, row.stage): f"{row.micros:.2f} ({row.floors:.1f})" for row in rows}
    print(f"{'batches of':12}" + "".join(f"{size:>14}" for size in SIZES))
    for stage in ("floor", *STAGES, "total"):
        print(f"{stage:12}" + "".join(f"{cells[size, stage]:>14}" for size in SIZES))
    micros = {(row.size, row.stage): round(row.micros, 2) for row in rows}
    floors = {row.size: round(row.floors, 1) for row in rows if row.stage == "total"}
    results.save(
        "core",
        [
            {
                "batch": size,
                "core µs": micros[size, "total"],
                "floor µs": micros[size, "floor"],
                "floors": floors[size],
                **{f"{stage} µs": micros[size, stage] for stage in STAGES},
            }
            for size in SIZES
        ],
    )


if __name__ == "__main__":
    main()
