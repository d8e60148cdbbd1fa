"""Measures the CPU time of an event in the core in µs, by stage and relative to a floor.

    python -m bench.core

The floor is the minimum for any implementation: typed decoding and snappy compression of the same
bytes. Floor and stages are measured alternately, in process time. The shortest of many short runs
counts, since other processes can only make a run longer.
"""

import gc
import platform
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bench import results, workload
from openqoe.core import Config, Request, Worker
from openqoe.core.effects import Record, Respond
from openqoe.core.engine.batch_applier import BatchApplier
from openqoe.core.engine.dedup import digest_of
from openqoe.core.events.batch import Batch
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.events.event_types import Event
from openqoe.core.qoe.event_context import EventContext
from openqoe.simulator import Simulation

SIZES = (1, 10, 100, 1000)
EVENTS = 10_000
RUNS = 15

CONFIG = Config(prometheus_url="http://localhost/w", loki_url="http://localhost/l")


class Row(NamedTuple):
    """The cost of one stage at one batch size.

    Attributes:
        size: Events per batch.
        stage: "floor", one of ``STAGES``, or "total" for all stages together.
        micros: CPU time per event in µs.
        floors: The same as a multiple of the floor.
    """

    size: int
    stage: str
    micros: float
    floors: float


class Bench:
    """The stages of the core, with batches of one size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.now = int(time.time() * 1000)
        self.bodies = list(workload.bodies(size, EVENTS // size))
        decoder = BatchDecoder(CONFIG)
        self._decode = decoder.decode
        self.batches = [decoder.decode(body, self.now) for body in self.bodies]
        self.records = [Record(1, self.now, body, None, b"") for body in self.bodies]
        applier = self.create_worker()._components.applier
        self.events = [self._order(applier, number) for number in range(len(self.bodies))]

    def _order(self, applier: BatchApplier, number: int) -> list[tuple[Event, bytes, EventContext]]:
        decoded = self.batches[number]
        return applier._by_time(decoded, Batch(self.records[number], decoded))

    def create_worker(self) -> Worker:
        """Create a worker without state."""
        return Worker(CONFIG, instance="bench-0")

    def create_filled_worker(self) -> Worker:
        """Create a worker that has handled all events."""
        worker = self.create_worker()
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
        applier = worker._components.applier
        for number in range(len(self.bodies)):
            self._order(applier, number)

    def logs(self, worker: Worker) -> None:
        components = worker._components
        log = components.log
        assert log is not None
        for events in self.events:
            log.add_events(events, components.applier.labeller, self.now)

    def metrics(self, worker: Worker) -> None:
        for events in self.events:
            worker._components.applier.recorder.record_events(
                [(event, origin) for event, _, origin in events], self.now
            )

    def handle(self, worker: Worker) -> None:
        for number, body in enumerate(self.bodies):
            request = Request("POST", "/v1/events", body=body, first_byte_at=self.now)
            answer = worker.handle(number, request, self.now)[0]
            assert isinstance(answer, Respond), answer
            assert answer.response.status == 202, answer

    def flush(self, worker: Worker) -> None:
        worker.close(self.now + 15_000)

    def handle_and_flush(self, worker: Worker) -> None:
        self.handle(worker)
        self.flush(worker)


INNER = ("decode", "digest", "origins", "logs", "metrics")
"""The stages of ``handle`` that are measured separately; "request" is the rest."""

STAGES = {
    "decode": "decoding and validation of events",
    "digest": "digest for the detection of duplicates",
    "origins": "governed labels, order by time",
    "logs": "buffering of log entries",
    "metrics": "playback models and series",
    "request": "routing, response, effects; full log requests",
    "flush": "encoding and compression of series and the remaining log entries",
}


def measure(sizes: Iterable[int] = SIZES) -> list[Row]:
    """Measure every stage at each batch size."""
    rows: list[Row] = []
    for size in sizes:
        bench = Bench(size)
        runs: dict[str, tuple[Callable[[Any], None], Callable[[], Any]]] = {
            "floor": (bench.floor, lambda: None),
            **{name: (getattr(bench, name), bench.create_worker) for name in INNER},
            "handled": (bench.handle, bench.create_worker),
            "flush": (bench.flush, bench.create_filled_worker),
            "total": (bench.handle_and_flush, bench.create_worker),
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


class CmcdCost(NamedTuple):
    """The cost of the records of simulated players.

    Attributes:
        micros: CPU time per record in µs, all stages together.
        per_request: Records of a request.
    """

    micros: float
    per_request: float


def measure_cmcd() -> CmcdCost:
    """Measure CMCD as players send it: most requests have one record."""
    now = int(time.time() * 1000)
    requests: list[Request] = []
    records = 0
    for batch in Simulation(0, 1, now - 600_000, cmcd_viewers=100).batches():
        if records >= EVENTS:
            break
        path, _, query = batch.path.partition("?")
        headers = {name.lower(): value for name, value in batch.headers}
        requests.append(Request("POST", path, query, headers, batch.body, now))
        records += len(batch.types)

    def handle(worker: Worker) -> None:
        for number, request in enumerate(requests):
            answer = worker.handle(number, request, now)[0]
            assert isinstance(answer, Respond), answer
            assert answer.response.status == 204, answer
        worker.close(now + 15_000)

    best = float("inf")
    for _ in range(RUNS):
        worker = Worker(CONFIG, instance="bench-0")
        gc.collect()
        best = min(best, _time(handle, worker))
    return CmcdCost(best / records * 1e6, records / len(requests))


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
    cmcd = measure_cmcd()
    print(f"CMCD: {cmcd.micros:.2f} µs a record in requests of {cmcd.per_request:.1f} records")
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
