"""What a 202 promised is kept through outages: receivers, disks and neighbours that fail."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import chaos
from tests.support.chaos import Players
from tests.support.events import batch, event
from tests.support.loki import LokiDouble
from tests.support.process import WorkerProcess, serve
from tests.support.prometheus import Prometheus
from tests.support.receiver import RemoteWriteDouble
from tests.support.services import require, wait_until

SHELLS = ("asyncio", "trio", "wsgi")

STARTED = "openqoe_views_started_total"


def view(number: int, *, padding: int = 0) -> bytes:
    now = int(time.time() * 1000)
    data = {"padding": os.urandom(padding // 2).hex()}
    return batch(event("viewstart", at=now, view_id=f"v-{number}", data=data))


def started(prometheus: Prometheus) -> int:
    """Views started, by the newest sample of each series ever written."""
    return int(sum(series.samples[-1][1] for series in prometheus.samples(STARTED)))


@pytest.fixture
def receiver() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble() as double:
        yield double


@pytest.fixture
def loki() -> Iterator[LokiDouble]:
    with LokiDouble() as double:
        yield double


def settings(receiver: RemoteWriteDouble, loki: LokiDouble, **more: str) -> dict[str, str]:
    return {
        "PROMETHEUS_URL": receiver.write_url,
        "LOKI_URL": loki.push_url,
        "OPENQOE_FLUSH_INTERVAL": "0.2",
        **more,
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_a_prometheus_that_hangs_and_one_that_restarts_miss_nothing(shell: str) -> None:
    require("prometheus")
    with Prometheus() as prometheus:
        wanted = {
            "PROMETHEUS_URL": prometheus.write_url,
            "OPENQOE_FLUSH_INTERVAL": "0.3",
            "OPENQOE_DELIVERY_TIMEOUT": "1",
        }
        with WorkerProcess(wanted, command=chaos.SHELLS[shell]) as worker:
            players = Players(worker, 2, seed=1)
            for fail, heal in (
                (prometheus.pause, prometheus.resume),
                (prometheus.stop, prometheus.start),
            ):
                time.sleep(0.5)
                fail()
                before = len(players.acknowledged)
                time.sleep(1.5)
                assert len(players.acknowledged) > before + 10  # nobody waits for Prometheus
                heal()
            players.end()
            assert worker.stop(30) == 0
            assert '"stopped"' in worker.log_text()
        assert started(prometheus) == len(players.acknowledged)
        # It complains of itself when it is stopped in a write.
        rejects = prometheus.rejects(copies_allowed=True)
        assert rejects.out_of_order == rejects.out_of_bounds == rejects.too_old == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_a_slot_left_behind_is_delivered_by_a_running_neighbour(
    shell: str, receiver: RemoteWriteDouble, loki: LokiDouble
) -> None:
    wanted = settings(receiver, loki, OPENQOE_FLUSH_INTERVAL="60")
    with WorkerProcess(wanted, command=chaos.SHELLS[shell]) as first:
        shared = {**wanted, "OPENQOE_DATA_DIR": str(first.data)}
        with WorkerProcess(shared, command=chaos.SHELLS[shell]) as second:
            for number in range(7):
                assert first.post(view(number))[0] == 202
            assert second.post(view(7))[0] == 202
            first.kill()
            for file in (first.data / "slot-0").iterdir():  # which makes it long ago
                os.utime(file, (time.time() - 3600,) * 2)
            wait_until(lambda: receiver.total(STARTED) == 7, timeout=15, what="the neighbour")
            wait_until(lambda: "slot 0 (left behind): 0" in second.command("outbox"), what="rest")
            assert len(loki.entries()) == 7
            # It comes back and goes on where its neighbour left off.
            first.start()
            assert first.post(view(8))[0] == 202
            assert first.stop() == second.stop() == 0
    assert receiver.total(STARTED) == 9
    instances = {dict(labels)["instance"] for labels in receiver.select(STARTED)}
    assert len(instances) == 2
    assert receiver.violations == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_refuses_batches_until_there_is_room_and_loses_none(
    receiver: RemoteWriteDouble, loki: LokiDouble, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small file system")
    try:
        wanted = settings(receiver, loki, OPENQOE_DATA_DIR=str(small / "data"))
        with WorkerProcess(wanted, command=serve) as worker:
            assert worker.post(view(0))[0] == 202
            wait_until(lambda: receiver.total(STARTED) == 1, what="the first view")
            hog = small / "hog"
            room = os.statvfs(small)
            hog.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - (15 << 20)))
            bodies = [view(n, padding=2_000) for n in range(1, 20)]
            answers = [worker.request("POST", "/v1/events", body) for body in bodies]
            assert {status for status, _, _ in answers} == {503}
            assert all("retry-after" in headers for _, headers, _ in answers)
            assert worker.request("GET", "/ready")[0] == 503
            assert worker.request("GET", "/health")[0] == 200
            time.sleep(1.5)  # attempts to make it good change nothing while the disk is full
            assert worker.request("POST", "/v1/events", bodies[0])[0] == 503
            hog.unlink()
            wait_until(lambda: worker.request("GET", "/ready")[0] == 200, what="room")
            for body in bodies[:10]:
                assert worker.request("POST", "/v1/events", body)[0] == 202
            assert worker.stop() == 0
            events = [line["event"] for line in worker.log()]
            assert events.count("storage works again") == 1
        # At most the first of the others took effect before the disk was known to be full.
        assert 11 <= receiver.total(STARTED) <= 12
    finally:
        subprocess.run(["umount", str(small)], check=True)


def damaged(file: Path, *, wholly: bool) -> None:
    if wholly:
        file.write_bytes(os.urandom(20_000))
        return
    size = file.stat().st_size
    with file.open("r+b") as opened:  # not only a few pages: those might be free ones
        opened.seek(size // 2)
        opened.write(os.urandom(size // 2))


@pytest.mark.parametrize("wholly", [False, True], ids=["half of it", "wholly"])
def test_a_damaged_file_is_kept_aside_and_the_worker_serves(
    receiver: RemoteWriteDouble, loki: LokiDouble, *, wholly: bool
) -> None:
    wanted = settings(receiver, loki, OPENQOE_SHUTDOWN_TIMEOUT="1")
    with WorkerProcess(wanted, command=serve) as worker:
        receiver.fail_with(503, times=None)
        loki.fail_with(503, times=None)
        for number in range(30):
            assert worker.post(view(number, padding=4_000))[0] == 202
        assert worker.stop() == 0  # what waits is in the one file now
        file = worker.data / "slot-0" / "worker.db"
        damaged(file, wholly=wholly)
        receiver.heal()
        loki.heal()
        worker.start()
        assert worker.post(view(30))[0] == 202
        assert worker.request("GET", "/ready")[0] == 200
        assert worker.stop() == 0
        assert [one.name for one in file.parent.glob("*damaged*")] == ["worker.db.damaged-1"]
        (line,) = [line for line in worker.log() if "was damaged" in line["event"]]
        assert line["recovered"]  # the rows: tests/shells/storage/test_storage.py
        assert line["kept_as"] == "worker.db.damaged-1"
        assert "Traceback" not in worker.log_text()
    assert 1 <= receiver.total(STARTED) <= 31
    assert any("v-30" in entry.line for entry in loki.entries())
