"""Remote-write bodies, read by a decoder that is independent of the encoder."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.metrics.metric import Metric, MetricType
from openqoe.core.sinks import metrics_payloads as sink
from openqoe.core.sinks.series_exporter import STALE, ExportedSeries
from openqoe.core.wire import remote_write
from tests.support.event_builders import NOW
from tests.support.rig import Rig, player_event
from tests.support.wire_codec import (
    STALE_BITS,
    MetricMetadata,
    TimeSeries,
    decode_write_request,
    encode_write_request,
)


def bits(value: float) -> int:
    return int.from_bytes(struct.pack("<d", value), "little")


def from_bits(number: int) -> float:
    value: float = struct.unpack("<d", number.to_bytes(8, "little"))[0]
    return value


@dataclass(frozen=True)
class Series:
    """A series before encoding."""

    names: tuple[tuple[str, str], ...]
    samples: tuple[tuple[int, float], ...]

    @property
    def head(self) -> bytes:
        return remote_write.encode_series(self.names)


def encode(*series: Series) -> bytes:
    encoder = remote_write.SeriesEncoder()
    return remote_write.compress(encoder.encode(one) for one in series)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
values = st.one_of(
    st.floats(allow_nan=False),
    st.just(-0.0),
    st.integers(0, 2**64 - 1).map(from_bits),  # includes every NaN
    st.just(STALE),
)
timestamps = st.one_of(st.integers(0, 2**63 - 1), st.just(NOW))
some_series = st.builds(
    Series,
    st.dictionaries(names, texts, max_size=6).map(lambda labels: tuple(sorted(labels.items()))),
    st.lists(st.tuples(timestamps, values), max_size=4).map(tuple),
)


@given(st.lists(some_series, max_size=6))
@settings(max_examples=30)
def test_encoded_series_are_read_back(written: list[Series]) -> None:
    read = decode_write_request(encode(*written)).series
    assert [one.labels for one in read] == [one.names for one in written]
    for one, source in zip(read, written, strict=True):
        assert [(sample.timestamp_ms, sample.bits) for sample in one.samples] == [
            (at, bits(value)) for at, value in source.samples
        ]


@given(timestamps, st.lists(st.tuples(names, values), max_size=4))
@settings(max_examples=30)
def test_steady_encoding_equals_general_encoding(at: int, written: list[tuple[str, float]]) -> None:
    series = [Series((("__name__", name),), ((at, value),)) for name, value in written]
    encoder = remote_write.SeriesEncoder()
    steady = encoder.encode_steady(at, [(one.head, one.samples[0][1]) for one in series])
    assert steady == [encoder.encode(one) for one in series]


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 1.5, 1e308, 5e-324, float("inf"), float("-inf"), from_bits(0x7FF8000000000001)],
)
def test_encoded_values_keep_their_bits(value: float) -> None:
    (series,) = decode_write_request(encode(Series((("a", "b"),), ((NOW, value),)))).series
    assert [sample.bits for sample in series.samples] == [bits(value)]


def test_stale_marker_keeps_its_bits() -> None:
    (series,) = decode_write_request(encode(Series((("a", "b"),), ((NOW, STALE),)))).series
    assert [sample.bits for sample in series.samples] == [STALE_BITS]


def test_metadata_equals_protobuf_encoding() -> None:
    described = [
        Metric("seeks_total", MetricType.COUNTER, "Seeks."),
        Metric("stall_seconds", MetricType.HISTOGRAM, "Stalls.", unit="seconds", buckets=(1,)),
        Metric("views", MetricType.GAUGE, "Views with ümläuts."),
    ]
    body = remote_write.compress([remote_write.encode_metadata(described)])
    metadata = (
        MetricMetadata("seeks_total", "counter", "Seeks.", ""),
        MetricMetadata("stall_seconds", "histogram", "Stalls.", "seconds"),
        MetricMetadata("views", "gauge", "Views with ümläuts.", ""),
    )
    assert decode_write_request(body).metadata == metadata
    assert body == encode_write_request((), metadata)  # encoded by protobuf


def test_metadata_is_only_in_first_request() -> None:
    begin = remote_write.encode_series([("__name__", "x")])
    exported = [ExportedSeries(begin, ((NOW, float(n)),)) for n in range(3)]
    described = [Metric("x", MetricType.GAUGE, "X.")]
    writer = sink.MetricsPayloadWriter(described, NOW, max_samples=1, separate_edges=False)
    for series in exported:
        writer.add_series(series)
    requests = [decode_write_request(payload.body) for payload in writer.finish()]
    assert [len(request.metadata) for request in requests] == [1, 0, 0]
    assert [len(request.series) for request in requests] == [1, 1, 1]


# Halves


def by_bits(series: TimeSeries) -> tuple[object, ...]:
    """A comparable form, even of NaN."""
    return series.labels, [(sample.timestamp_ms, sample.bits) for sample in series.samples]


@given(st.lists(some_series, min_size=2, max_size=9))
@settings(max_examples=30)
def test_halves_contain_all_samples_in_order(written: list[Series]) -> None:
    whole = encode(*written)
    halves = remote_write.split_request(whole)
    assert len(halves) == 2
    read = [decode_write_request(body) for body, _ in halves]
    assert [by_bits(one) for half in read for one in half.series] == [
        by_bits(one) for one in decode_write_request(whole).series
    ]
    for (_, items), request in zip(halves, read, strict=True):
        assert items == sum(len(one.samples) for one in request.series)
    assert abs(len(read[0].series) - len(read[1].series)) <= 1


def test_single_series_is_not_split() -> None:
    assert (
        remote_write.split_request(encode(Series((("a", "b"),), ((NOW, 1.0), (NOW + 1, 2.0)))))
        == ()
    )


# Through the worker


HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(['"', "\\", "\n", "\x00", "{}", "=", ",", "__name__", "🎬" * 600]),
)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
@settings(max_examples=40)
def test_any_event_gives_sorted_unique_nonempty_labels(
    app: str, player: str, video: str, code: str
) -> None:
    """The receiver's double checks the labels, and must not refuse anything."""
    rig = Rig()
    rig.post(
        {
            **player_event(0, "error", 0.0, player=player, error_family=app, error_code=code),
            "app_name": app,
            "env": "",
            "video": {"id": video},
            "network": {"country_code": code},
        }
    )
    rig.flush()
    assert rig.total("openqoe_errors_total") == 1
    for labels in rig.receiver.samples:
        names = [name for name, _ in labels]
        assert names == sorted(set(names))
        assert all(0 < len(value.encode()) <= 2048 for _, value in labels)
