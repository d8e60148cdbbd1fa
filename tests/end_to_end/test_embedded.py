"""The embedded store of real processes: crashes, several processes, no journal."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import pytest

from tests.embedded.stored_rig import by_series, rows
from tests.support import chaos
from tests.support.event_builders import view_batch
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess, serve, with_options

FAST = {"OPENQOE_FLUSH_INTERVAL": "0.3"}


def counted(data: Path) -> float:
    """The started views: the sum of the newest sample of each series."""
    total = 0.0
    for labels, samples in by_series(data).items():
        if dict(labels)["__name__"] == "openqoe_views_loaded_total":
            values = [value for _, value in samples if value is not None]
            assert values == sorted(values), "a counter went down"
            total += values[-1]
    return total


def logged(data: Path) -> list[str]:
    return [json.loads(line)["view_id"] for (line,) in rows(data, "SELECT line FROM entries")]


@pytest.mark.parametrize("shell", chaos.SHELLS)
def test_worker_killed_under_load_stores_every_event_once(shell: str) -> None:
    chance = Random(7)
    with WorkerProcess(FAST, command=chaos.SHELLS[shell]) as worker:
        players = chaos.Players(worker, 4, seed=7)
        for _ in range(2):
            time.sleep(chance.uniform(0.2, 0.8))
            worker.kill()
            worker.start()
        players.stop()
        worker.stop(30)
        assert '"stopped"' in worker.log_text(), worker.log_text()[-3000:]
        assert len(players.acknowledged) > 20
        views = logged(worker.data)
        assert sorted(views) == sorted(players.acknowledged)
        assert counted(worker.data) == len(players.acknowledged)


def test_workers_of_one_host_write_to_one_store() -> None:
    with WorkerProcess(FAST, command=with_options(serve, "--workers", "2")) as worker:
        for number in range(40):
            assert worker.post(view_batch(number % 30))[0] == 202
        wait_until(lambda: len(rows(worker.data, "SELECT 1 FROM entries")) >= 30, 20, "the events")
        wait_until(lambda: counted(worker.data) == 30, 20, "the views")
        instances = "SELECT DISTINCT instance FROM series"
        wait_until(lambda: len(rows(worker.data, instances)) == 2, 20, "the health metrics of both")
        assert worker.request("GET", "/")[0] == 200
        assert worker.stop() == 0


def test_embedded_store_receives_data_without_journal() -> None:
    with WorkerProcess({**FAST, "OPENQOE_DURABILITY": "memory"}) as worker:
        assert worker.post(view_batch(1))[0] == 202
        wait_until(lambda: counted(worker.data) == 1, description="the view")
        wait_until(lambda: logged(worker.data) == ["v-1"], description="the event")
        worker.kill()
        assert not list(worker.data.glob("slot-*"))
        worker.start()
        assert worker.post(view_batch(2))[0] == 202
        assert worker.stop() == 0
        assert logged(worker.data) == ["v-1", "v-2"]


def test_drain_command_writes_data_of_dead_process_to_store() -> None:
    with WorkerProcess({"OPENQOE_FLUSH_INTERVAL": "3600"}) as worker:
        for number in range(5):
            assert worker.post(view_batch(number))[0] == 202
        worker.kill()
        assert logged(worker.data) == []
        worker.run_command("drain", "--timeout", "20")
        assert sorted(logged(worker.data)) == [f"v-{number}" for number in range(5)]
        assert counted(worker.data) == 5


def test_start_log_names_dashboard_address() -> None:
    with WorkerProcess() as worker:
        (serving,) = [line for line in worker.log_records() if line["event"] == "serving"]
        assert serving["dashboard"] == f"{worker.url}/"
    with WorkerProcess({"OPENQOE_DASHBOARD": "no"}) as worker:
        (serving,) = [line for line in worker.log_records() if line["event"] == "serving"]
        assert "dashboard" not in serving
        assert worker.request("GET", "/")[0] == 404
