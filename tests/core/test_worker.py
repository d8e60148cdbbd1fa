"""The worker as a whole: properties that involve several components."""

import gc
import sys

import pytest

from openqoe.core import Config, HttpResult, NetworkFailure, RemoteWrite, Worker
from openqoe.core.qoe.recorder import Recorder
from tests.support.event_builders import NOW, event, post
from tests.support.handling import handle
from tests.support.rig import HOUR, Rig


def test_batch_that_fails_by_an_internal_fault_is_reported_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig()
    with monkeypatch.context() as broken:
        broken.setattr(Recorder, "record_events", lambda *args: 1 / 0)
        rig.post(event("viewstart", view_id="a"))
    (notice,) = rig.notices
    assert notice.event == "batch could not be applied"
    assert dict(notice.fields)["error"] == "ZeroDivisionError"
    rig.post(event("viewstart", view_id="b"))
    rig.flush()
    assert rig.total("openqoe_views_loaded_total") == 1
    assert rig.total("openqoe_worker_batches_rejected_total", reason="fault") == 1


def test_response_to_an_internal_fault_reveals_no_details() -> None:
    worker = Worker(Config(), instance="t-0")
    answer = worker.refuse(500, "Internal error", {"origin": "https://a.example"})
    assert (answer.status, answer.body) == (500, b'{"success":false,"message":"Internal error"}')
    assert ("Access-Control-Allow-Origin", "https://a.example") in answer.headers


def test_health_totals_do_not_restart_while_nothing_changes() -> None:
    rig = Rig(OPENQOE_SERIES_IDLE_TIMEOUT="60", OPENQOE_FLUSH_INTERVAL="15")
    rig.post(event(env="x"))
    rig.pass_time(HOUR // 4)
    selected = rig.receiver.select("openqoe_worker_events_accepted_total")
    values = [value for samples in selected.values() for _, value in samples]
    assert values[0] == 0
    assert set(values[1:]) == {1}


def test_new_label_values_do_not_accumulate_in_memory() -> None:
    worker = Worker(Config(), instance="t-0")

    def send(first: int) -> None:
        for start in range(first, first + 5_000, 500):
            events = [
                event("error", view_id="v", data={"error_code": f"code-{n}", "error_family": "f"})
                for n in range(start, start + 500)
            ]
            handle(worker, post(*events), NOW)

    def blocks() -> int:
        gc.collect()
        return sys.getallocatedblocks()

    send(0)
    before = blocks()
    send(100_000)
    assert blocks() - before < 1_250  # the 5,000 new texts would be one block each


def test_closed_worker_drains_although_its_destination_is_slow() -> None:
    config = Config(prometheus_url="http://m/w", flush_interval=1000)
    worker = Worker(config, instance="t-0")
    handle(worker, post(event()), NOW)
    worker.poll(NOW + 1000)
    now = NOW + 1100
    effects = worker.close(now)
    sent = 1  # in flight since the flush
    in_flight = 1
    while not worker.drained:
        now += 1500  # longer than the flush interval
        effects = (*worker.complete(in_flight, HttpResult(204), now), *worker.poll(now))
        requests = [effect for effect in effects if isinstance(effect, RemoteWrite)]
        sent += len(requests)
        if requests:
            in_flight = requests[0].id
        assert sent <= 2  # the request in flight, and the last flush


def test_retries_are_quick_after_close() -> None:
    worker = Worker(Config(prometheus_url="http://m/w"), instance="t-0")
    handle(worker, post(event()), NOW)
    now = NOW + 15_000
    effects = worker.poll(now)
    for _ in range(8):  # long enough for long retry intervals
        worker.complete(effects[-1].id, NetworkFailure("refused"), now)  # type: ignore[union-attr]
        due = worker.next_poll()
        assert due is not None
        now = max(due, now)
        effects = worker.poll(now) or effects
    worker.close(now)
    worker.complete(effects[-1].id, NetworkFailure("refused"), now)  # type: ignore[union-attr]
    due = worker.next_poll()
    assert due is not None
    assert due - now <= 1_000
