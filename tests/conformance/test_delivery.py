"""Delivery over real sockets: acknowledged batches arrive despite failing destinations."""

import json
import threading
import time
from http.client import HTTPException

from tests.support.event_builders import view_batch
from tests.support.hosts import Host
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble, count_started_views
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess


def settings(receiver: RemoteWriteDouble, loki: LokiDouble, **more: str) -> dict[str, str]:
    return {
        "PROMETHEUS_URL": receiver.write_url,
        "LOKI_URL": loki.push_url,
        "OPENQOE_FLUSH_INTERVAL": "0.3",
        "OPENQOE_INSTANCE": "test-0",
        **more,
    }


def test_metrics_and_logs_arrive(host: Host, receiver: RemoteWriteDouble, loki: LokiDouble) -> None:
    with host.run(settings(receiver, loki)) as worker:
        for first in range(0, 50, 10):
            assert worker.post(view_batch(first, 10))[0] == 202
        wait_until(lambda: count_started_views(receiver) == 50, description="the metrics")
        wait_until(lambda: len(loki.entries()) == 50, description="the logs")
        assert worker.stop() in host.exits
    assert receiver.violations == []
    assert loki.rejected == []
    assert {entry.metadata["view_id"] for entry in loki.entries()} == {f"v-{n}" for n in range(50)}


def test_stop_delivers_acknowledged_batches(
    host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    with host.run(settings(receiver, loki, OPENQOE_FLUSH_INTERVAL="3600")) as worker:
        assert worker.post(view_batch(0, 100))[0] == 202
        assert receiver.request_count == 0
        assert worker.stop() in host.exits
    assert count_started_views(receiver) == 100
    assert len(loki.entries()) == 100


def test_stop_with_requests_in_flight_delivers_acknowledged_batches(
    host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    acknowledged = 0
    lock = threading.Lock()
    stopped = threading.Event()

    def send(worker: WorkerProcess, first: int) -> None:
        nonlocal acknowledged
        number = first
        while not stopped.is_set():
            try:
                status, _ = worker.post(view_batch(number, 5))
            except (OSError, ValueError, HTTPException):
                return  # not acknowledged
            if status == 202:
                with lock:
                    acknowledged += 5
            number += 5

    with host.run(settings(receiver, loki)) as worker:
        threads = [threading.Thread(target=send, args=(worker, 1_000_000 * n)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert worker.process is not None
        worker.process.send_signal(worker.stop_signal)
        assert worker.process.wait(20) in host.exits
        stopped.set()
        for thread in threads:
            thread.join()
    assert acknowledged > 0
    # A batch may have been accepted although its response was lost.
    assert acknowledged <= count_started_views(receiver) <= acknowledged + 4 * 5


def test_temporarily_failing_destinations_lose_nothing(
    host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    with host.run(settings(receiver, loki)) as worker:
        receiver.fail_with(500, times=2, body=b"ingester is <b>down</b>\nreally")
        loki.fail_with(429, times=2, headers={"Retry-After": "1"})
        for first in range(0, 30, 10):
            assert worker.post(view_batch(first, 10))[0] == 202
        wait_until(lambda: count_started_views(receiver) == 30, description="the metrics")
        wait_until(lambda: len(loki.entries()) == 30, description="the logs")
        worker.stop()
        log = worker.log_records()
    assert receiver.violations == []
    failing = [line for line in log if line.get("destination") == "prometheus"]
    levels = [line["level"] for line in failing if line["event"] != "destination"]
    assert levels == ["warning", "info"]  # one line for the outage, one for its end
    assert "ingester is <b>down</b>" in json.dumps(failing)


def test_hung_or_absent_destination_does_not_delay_requests(
    host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    more = {"OPENQOE_DELIVERY_TIMEOUT": "0.5", "OPENQOE_SHUTDOWN_TIMEOUT": "1"}
    with host.run(settings(receiver, loki, **more)) as worker:
        receiver.hang(30, times=None)
        loki.stop()
        begin = time.monotonic()
        for first in range(0, 200, 10):
            assert worker.post(view_batch(first, 10))[0] == 202
        assert time.monotonic() - begin < 20
        time.sleep(1)
        assert worker.count_events() == 200
        receiver.clear_faults()
        loki.start()
        wait_until(lambda: count_started_views(receiver) == 200, description="the metrics")
        wait_until(lambda: len(loki.entries()) == 200, description="the logs")


def test_lost_destination_does_not_delay_stop(
    host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    more = {"OPENQOE_SHUTDOWN_TIMEOUT": "1.5", "OPENQOE_DELIVERY_TIMEOUT": "0.5"}
    with host.run(settings(receiver, loki, **more)) as worker:
        receiver.fail_with(503, times=None)
        assert worker.post(view_batch(0, 10))[0] == 202
        begin = time.monotonic()
        assert worker.stop() in host.exits
        assert time.monotonic() - begin < 15
        kept = [line for line in worker.log_records() if line["event"] == "kept for the next start"]
        assert [line["destination"] for line in kept] == ["prometheus"]
        receiver.clear_faults()
        worker.start()  # which delivers the rest
        wait_until(
            lambda: count_started_views(receiver) == 10,
            description="the metrics",
        )


def test_logs_are_sent_as_json_when_configured(
    host: Host, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    with host.run(settings(receiver, loki, OPENQOE_LOKI_ENCODING="json")) as worker:
        assert worker.post(view_batch(0, 3))[0] == 202
        worker.stop()
    assert len(loki.entries()) == 3
    assert loki.rejected == []
    assert all("json" in request.headers["content-type"] for request in loki.requests)
