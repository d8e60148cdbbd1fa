"""Acknowledged batches survive failing receivers, full disks, damaged files and dead neighbours."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from openqoe.core.config.destinations import Destination
from openqoe.core.delivery.destination_probe import build_probe
from openqoe.core.delivery.verdict import judge_answer
from openqoe.core.effects import HttpResult
from openqoe.core.wire import remote_write
from tests.support import chaos
from tests.support.chaos import Players
from tests.support.event_builders import batch, event
from tests.support.loki_double import LokiDouble
from tests.support.prometheus_server import Prometheus
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import require, wait_until
from tests.support.wire_codec import encode_write_request
from tests.support.worker_process import WorkerProcess, serve
from tests.support_tests.plain_client import send

SHELLS = ("asyncio", "trio", "wsgi")

STARTED = "openqoe_views_loaded_total"
HOUR = 3_600_000


def view(number: int, *, padding: int = 0) -> bytes:
    now = int(time.time() * 1000)
    data = {"padding": os.urandom(padding // 2).hex()}
    return batch(event("viewstart", at=now, view_id=f"v-{number}", data=data))


def started(prometheus: Prometheus) -> int:
    """The started views: the sum of the newest sample of each series."""
    return int(sum(series.samples[-1][1] for series in prometheus.samples(STARTED)))


def settings(receiver: RemoteWriteDouble, loki: LokiDouble, **more: str) -> dict[str, str]:
    return {
        "PROMETHEUS_URL": receiver.write_url,
        "LOKI_URL": loki.push_url,
        "OPENQOE_FLUSH_INTERVAL": "0.2",
        **more,
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_prometheus_that_hangs_or_restarts_misses_nothing(shell: str) -> None:
    require("prometheus")
    with Prometheus() as prometheus:
        wanted = {
            "PROMETHEUS_URL": prometheus.write_url,
            "OPENQOE_FLUSH_INTERVAL": "0.3",
            "OPENQOE_DELIVERY_TIMEOUT": "1",
        }
        with WorkerProcess(wanted, command=chaos.SHELLS[shell]) as worker:
            players = Players(worker, 2, seed=1)
            for begin_outage, end_outage in (
                (prometheus.pause, prometheus.resume),
                (prometheus.stop, prometheus.start),
            ):
                time.sleep(0.5)
                begin_outage()
                before = len(players.acknowledged)
                time.sleep(1.5)
                assert len(players.acknowledged) > before + 10  # clients do not wait for Prometheus
                end_outage()
            players.stop()
            assert worker.stop(30) == 0
            assert '"stopped"' in worker.log_text()
        assert started(prometheus) == len(players.acknowledged)
        # Prometheus logs a complaint when it is stopped during a write.
        rejects = prometheus.rejects(copies_allowed=True)
        assert rejects.out_of_order == rejects.out_of_bounds == rejects.too_old == 0


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "late_samples"),
        ("storage:\n  tsdb:\n    out_of_order_time_window: 48h\n", ""),
    ],
    ids=["without window", "with window"],
)
def test_prometheus_needs_an_out_of_order_window_for_a_backlog(config: str, reason: str) -> None:
    """Another worker's newer samples came first; the verdict names the missing setting."""
    require("prometheus")
    now = int(time.time() * 1000)
    late = ({"__name__": "late"}, [(now - 3 * HOUR, 0.0), (now - 3 * HOUR + 1, 1.0)])
    with Prometheus(config=config) as prometheus:
        for series in (({"__name__": "other"}, [(now, 1.0)]), late):
            body = encode_write_request([series])
            answer = send(prometheus.write_url, body, dict(remote_write.HEADERS))
        result = HttpResult(answer.status, {}, answer.text.encode())
        assert judge_answer("metrics", result, now).reason == reason
        assert len(prometheus.samples("late", "4h")) == (0 if reason else 1)


def test_probe_leaves_nothing_in_prometheus() -> None:
    require("prometheus")
    with Prometheus() as prometheus:
        probe = build_probe(Destination("prometheus", prometheus.write_url), "metrics", "protobuf")
        assert send(probe.url, probe.body, dict(probe.headers)).status == 204
        prometheus.assert_nothing_rejected()
        assert prometheus.query('{__name__=~".+"}') == []


@pytest.mark.parametrize("shell", SHELLS)
def test_slot_of_a_dead_process_is_adopted_by_its_neighbour(
    shell: str, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    wanted = settings(receiver, loki, OPENQOE_FLUSH_INTERVAL="1")
    with WorkerProcess(wanted, command=chaos.SHELLS[shell]) as first:
        shared = {**wanted, "OPENQOE_DATA_DIR": str(first.data)}
        with WorkerProcess(shared, command=chaos.SHELLS[shell]) as second:
            for number in range(7):
                assert first.post(view(number))[0] == 202
            first.kill()
            assert second.post(view(7))[0] == 202
            wait_until(lambda: receiver.total(STARTED) == 8, 15, "the neighbour's metrics")
            wait_until(lambda: len(loki.entries()) == 8, 15, "the neighbour's logs")
            # It restarts on another slot, and forwards to its neighbour.
            first.start()
            assert first.post(view(8))[0] == 202
            assert first.stop() == second.stop() == 0
    assert receiver.total(STARTED) == 9
    instances = {dict(labels)["instance"] for labels in receiver.select(STARTED)}
    assert len(instances) == 1
    assert receiver.violations == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_full_disk_refuses_batches_and_loses_no_accepted_one(
    receiver: RemoteWriteDouble, loki: LokiDouble, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system does not permit mounting a small file system")
    try:
        wanted = settings(receiver, loki, OPENQOE_DATA_DIR=str(small / "data"))
        with WorkerProcess(wanted, command=serve) as worker:
            assert worker.post(view(0))[0] == 202
            wait_until(lambda: receiver.total(STARTED) == 1, description="the first view")
            hog = small / "hog"
            room = os.statvfs(small)
            hog.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - (15 << 20)))
            bodies = [view(n, padding=2_000) for n in range(1, 20)]
            answers = [worker.request("POST", "/v1/events", body) for body in bodies]
            assert {status for status, _, _ in answers} == {503}
            assert all("retry-after" in headers for _, headers, _ in answers)
            assert worker.request("GET", "/ready")[0] == 503
            assert worker.request("GET", "/health")[0] == 200
            time.sleep(1.5)  # retries fail while the disk is full
            assert worker.request("POST", "/v1/events", bodies[0])[0] == 503
            hog.unlink()
            wait_until(lambda: worker.request("GET", "/ready")[0] == 200, description="room")
            for body in bodies[:10]:
                assert worker.request("POST", "/v1/events", body)[0] == 202
            assert worker.stop() == 0
            events = [line["event"] for line in worker.log_records()]
            assert events.count("storage is available again") == 1
        # At most one refused batch was applied before the full disk was detected.
        assert 11 <= receiver.total(STARTED) <= 12
    finally:
        subprocess.run(["umount", str(small)], check=True)


def damaged(file: Path, *, wholly: bool) -> None:
    if wholly:
        file.write_bytes(os.urandom(20_000))
        return
    size = file.stat().st_size
    with file.open("r+b") as opened:  # half of the file: a few pages might be free ones
        opened.seek(size // 2)
        opened.write(os.urandom(size // 2))


@pytest.mark.parametrize("wholly", [False, True], ids=["half of it", "wholly"])
def test_damaged_database_is_moved_aside_and_worker_serves(
    receiver: RemoteWriteDouble, loki: LokiDouble, *, wholly: bool
) -> None:
    wanted = settings(receiver, loki, OPENQOE_SHUTDOWN_TIMEOUT="1")
    with WorkerProcess(wanted, command=serve) as worker:
        receiver.fail_with(503, times=None)
        loki.fail_with(503, times=None)
        for number in range(30):
            assert worker.post(view(number, padding=4_000))[0] == 202
        assert worker.stop() == 0  # the undelivered payloads are in the database now
        file = worker.data / "slot-0" / "worker.db"
        damaged(file, wholly=wholly)
        receiver.clear_faults()
        loki.clear_faults()
        worker.start()
        assert worker.post(view(30))[0] == 202
        assert worker.request("GET", "/ready")[0] == 200
        assert worker.stop() == 0
        assert [one.name for one in file.parent.glob("*damaged*")] == ["worker.db.damaged-1"]
        (line,) = [line for line in worker.log_records() if "was damaged" in line["event"]]
        assert line["recovered"]  # the rows: tests/shells/storage/test_storage.py
        assert line["kept_as"] == "worker.db.damaged-1"
        assert "Traceback" not in worker.log_text()
    assert 1 <= receiver.total(STARTED) <= 31
    assert any("v-30" in entry.line for entry in loki.entries())
