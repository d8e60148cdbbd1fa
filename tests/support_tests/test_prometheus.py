"""Tests of the Prometheus server: start, restart, stop, and the reports of refused samples."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.support.prometheus_server import BINARY, Prometheus, QueryError
from tests.support.services import require
from tests.support.wire_codec import STALE, SampleValue, encode_write_request
from tests.support_tests.plain_client import send

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    require(BINARY)
    with Prometheus() as running:
        yield running


def write(
    prometheus: Prometheus, *series: tuple[Mapping[str, str], Sequence[tuple[int, SampleValue]]]
) -> int:
    return send(prometheus.write_url, encode_write_request(series), HEADERS).status


def test_prometheus_answers_queries_and_survives_restart(prometheus: Prometheus) -> None:
    now = time.time_ns() // 1_000_000
    labels = {"__name__": "m_total", "instance": "i"}
    gauge = {"__name__": "g"}
    assert write(prometheus, (labels, [(now - 2000, 1.0), (now - 1000, 3.0)])) == 204
    assert write(prometheus, (gauge, [(now - 2000, 5.0), (now - 1000, STALE)])) == 204

    assert prometheus.value("m_total") == 3
    assert prometheus.value("m_total", at=(now - 1500) / 1000) == 1
    assert prometheus.query("m_total")[0].labels == labels
    assert prometheus.value("scalar(m_total)") == 3
    assert prometheus.value("g") is None, "ended by its stale marker"
    assert prometheus.value("nothing") is None
    (found,) = prometheus.samples("m_total")
    assert found.samples == [((now - 2000) / 1000, 1.0), ((now - 1000) / 1000, 3.0)]
    (ranged,) = prometheus.query_range("m_total", (now - 2000) / 1000, (now - 1000) / 1000, 1)
    assert [value for _, value in ranged.samples] == [1, 3]
    assert prometheus.series("m_total") == [labels]
    assert prometheus.label_values("instance") == ["i"]
    with pytest.raises(QueryError, match="parse error"):
        prometheus.query("m_total[")
    prometheus.assert_nothing_rejected()

    url = prometheus.url
    prometheus.pause()
    prometheus.restart()
    assert prometheus.url == url
    assert prometheus.value("m_total") == 3, "the data survived"
    pid = prometheus.pid
    assert pid is not None
    prometheus.kill()
    prometheus.close()
    prometheus.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_paused_prometheus_answers_after_resume(prometheus: Prometheus) -> None:
    prometheus.pause()
    with pytest.raises(TimeoutError):
        send(prometheus.url + "/-/ready", method="GET", timeout=0.2)
    prometheus.resume()
    assert send(prometheus.url + "/-/ready", method="GET").status == 200


def test_rejects_reports_each_kind_of_refused_sample(prometheus: Prometheus) -> None:
    """The table in the docstring of Rejects, line by line."""
    now = time.time_ns() // 1_000_000
    series, other = {"__name__": "m"}, {"__name__": "other"}
    assert write(prometheus, (series, [(now, 1.0)])) == 204
    prometheus.assert_nothing_rejected()

    assert write(prometheus, (other, [(now, 1.0)]), (series, [(now - 1, 1.0)])) == 400
    rejects = prometheus.rejects()
    assert (rejects.out_of_order, rejects.refused_requests, len(rejects.complaints)) == (1, 1, 1)
    assert prometheus.value("other") is None, "nothing of the request was kept"

    assert write(prometheus, (series, [(now, 2.0)])) == 400
    rejects = prometheus.rejects()
    assert (rejects.out_of_order, rejects.refused_requests, len(rejects.complaints)) == (1, 2, 2)
    assert "duplicate sample for timestamp" in rejects.complaints[-1]

    assert write(prometheus, (series, [(now, 1.0)])) == 204
    rejects = prometheus.rejects()
    assert (rejects.swallowed, rejects.refused_requests) == (1, 2)

    assert write(prometheus, (other, [(now - 7_200_000, 1.0)])) == 400
    rejects = prometheus.rejects()
    assert (rejects.out_of_bounds, rejects.refused_requests, len(rejects.complaints)) == (1, 3, 3)

    assert write(prometheus, (series, [(now + 2, 1.0), (now + 1, 1.0)])) == 204
    rejects = prometheus.rejects()
    assert (rejects.out_of_order, rejects.swallowed) == (2, 2)

    assert write(prometheus, (series, [(now + 3, 1.0), (now + 3, 2.0)])) == 204
    rejects = prometheus.rejects()
    assert (rejects.out_of_order, rejects.swallowed, len(rejects.complaints)) == (2, 3, 3)

    assert send(prometheus.write_url, b"junk", HEADERS).status == 400
    rejects = prometheus.rejects()
    assert (rejects.refused_requests, len(rejects.complaints)) == (4, 4)
    with pytest.raises(AssertionError, match="refused samples"):
        prometheus.assert_nothing_rejected()


def test_late_copy_is_distinguished_from_lost_sample(
    prometheus: Prometheus,
) -> None:
    now = time.time_ns() // 1_000_000
    series = {"__name__": "m", "quoted": 'a "b" \\ c\nd é'}
    for at in (now, now + 2):
        assert write(prometheus, (series, [(at, 1.0)])) == 204
    assert write(prometheus, (series, [(now, 1.0)])) == 400
    prometheus.assert_nothing_rejected(copies_allowed=True)
    with pytest.raises(AssertionError, match="refused samples"):
        prometheus.assert_nothing_rejected()

    assert write(prometheus, (series, [(now + 1, 1.0)])) == 400
    with pytest.raises(AssertionError, match="out_of_order=1"):
        prometheus.assert_nothing_rejected(copies_allowed=True)
