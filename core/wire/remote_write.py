"""Encodes Prometheus remote write 1.0: snappy-compressed ``prometheus.WriteRequest``.

A flush sends every live series, so parts are encoded once and joined: the head of a series at its
first export, a timestamp once per flush. The bytes equal those that protobuf produces.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Protocol

import snappy

from ..metrics.metric import Metric
from ..primitives.bounded_cache import BoundedCache
from ..primitives.memory_size import memory_size
from .varint import field, number_field, read_fields, read_varint, text_field, varint

HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Type", "application/x-protobuf"),
    ("Content-Encoding", "snappy"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
)

_pack_double = struct.Struct("<d").pack


class SeriesSamples(Protocol):
    """A series of a write request: its encoded head, and its (ms, value) samples."""

    @property
    def head(self) -> bytes: ...

    @property
    def samples(self) -> tuple[tuple[int, float], ...]: ...


_TIMESTAMP = 7
"""Encoded bytes of a timestamp between 1971 and 2109."""

_SAMPLE = field(2, b"\x09" + bytes(8 + _TIMESTAMP))[: -8 - _TIMESTAMP]
"""The encoded head of a sample with such a timestamp, up to its value."""


def encode_series(labels: Sequence[tuple[str, str]]) -> bytes:
    """Encodes the head of a series with one sample, which nearly all have, up to the value.

    Args:
        labels: Its labels, sorted by name.
    """
    parts = [_labels.get(label) or _encode_label(label) for label in labels]
    content = b"".join(parts) + _SAMPLE
    return b"\x0a" + varint(len(content) + 8 + _TIMESTAMP) + content


def _labels_of(head: bytes) -> bytes:
    """The encoded labels of a series, from its head."""
    _, at = read_varint(head, 1)
    return head[at : -len(_SAMPLE)]


def _sample(value: float, timestamp: bytes) -> bytes:
    """Encodes a sample as a field of a TimeSeries.

    Args:
        value: Its value: field 1, a double, so the bits of a stale marker survive.
        timestamp: Field 2, encoded.
    """
    return field(2, b"\x09" + _pack_double(value) + timestamp)


_labels: BoundedCache[tuple[str, str], bytes] = BoundedCache(4 * 1024 * 1024)
"""Encoded labels: the samples of a series share nearly all of them, and many series do."""


def _encode_label(label: tuple[str, str]) -> bytes:
    name, value = label
    encoded = field(1, text_field(1, name) + text_field(2, value))
    _labels.add(label, encoded, memory_size(label) + memory_size(encoded))
    return encoded


def encode_metadata(metrics: Iterable[Metric]) -> bytes:
    """Encodes type, help and unit of metric families as fields of a WriteRequest."""
    return b"".join(
        field(
            3,
            number_field(1, metric.type.value)
            + text_field(2, metric.name)
            + text_field(4, metric.help)
            + text_field(5, metric.unit),
        )
        for metric in metrics
    )


class SeriesEncoder:
    """Encodes the series of a flush as fields of a WriteRequest."""

    def __init__(self) -> None:
        self._timestamps: dict[int, bytes] = {}  # a flush has few distinct ones

    def encode(self, series: SeriesSamples) -> bytes:
        """Encodes a series."""
        samples = [_sample(value, self._timestamp(at)) for at, value in series.samples]
        return field(1, b"".join((_labels_of(series.head), *samples)))

    def encode_steady(self, at: int, samples: Sequence[tuple[bytes, float]]) -> list[bytes]:
        """Encodes series of one sample each.

        Args:
            at: The timestamp of the samples, ms.
            samples: The encoded head and the value of each.
        """
        tail = self._timestamp(at)
        if len(tail) == _TIMESTAMP:
            return [head + _pack_double(value) + tail for head, value in samples]
        return [field(1, _labels_of(head) + _sample(value, tail)) for head, value in samples]

    def _timestamp(self, at: int) -> bytes:
        encoded = self._timestamps.get(at)
        if encoded is None:
            encoded = self._timestamps[at] = b"\x10" + varint(at)
        return encoded


def compress(parts: Iterable[bytes]) -> bytes:
    """Joins the parts of a WriteRequest into a request body."""
    body: bytes = snappy.compress(b"".join(parts))
    return body


def split_request(body: bytes) -> tuple[tuple[bytes, int], ...]:
    """Splits a request body into halves by series.

    Returns:
        Each half's body and its number of samples; () if there is only one series.
    """
    series = [content for number, content in read_fields(snappy.decompress(body)) if number == 1]
    if len(series) < 2:
        return ()
    half = len(series) // 2
    return tuple(
        (compress(field(1, one) for one in part), sum(map(_samples, part)))
        for part in (series[:half], series[half:])
    )


def _samples(series: bytes) -> int:
    """The number of samples of an encoded series."""
    return sum(number == 2 for number, _ in read_fields(series))
