"""Delivery of what ended processes left in their slots."""

from pathlib import Path

import pytest

from openqoe.core import Config
from openqoe.shells.cli.slot_delivery import deliver_slots
from openqoe.shells.service import logs
from openqoe.shells.service.bootstrap import open_runtime
from openqoe.shells.service.clock import now_ms
from openqoe.shells.storage import Slots, inspect_slot
from openqoe.shells.wsgi_shell.service import Service
from tests.support.event_builders import event, post


@pytest.mark.parametrize("is_final", [False, True])
def test_only_final_delivery_counts_stalls_that_wait_for_later_events(
    tmp_path: Path, is_final: bool
) -> None:
    config = Config(data_dir=str(tmp_path), embedded="off")
    log = logs.configure(config)
    service = Service(open_runtime(config, "t", log), log)
    service.start()
    now = now_ms()
    events = (
        event(name, at=now + 1000 * second)
        for second, name in enumerate(("playing", "heartbeat", "stallstart"))
    )
    assert service.answer(post(*events, now=now)).status == 202
    service.close(5)
    database = Slots(tmp_path).database_path(0)
    assert inspect_slot(database).pending_views == 1
    assert not deliver_slots(config, log, 5, is_final=is_final)
    assert inspect_slot(database).pending_views == (0 if is_final else 1)
