"""Tests of the remote-write double: each rule for senders, kept and broken."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import pytest
import snappy

from tests.support.remote_write_double import RemoteWriteDouble
from tests.support.wire_codec import STALE, MetricMetadata, SampleValue, encode_write_request
from tests.support_tests.plain_client import TextResponse, send

NOW: Final = 1_800_000_000_000
HEADERS: Final = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
    "User-Agent": "test/1",
}
GOOD: Final = {"__name__": "a_total", "instance": "i"}
GOOD_KEY: Final = (("__name__", "a_total"), ("instance", "i"))

Samples = Sequence[tuple[int, SampleValue]]


@pytest.fixture
def receiver() -> Iterator[RemoteWriteDouble]:
    with RemoteWriteDouble(now_ms=lambda: NOW) as double:
        yield double


def write(
    receiver: RemoteWriteDouble,
    *series: tuple[Mapping[str, str], Samples],
    headers: Mapping[str, str] = HEADERS,
) -> TextResponse:
    return send(receiver.write_url, encode_write_request(series), headers)


def rules(receiver: RemoteWriteDouble) -> list[str]:
    return [violation.rule for violation in receiver.violations]


def test_valid_writes_are_stored(receiver: RemoteWriteDouble) -> None:
    assert write(receiver, (GOOD, [(NOW, 1.0), (NOW + 1, 2.0)])).status == 204
    assert (
        write(receiver, (GOOD, [(NOW + 2, STALE)]), ({"__name__": "b"}, [(NOW, 0.0)])).status == 204
    )
    assert receiver.violations == []
    assert receiver.samples[GOOD_KEY] == [(NOW, 1.0), (NOW + 1, 2.0), (NOW + 2, STALE)]
    assert receiver.last("a_total") is STALE
    assert receiver.last("b") == 0.0
    assert receiver.last("c") is None
    assert receiver.total("a_total") == 0


def test_metadata_is_stored(receiver: RemoteWriteDouble) -> None:
    entry = MetricMetadata("a_total", "counter", "Help.", "")
    assert send(receiver.write_url, encode_write_request([], [entry]), HEADERS).status == 204
    assert receiver.metadata == {"a_total": entry}


def test_select_matches_name_and_labels(receiver: RemoteWriteDouble) -> None:
    write(
        receiver,
        ({"__name__": "m", "x": "1"}, [(NOW, 1.0)]),
        ({"__name__": "m", "x": "2"}, [(NOW, 2.0)]),
    )
    assert receiver.total("m") == 3
    assert receiver.last("m", x="2") == 2
    assert len(receiver.select("m")) == 2
    with pytest.raises(AssertionError, match="2 series"):
        receiver.last("m")


@pytest.mark.parametrize(
    ("labels", "rule"),
    [
        ({"b": "1", "__name__": "m"}, "labels-sorted"),
        ({"__name__": "m", "a-b": "1"}, "label-name"),
        ({"__name__": "m", "": "1"}, "labels-sorted"),
        ({"": "1", "__name__": "m"}, "label-name"),
        ({"__name__": "m", "a": ""}, "label-value"),
        ({"a": "1"}, "metric-name"),
        ({"__name__": "a-b"}, "metric-name"),
        ({"__name__": "a b"}, "metric-name"),
        ({"__name__": "ok", "a\n": "1"}, "label-name"),
    ],
)
def test_write_with_invalid_labels_is_violation(
    receiver: RemoteWriteDouble, labels: dict[str, str], rule: str
) -> None:
    answer = write(receiver, (labels, [(NOW, 1.0)]), (GOOD, [(NOW, 1.0)]))
    assert answer.status == 400
    assert rules(receiver)[0] == rule
    assert list(receiver.samples) == [GOOD_KEY], "the good series is kept"


def test_repeated_label_is_violation(receiver: RemoteWriteDouble) -> None:
    pair = b"\x0a\x0d\x0a\x08__name__\x12\x01a"
    series = pair + pair + b"\x12\x0b\x09" + bytes(8) + b"\x10\x01"
    body = b"\x0a" + bytes([len(series)]) + series
    assert send(receiver.write_url, snappy.compress(body), HEADERS).status == 400
    assert rules(receiver) == ["labels-unique"]


@pytest.mark.parametrize(
    ("second", "rule"),
    [
        ((NOW, 2.0), "duplicate"),
        ((NOW - 1, 1.0), "out-of-order"),
        ((NOW + 1, math.nan), "nan"),
        ((NOW + 700_000, 1.0), "future"),
    ],
)
def test_invalid_sample_is_violation_within_and_across_requests(
    receiver: RemoteWriteDouble, second: tuple[int, float], rule: str
) -> None:
    assert write(receiver, (GOOD, [(NOW, 1.0)])).status == 204
    assert write(receiver, (GOOD, [second])).status == 400
    other = {"__name__": "other"}
    assert write(receiver, (other, [(NOW, 1.0), second])).status == 400
    assert rules(receiver) == [rule, rule]
    assert receiver.violations[0].labels == GOOD_KEY
    assert receiver.violations[1].request == 2
    assert receiver.last("other") == 1.0


def test_series_split_over_request_is_one_series(receiver: RemoteWriteDouble) -> None:
    assert write(receiver, (GOOD, [(NOW, 1.0)]), (GOOD, [(NOW - 1, 1.0)])).status == 400
    assert rules(receiver) == ["out-of-order"]


def test_sample_long_before_newest_is_violation(receiver: RemoteWriteDouble) -> None:
    write(receiver, (GOOD, [(NOW, 1.0)]))
    other = {"__name__": "other"}
    assert write(receiver, (other, [(NOW - 3_600_001, 1.0)])).status == 400
    assert rules(receiver) == ["out-of-bounds"]
    assert write(receiver, (other, [(NOW - 3_600_000, 1.0)])).status == 204
    assert write(receiver, (GOOD, [(NOW + 2, 1.0)])).status == 204
    assert write(receiver, (other, [(NOW - 3_599_999, 1.0)])).status == 400
    assert rules(receiver) == ["out-of-bounds", "out-of-bounds"]


def test_retry_is_counted_as_resent_and_no_violation(receiver: RemoteWriteDouble) -> None:
    receiver.drop_connection(processed=True)
    with pytest.raises((ConnectionError, OSError)):
        write(receiver, (GOOD, [(NOW, 1.0)]))
    assert write(receiver, (GOOD, [(NOW, 1.0)])).status == 204
    assert write(receiver, (GOOD, [(NOW + 1, STALE)])).status == 204
    assert write(receiver, (GOOD, [(NOW, 1.0), (NOW + 1, STALE)])).status == 400, (
        "as Prometheus does"
    )
    assert (receiver.violations, receiver.resent) == ([], 3)
    assert receiver.samples[GOOD_KEY] == [(NOW, 1.0), (NOW + 1, STALE)]


def test_series_without_samples_is_violation(receiver: RemoteWriteDouble) -> None:
    assert write(receiver, (GOOD, [])).status == 400
    assert rules(receiver) == ["samples"]


@pytest.mark.parametrize(
    ("name", "value", "status", "rule"),
    [
        ("Content-Type", "application/json", 415, "content-type"),
        (
            "Content-Type",
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            415,
            "content-type",
        ),
        ("Content-Encoding", "gzip", 400, "header"),
        ("X-Prometheus-Remote-Write-Version", "2.0.0", 400, "header"),
        ("User-Agent", "", 400, "header"),
    ],
)
def test_wrong_header_is_violation(
    receiver: RemoteWriteDouble, name: str, value: str, status: int, rule: str
) -> None:
    answer = write(receiver, (GOOD, [(NOW, 1.0)]), headers={**HEADERS, name: value})
    assert answer.status == status
    assert rules(receiver) == [rule]


def test_missing_headers_are_violations(receiver: RemoteWriteDouble) -> None:
    only_type = {"Content-Type": "application/x-protobuf"}
    assert write(receiver, (GOOD, [(NOW, 1.0)]), headers=only_type).status == 400
    assert rules(receiver) == ["header", "header", "header"]


@pytest.mark.parametrize("body", [b"", b"junk", snappy.compress(b"\xff")])
def test_undecodable_body_is_violation(receiver: RemoteWriteDouble, body: bytes) -> None:
    assert send(receiver.write_url, body, HEADERS).status == 400
    assert rules(receiver) == ["body"]


def test_other_paths_and_methods_are_refused(receiver: RemoteWriteDouble) -> None:
    body = encode_write_request([(GOOD, [(NOW, 1.0)])])
    assert send(receiver.url + "/api/v1/push", body, HEADERS).status == 204
    assert send(receiver.url + "/api/prom/push", body, HEADERS).status == 204
    assert send(receiver.url + "/elsewhere", body, HEADERS).status == 404
    assert send(receiver.write_url, method="GET").status == 405


def test_failing_double_stores_nothing(receiver: RemoteWriteDouble) -> None:
    receiver.fail_with(500)
    assert write(receiver, (GOOD, [(NOW, 1.0)])).status == 500
    assert receiver.samples == {}
