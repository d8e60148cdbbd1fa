"""A flush is held while its queue is full: this costs time resolution, but no count."""

from __future__ import annotations

import pytest

from openqoe.core.effects import HttpResult, NetworkFailure, RemoteWrite
from tests.support.rig import MINUTE, DeliveryResult, Rig, player_event

OUTAGES = [HttpResult(500), HttpResult(429, {"retry-after": "120"}), NetworkFailure("refused")]


@pytest.mark.parametrize("outage", OUTAGES, ids=["500", "429", "network"])
def test_outage_with_a_full_queue_loses_no_count(outage: DeliveryResult) -> None:
    rig = Rig(OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.post_seek(0)
    rig.flush()
    rig.start_outage(RemoteWrite, result=outage)
    for number in range(1, 20):
        rig.post_seek(number)
        rig.flush()
    assert rig.total("openqoe_seeks_total") == 1
    rig.end_outage()
    rig.pass_time(5 * MINUTE)
    assert rig.total("openqoe_seeks_total") == 20
    assert rig.total("openqoe_seek_latency_seconds_count") == 20
    assert rig.total("openqoe_seek_latency_seconds_sum") == pytest.approx(4.0)
    assert rig.total("openqoe_worker_flushes_held_total") > 5
    assert rig.worker.drained


def test_held_flush_is_made_when_the_worker_closes() -> None:
    rig = Rig(OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    for number in range(4):
        rig.post_seek(number)
        rig.flush()
    rig.end_outage()
    rig.close()
    assert rig.worker.drained
    assert rig.total("openqoe_seeks_total") == 4


def test_held_flush_is_made_without_another_request() -> None:
    """Where each request is flushed, the next one may be hours away."""
    rig = Rig(OPENQOE_QUEUE_MAX_BYTES="1024", OPENQOE_FLUSH_INTERVAL="0")
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    for number in range(4):
        rig.post_seek(number)
    rig.end_outage()
    rig.pass_time(MINUTE)
    assert rig.total("openqoe_seeks_total") == 4


def test_queue_does_not_grow_while_flushes_are_held() -> None:
    rig = Rig(OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    sizes = set()
    for number in range(20):
        rig.post_seek(number)
        rig.flush()
        sizes.add(rig.worker.undelivered["prometheus"])
    assert len(sizes) <= 2


def test_series_created_in_an_outage_starts_at_zero() -> None:
    """Its zero has the time of the last flush that was made, not of one that was held."""
    rig = Rig(OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.flush()
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    rig.flush(2)
    rig.post_seek(0)
    rig.flush()
    rig.end_outage()
    rig.pass_time(3 * MINUTE)
    (samples,) = rig.receiver.select("openqoe_seeks_total").values()
    (at, zero), (later, one) = samples[:2]
    assert (zero, one) == (0.0, 1.0)
    flushes = {times for times, _ in next(iter(rig.receiver.samples.values()))}
    assert at in flushes
    assert not [time for time in flushes if at < time < later]


def test_gauge_after_an_outage_is_the_mean_over_all_of_it() -> None:
    rig = Rig(OPENQOE_QUEUE_MAX_BYTES="1024")
    rig.start_outage(RemoteWrite, result=NetworkFailure("refused"))
    rig.flush(3)
    for second, bitrate in ((46, 1e6), (47, 3e6)):
        rig.post(player_event(second, "heartbeat", second - 45.0, bitrate=bitrate))
        rig.flush()
    rig.end_outage()
    rig.pass_time(3 * MINUTE)
    (samples,) = rig.receiver.select("openqoe_heartbeat_bitrate_bps").values()
    assert samples[0][1] == 2e6
