"""gunicorn with several processes: recycling and reloading lose nothing in a real Prometheus."""

import signal
import threading
import time
from http.client import HTTPException

from tests.support.event_builders import batch, event
from tests.support.prometheus_server import Prometheus
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import require
from tests.support.worker_process import WorkerProcess, gunicorn


def started(prometheus: Prometheus) -> float:
    """The started views over all processes: the sum of last minus first sample of each series."""
    ranges = prometheus.samples("openqoe_views_loaded_total")
    return sum(one.samples[-1][1] - one.samples[0][1] for one in ranges)


class Load:
    """Clients that post views until ``stop``.

    Attributes:
        acknowledged: Batches answered with 202.
        unknown: Batches without a response, which may have been accepted.
    """

    def __init__(self, worker: WorkerProcess, clients: int) -> None:
        self.acknowledged = 0
        self.unknown = 0
        self._worker = worker
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(n,)) for n in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _post(self, client: int) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            now = int(time.time() * 1000)
            body = batch(event("viewstart", at=now, view_id=f"v-{client}-{number}"))
            try:
                status, _ = self._worker.post(body)
            except (OSError, ValueError, HTTPException):
                # The batch may have been accepted; it is not resent.
                with self._lock:
                    self.unknown += 1
                continue
            with self._lock:
                self.acknowledged += status == 202


def test_processes_recycled_every_50_requests_lose_nothing() -> None:
    require("prometheus")
    recycling = gunicorn("gthread", "-w", "4", "--max-requests", "50")
    with Prometheus() as prometheus:
        settings = {"PROMETHEUS_URL": prometheus.write_url, "OPENQOE_FLUSH_INTERVAL": "0.5"}
        with WorkerProcess(settings, command=recycling) as worker:
            load = Load(worker, clients=4)
            give_up_at = time.monotonic() + 60
            processes = 0
            while processes <= 8 and time.monotonic() < give_up_at:
                time.sleep(0.2)
                processes = worker.log_text().count('"serving"')
            load.stop()
            has_rest = worker.stop_and_deliver(60)
        # Processes were recycled, and each claimed the slot of an earlier one.
        assert processes > 8
        assert len(prometheus.label_values("instance")) < 8
        assert load.acknowledged > 200
        assert load.acknowledged <= started(prometheus) <= load.acknowledged + load.unknown
        prometheus.assert_nothing_rejected(copies_allowed=has_rest)


def test_reload_under_load_loses_nothing() -> None:
    require("prometheus")
    with Prometheus() as prometheus:
        settings = {"PROMETHEUS_URL": prometheus.write_url, "OPENQOE_FLUSH_INTERVAL": "0.5"}
        with WorkerProcess(settings, command=gunicorn("gthread", "-w", "2")) as worker:
            load = Load(worker, clients=2)
            for _ in range(3):
                time.sleep(1)
                assert worker.process is not None
                worker.process.send_signal(signal.SIGHUP)
            time.sleep(1)
            load.stop()
            has_rest = worker.stop_and_deliver(60)
            processes = worker.log_text().count('"serving"')
        assert processes >= 6
        assert load.acknowledged > 50
        assert load.acknowledged <= started(prometheus) <= load.acknowledged + load.unknown
        prometheus.assert_nothing_rejected(copies_allowed=has_rest)


def test_preloaded_application_starts_service_after_fork() -> None:
    with RemoteWriteDouble() as receiver:
        settings = {"PROMETHEUS_URL": receiver.write_url, "OPENQOE_FLUSH_INTERVAL": "3600"}
        with WorkerProcess(settings, command=gunicorn("gthread", "--preload")) as worker:
            now = int(time.time() * 1000)
            assert worker.post(batch(event("viewstart", at=now)))[0] == 202
            assert worker.stop(30) == 0
            assert worker.process is not None
            parent = worker.process.pid
        assert receiver.total("openqoe_views_loaded_total") == 1
        instances = {dict(labels)["instance"] for labels in receiver.samples}
        assert len(instances) == 1
        assert not instances.pop().endswith(f"-{parent}")
