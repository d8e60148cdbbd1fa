"""A process that stops logs how many batches stay on disk, and for which slots."""

import json
from pathlib import Path
from queue import SimpleQueue

import msgspec
import pytest

from openqoe.core import Config, Response
from openqoe.core.cluster.forwarding import ForwardedBatch
from openqoe.core.cluster.partition import owner_of
from openqoe.shells.service import logs
from openqoe.shells.service.bootstrap import open_runtime
from openqoe.shells.service.clock import now_ms
from openqoe.shells.wsgi_shell.service import Service
from tests.support.event_builders import batch, event, post
from tests.support.services import PATIENCE, wait_until


def name_view(slot: int) -> str:
    return next(name for n in range(99) if owner_of(name := f"view-{n}", 2) == slot)


def encode_forwarded(number: int) -> bytes:
    now = now_ms()
    body = batch(event("heartbeat", at=now + number, view_id=name_view(0)))
    return msgspec.msgpack.encode([ForwardedBatch(now, None, b"%016d" % number, body)])


def test_stop_logs_the_batches_that_stay_for_each_slot(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data_dir=str(tmp_path), embedded="off", workers=2, log_format="json")
    log = logs.configure(config)
    service = Service(open_runtime(config, "t", log), log)
    service.start()
    for number in range(3):
        sent = event("heartbeat", at=now_ms() + number, view_id=name_view(1))
        assert service.answer(post(sent, now=now_ms())).status == 202
    service.flush_last(0)
    monkeypatch.setattr(service, "flush_last", lambda _: None)
    wait_until(lambda: service.worker.waiting_batches == 0)
    answers: SimpleQueue[Response] = SimpleQueue()
    for number in range(4):  # the first of them is flushed once more
        service.handle_peer(encode_forwarded(number), answers.put)
        assert answers.get(timeout=PATIENCE).status == 204
    service.close(0.1)
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (kept,) = (one for one in records if one["event"] == "batches kept for the next start")
    assert (kept["batches"], kept["slots"]) == (6, "slot-0: 3, slot-1: 3")
