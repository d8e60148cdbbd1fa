"""Recovery of orphaned slots: a slot whose worker cannot be started is free for the next scan."""

from pathlib import Path

import pytest

from openqoe.core import Config
from openqoe.core.effects import Append, Record
from openqoe.shells.service import logs, orphan_recovery
from openqoe.shells.service.bootstrap import open_runtime
from openqoe.shells.service.orphan_recovery import open_orphaned_slots
from openqoe.shells.storage import Slots
from tests.support.event_builders import batch, event


@pytest.mark.parametrize("starts", [True, False])
def test_slot_is_released_when_its_worker_fails(tmp_path: Path, *, starts: bool) -> None:
    config = Config(
        data_dir=str(tmp_path), embedded="on", mimir_url="http://mimir.test", log_level="critical"
    )
    log = logs.configure(config)
    first = open_runtime(config, "t", log)
    first.start(lambda _: None, lambda *_: None)
    assert first.storage is not None
    first.storage.submit(Append(1, Record(1, 0, batch(event("viewstart")), None, b"d" * 16)))
    first.close()

    def recover() -> None:
        for runtime in open_orphaned_slots(config, log, min_idle=-1_000):
            if starts:
                runtime.start(lambda _: None, lambda *_: None)
            raise RuntimeError("no file descriptors left")

    with pytest.raises(RuntimeError):
        recover()
    slot = Slots(tmp_path).claim_orphan(0)
    assert slot is not None
    slot.release()


def test_slot_that_owns_no_views_is_recovered_by_a_running_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphan_recovery, "MIN_IDLE", -1_000)
    config = Config(
        data_dir=str(tmp_path), embedded="on", mimir_url="http://mimir.test", log_level="critical"
    )
    log = logs.configure(config)
    running = open_runtime(config, "t", log)
    other = open_runtime(config, "t", log)
    other.start(lambda _: None, lambda *_: None)
    assert other.storage is not None
    other.storage.submit(Append(1, Record(1, 0, batch(event("viewstart")), None, b"d" * 16)))
    other.close()
    scanner = orphan_recovery.OrphanScanner(config, log, running.slot)
    found = []
    for runtime in scanner.open_slots():
        assert runtime.slot is not None
        found.append((runtime.slot.number, runtime.owns_views))
        runtime.close()
    running.close()
    assert found == [(1, False)]
