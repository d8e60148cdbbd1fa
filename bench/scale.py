"""Measures how costs in the core grow with the numbers of series, views and admitted values.

    python -m bench.scale [--quick]

Each row fills a worker, then measures the CPU time of an event of the usual load and of a flush
with its snapshot: the total, and the longest single call, which bounds the delay of a request. All
are CPU times of the process; the shortest of several rounds counts. The ratio of an event to its
floor (``bench.workload.floor``), measured in the same rounds, shows whether the cost is constant.
"""

import gc
import json
import time
from collections.abc import Iterable
from typing import Any

from bench import population, results, workload
from openqoe.core import Config, Request, Worker
from openqoe.core.effects import Append, Effect, Persist, Stored
from tests.support.handling import handle

QUICK = results.is_quick()
ROUNDS = 3 if QUICK else 10
EVENTS = 3_000 if QUICK else 20_000
INTERVAL = 15_000

SERIES = (1_000, 10_000) if QUICK else (1_000, 10_000, 100_000, 200_000)
VIEWS = (1_000, 10_000) if QUICK else (10_000, 100_000, 1_000_000)
ADMITTED = (100, 1_000) if QUICK else (100, 10_000, 100_000)


def encode_limits(most: int) -> str:
    return json.dumps({"limits": {"player_id": {"max_cardinality": most, "action": "allow"}}})


class Filled:
    """A worker with some state; its disk completes writes at once."""

    def __init__(self, bodies: Iterable[bytes], most: int = 200_000) -> None:
        config = Config.from_environment(
            {
                "PROMETHEUS_URL": "http://localhost/w",
                "LOKI_URL": "http://localhost/l",
                "OPENQOE_MAX_SERIES": "10000000",
                "OPENQOE_MAX_VIEWS": "10000000",
                "CARDINALITY_LIMITS": encode_limits(most),
            }
        )
        self.worker = Worker(config, instance="bench-0", durable=True)
        self.now = int(time.time() * 1000)
        self.snapshot = 0
        for body in bodies:
            self.handle(body)
        # The first flush of a series costs more: it encodes the labels.
        self.first_hold = self.flush()[1]

    def handle(self, body: bytes) -> None:
        request = Request("POST", "/v1/events", body=body, first_byte_at=self.now)
        outcome = handle(self.worker, request, self.now)
        assert outcome.response.status == 202, outcome.response
        self._run(outcome.effects)

    def flush(self) -> tuple[float, float, int]:
        """Flush; return the total time in ms, that of the longest call, and the number of calls."""
        self.now += INTERVAL
        calls = []
        persisted = False
        while not persisted:
            begin = time.process_time()
            effects = self.worker.poll(self.now)
            calls.append((time.process_time() - begin) * 1000)
            persisted = self._run(effects)
        return sum(calls), max(calls), len(calls)

    def _run(self, effects: Iterable[Effect]) -> bool:
        persisted = False
        for effect in effects:
            if isinstance(effect, Persist):
                persisted = True
                self.snapshot = sum(map(len, effect.snapshot))
            if isinstance(effect, Append | Persist):
                self._run(self.worker.complete(effect.id, Stored(), self.now))
        return persisted


def measure(subject: str, count: int, filled: Filled, bodies: list[bytes]) -> dict[str, Any]:
    gc.collect()
    gc.freeze()
    each = len(bodies) // ROUNDS
    costs, floors = [], []
    flushes = []
    for number in range(ROUNDS):
        part = bodies[number * each : (number + 1) * each]
        begin = time.process_time()
        for body in part:
            filled.handle(body)
        middle = time.process_time()
        workload.floor(part)
        costs.append((middle - begin) / each / 10 * 1e6)
        floors.append((time.process_time() - middle) / each / 10 * 1e6)
        flushes.append(filled.flush())
    row = {
        "what": subject,
        "count": count,
        "µs/event": round(min(costs), 2),
        "floors": round(min(costs) / min(floors), 1),
        "flush ms": round(min(flush[0] for flush in flushes), 1),
        "longest hold ms": round(max(flush[1] for flush in flushes), 1),
        "first flush's longest ms": round(filled.first_hold, 1),
        "calls": flushes[-1][2],
        "snapshot MB": round(filled.snapshot / 1e6, 2),
    }
    results.show(row)
    gc.unfreeze()
    return row


def main() -> None:
    rows = []
    bodies = list(workload.bodies(10, EVENTS // 10))
    for count in SERIES:
        rows.append(measure("live series", count, Filled(population.series(count)), bodies))
    for count in VIEWS:
        rows.append(measure("known views", count, Filled(population.views(count)), bodies))
    for count in ADMITTED:
        made = population.series(count, codes=1)
        rows.append(measure("admitted values", count, Filled(made, most=10 * count), bodies))
    new_players = list(population.with_new_players(bodies))
    for count in ADMITTED:
        made = population.series(count, codes=1)
        rows.append(measure("values past a limit", count, Filled(made, most=count), new_players))
    results.save("scale", rows)


if __name__ == "__main__":
    main()
