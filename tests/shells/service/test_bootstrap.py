"""Recovery of a worker from the files of its slot."""

from pathlib import Path

import pytest

from openqoe.core import Config, Request, Respond
from openqoe.core.effects import Append, Record
from openqoe.shells.service import logs
from openqoe.shells.service.bootstrap import WorkerRuntime, open_runtime
from openqoe.shells.service.clock import now_ms


def open_worker(directory: Path) -> WorkerRuntime:
    config = Config(data_dir=str(directory), embedded="off", log_format="json")
    return open_runtime(config, "t", logs.configure(config))


def test_records_missing_at_start_are_counted_and_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = open_worker(tmp_path)
    assert runtime.storage is not None
    runtime.storage.start(lambda _: None)
    for number in range(1, 8):
        runtime.storage.submit(Append(number, Record(number, 0, b"{}", None, b"%016d" % number)))
    runtime.close()
    for segment in (tmp_path / "slot-0").glob("journal-*"):
        segment.write_bytes(b"")
    runtime = open_worker(tmp_path)
    (answer,) = (
        effect
        for effect in runtime.worker.handle(1, Request("GET", "/metrics"), now_ms())
        if isinstance(effect, Respond)
    )
    runtime.close()
    assert b"\nopenqoe_worker_records_missing_total 7\n" in answer.response.body
    assert "acknowledged batches are missing from the journal" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "used"), [(None, 4), (9, 9)])
def test_limits_of_keys_are_shared_by_the_workers_of_the_host(given: int | None, used: int) -> None:
    """However they are started: ``find_process_count`` knows gunicorn's options."""
    config = Config(durability="memory", embedded="off", workers=4, limit_workers=given)
    runtime = open_runtime(config, "t", logs.configure(config))
    runtime.close()
    assert runtime.worker.config.limit_workers == used
