"""Crashes of every shell: acknowledged batches survive SIGKILL, checked in a real Prometheus."""

import pytest

from tests.support import chaos
from tests.support.event_builders import view_batch
from tests.support.loki_double import LokiDouble
from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.services import require, wait_until
from tests.support.worker_process import WorkerProcess, serve


@pytest.mark.parametrize("shell", chaos.SHELLS)
def test_worker_killed_under_load_counts_every_event_once(shell: str) -> None:
    require("prometheus")
    report = chaos.run(shell, kills=4)
    assert report.acknowledged > 20
    assert report.counted == report.acknowledged
    assert report.logged == report.acknowledged
    assert report.logged_twice == 0


def test_drain_command_delivers_data_of_dead_process() -> None:
    with RemoteWriteDouble() as receiver, LokiDouble() as loki:
        receiver.fail_with(503, times=None)
        loki.fail_with(503, times=None)
        settings = {
            "PROMETHEUS_URL": receiver.write_url,
            "LOKI_URL": loki.push_url,
            "OPENQOE_FLUSH_INTERVAL": "0.2",
        }
        with WorkerProcess(settings, command=serve) as worker:
            for number in range(5):
                assert worker.post(view_batch(number))[0] == 202
            wait_until(
                lambda: "metrics for prometheus:" in worker.run_command("outbox"),
                description="the outbox",
            )
            shown = worker.run_command("outbox")
            assert "slot 0 (in use)" in shown
            worker.kill()
            assert "slot 0 (left behind)" in worker.run_command("outbox")
            assert "still queued" in worker.run_command("drain", "--timeout", "1", status=1)
            receiver.clear_faults()
            loki.clear_faults()
            worker.run_command("drain", "--timeout", "20")
            assert "slot 0 (left behind): 0 batches" in worker.run_command("outbox")
            assert "metrics for" not in worker.run_command("outbox")
        assert receiver.total("openqoe_views_loaded_total") == 5
        assert len(loki.entries()) == 5
        assert receiver.violations == []
