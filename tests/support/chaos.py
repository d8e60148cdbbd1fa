"""Injects faults into a running service and checks its counts: `make chaos`.

Players post batches and resend each until it is acknowledged, as the SDKs do. Meanwhile the process
is killed and Loki refuses requests. At the end every acknowledged event must be counted exactly
once in Prometheus and logged once in Loki.
"""

import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPException
from random import Random

from tests.support.event_builders import batch, event
from tests.support.loki_double import LokiDouble
from tests.support.prometheus_server import Prometheus
from tests.support.worker_process import (
    Command,
    WorkerProcess,
    gunicorn,
    serve,
    serve_trio,
    uvicorn,
)

SHELLS: dict[str, Command] = {
    "asyncio": serve,
    "trio": serve_trio,
    "wsgi": gunicorn("gthread"),
    "asgi": uvicorn,
}


class Players:
    """Threads that post views, each until it is acknowledged."""

    def __init__(self, worker: WorkerProcess, number: int, seed: int) -> None:
        self.acknowledged: set[str] = set()
        self.resent = 0
        self._worker = worker
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._play, args=(n, Random(f"{seed}-{n}")))
            for n in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _play(self, player: int, chance: Random) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            view = f"v-{player}-{number}"
            body = batch(event("viewstart", at=int(time.time() * 1000), view_id=view))
            tries = 0
            while not self._post(body):
                tries += 1
                time.sleep(0.02)
            if chance.random() < 0.1:  # as if the response had been lost
                tries += self._post(body)
            with self._lock:
                self.acknowledged.add(view)
                self.resent += tries

    def _post(self, body: bytes) -> bool:
        try:
            return self._worker.post(body)[0] == 202
        except (OSError, ValueError, HTTPException):
            return False


@dataclass
class Report:
    """The injected faults and the resulting counts."""

    shell: str
    acknowledged: int = 0
    counted: int = 0
    logged: int = 0
    resent: int = 0
    logged_twice: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> int:
        return max(0, self.acknowledged - min(self.counted, self.logged))

    @property
    def counted_twice(self) -> int:
        return max(0, self.counted - self.acknowledged)


def run(shell: str, *, kills: int, seed: int = 1) -> Report:
    """Kill a shell repeatedly under load while receivers fail."""
    chance = Random(seed)
    report = Report(shell)
    with Prometheus() as prometheus, LokiDouble() as loki:
        settings = {
            "PROMETHEUS_URL": prometheus.write_url,
            "LOKI_URL": loki.push_url,
            "OPENQOE_FLUSH_INTERVAL": "0.5",
            "OPENQOE_DELIVERY_TIMEOUT": "2",
        }
        with WorkerProcess(settings, command=SHELLS[shell]) as worker:
            players = Players(worker, 4, seed)
            for number in range(kills):
                time.sleep(chance.uniform(0.2, 1.2))
                if number % 4 == 1:
                    loki.fail_with(503, times=3)
                    report.faults["Loki refused"] += 1
                worker.kill()
                report.faults["killed"] += 1
                worker.start()
            players.stop()
            worker.stop(30)
            assert '"stopped"' in worker.log_text(), worker.log_text()[-3000:]
        report.acknowledged = len(players.acknowledged)
        report.resent = players.resent
        series = prometheus.samples("openqoe_views_loaded_total")
        report.counted = int(sum(one.samples[-1][1] for one in series))
        views = Counter(entry.line for entry in loki.entries())
        report.logged = len(views)
        report.logged_twice = sum(views.values()) - len(views)
        # A kill may interrupt a delivery, or come after it and before it is recorded.
        prometheus.assert_nothing_rejected(cut_off_allowed=True, copies_allowed=True)
    return report


def main() -> None:
    """Print the report for each shell."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    failed = False
    for shell in SHELLS:
        report = run(shell, kills=kills)
        failed |= bool(report.lost or report.counted_twice)
        faults = ", ".join(f"{count} x {kind}" for kind, count in report.faults.items())
        print(
            f"{shell:8} {faults}; batches sent again {report.resent}; acknowledged "
            f"{report.acknowledged}, counted {report.counted}, logged {report.logged}; "
            f"lost {report.lost}, counted twice {report.counted_twice}",
            flush=True,
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
