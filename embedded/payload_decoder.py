"""Decodes remote-write and Loki push requests, and rows of views.

Written from the published message definitions (prometheus/prompb/remote.proto and types.proto,
grafana/loki pkg/push/push.proto), not from our encoder, so that a fault of the encoder shows here
as it would at Prometheus and Loki.

A request repeats every live series, so most label sets are known already. They are declared as
bytes here, which is the same on the wire: a known label set is recognised without decoding it.
"""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from openqoe.core.qoe.view_rows import ViewRow

_FIELD: Final = descriptor_pb2.FieldDescriptorProto

_SCALARS: Final = {
    "bytes": _FIELD.TYPE_BYTES,
    "double": _FIELD.TYPE_DOUBLE,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "string": _FIELD.TYPE_STRING,
}

# Message to fields: number, name, type; "*" marks a repeated field.
_MESSAGES: Final[dict[str, tuple[tuple[int, str, str], ...]]] = {
    "WriteRequest": ((1, "timeseries", "TimeSeries*"), (3, "metadata", "MetricMetadata*")),
    "TimeSeries": ((1, "labels", "bytes*"), (2, "samples", "Sample*")),
    "Label": ((1, "name", "string"), (2, "value", "string")),
    "Sample": ((1, "value", "double"), (2, "timestamp", "int64")),
    "MetricMetadata": (
        (1, "type", "int32"),
        (2, "metric_family_name", "string"),
        (4, "help", "string"),
        (5, "unit", "string"),
    ),
    "PushRequest": ((1, "streams", "Stream*"),),
    "Stream": ((1, "labels", "string"), (2, "entries", "Entry*")),
    "Entry": (
        (1, "timestamp", "Timestamp"),
        (2, "line", "string"),
        (3, "structured_metadata", "Label*"),
    ),
    "Timestamp": ((1, "seconds", "int64"), (2, "nanos", "int32")),
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="openqoe/embedded.proto", package="embedded", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field_name, kind in fields:
            field = message.field.add(name=field_name, number=number)
            field.label = _FIELD.LABEL_REPEATED if kind[-1] == "*" else _FIELD.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = _FIELD.TYPE_MESSAGE
                field.type_name = f".embedded.{kind}"
    # A separate pool: an application may have registered Prometheus' messages, too.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"embedded.{name}"))
        for name in _MESSAGES
    }


_classes = _build()
_WriteRequest: Any = _classes["WriteRequest"]
_PushRequest: Any = _classes["PushRequest"]
_Label: Any = _classes["Label"]

METRIC_TYPES: Final = (
    "unknown",
    "counter",
    "gauge",
    "histogram",
    "gaugehistogram",
    "summary",
    "info",
    "stateset",
)
"""Metric types by their number in MetricMetadata."""

_LABEL: Final = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(?:,\s*|\Z)')


class UndecodableError(ValueError):
    """A body that cannot be decoded."""


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one series.

    Attributes:
        labels: The encoded label set, one element per label.
        samples: (ms, value) in the order of the request; None marks the end of the series.
    """

    labels: tuple[bytes, ...]
    samples: tuple[tuple[int, float | None], ...]


@dataclass(frozen=True, slots=True)
class Description:
    """Type, help and unit of a metric."""

    name: str
    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class Stream:
    """Entries of one stream.

    Attributes:
        labels: The label set as written in the request.
        entries: (ms, line, structured metadata).
    """

    labels: str
    entries: tuple[tuple[int, str, dict[str, str]], ...]


def decode_metrics(body: bytes) -> tuple[Iterator[Series], tuple[Description, ...]]:
    """Decode a remote-write request (1.0, snappy).

    Raises:
        UndecodableError: The bytes are malformed.
    """
    try:
        message = _WriteRequest.FromString(snappy.decompress(body))
        described = tuple(_description(one) for one in message.metadata)
    except Exception as error:  # snappy and protobuf raise types of their own
        raise UndecodableError(f"not a remote-write request: {error}") from None
    return map(_series, message.timeseries), described


def decode_labels(labels: tuple[bytes, ...]) -> dict[str, str]:
    """Decode a label set.

    Raises:
        UndecodableError: The bytes are malformed.
    """
    try:
        decoded = [_Label.FromString(label) for label in labels]
        return {label.name: label.value for label in decoded}
    except Exception as error:
        raise UndecodableError(f"not a label set: {error}") from None


def decode_logs(body: bytes, content_type: str) -> tuple[Stream, ...]:
    """Decode a Loki push request: protobuf with snappy, or JSON with gzip.

    Raises:
        UndecodableError: The bytes are malformed.
    """
    try:
        if content_type == "application/json":
            return _json_streams(body)
        message = _PushRequest.FromString(snappy.decompress(body))
        return tuple(_stream(one) for one in message.streams)
    except Exception as error:
        raise UndecodableError(f"not a push request: {error}") from None


def decode_views(body: bytes) -> list[ViewRow]:
    """Decode rows of views.

    Raises:
        UndecodableError: The bytes are malformed.
    """
    try:
        return _decode_rows(snappy.decompress(body))
    except Exception as error:
        raise UndecodableError(f"not rows of views: {error}") from None


def stream_labels(text: str) -> dict[str, str]:
    """Parse the labels of a stream: ``{a="b", c="d"}``, with values quoted as in Go.

    Raises:
        UndecodableError: The text is malformed.
    """
    if text[:1] != "{" or text[-1:] != "}":
        raise UndecodableError(f"not the labels of a stream: {text!r}")
    labels, inside, at = {}, text[1:-1], 0
    while at < len(inside):
        match = _LABEL.match(inside, at)
        if match is None:
            raise UndecodableError(f"not the labels of a stream: {text!r}")
        try:
            labels[match[1]] = str(json.loads(match[2]))
        except ValueError:
            raise UndecodableError(f"not a label's value: {match[2]}") from None
        at = match.end()
    return labels


def _series(message: Any) -> Series:
    # A NaN is the stale marker: the exporter writes no other NaN.
    samples = tuple(
        (sample.timestamp, sample.value if sample.value == sample.value else None)
        for sample in message.samples
    )
    return Series(tuple(message.labels), samples)


def _description(message: Any) -> Description:
    kind = METRIC_TYPES[message.type] if message.type < len(METRIC_TYPES) else METRIC_TYPES[0]
    return Description(message.metric_family_name, kind, message.help, message.unit)


def _stream(message: Any) -> Stream:
    entries = tuple(
        (
            entry.timestamp.seconds * 1_000 + entry.timestamp.nanos // 1_000_000,
            entry.line,
            {pair.name: pair.value for pair in entry.structured_metadata},
        )
        for entry in message.entries
    )
    return Stream(message.labels, entries)


class _JsonStream(msgspec.Struct):
    stream: dict[str, str]
    values: list[tuple[Any, ...]]  # time, line, optional structured metadata


class _JsonPush(msgspec.Struct):
    streams: list[_JsonStream]


_decode_push = msgspec.json.Decoder(_JsonPush).decode
_decode_rows = msgspec.msgpack.Decoder(list[ViewRow]).decode


def _json_streams(body: bytes) -> tuple[Stream, ...]:
    push = _decode_push(zlib.decompress(body, wbits=31))
    return tuple(
        Stream(
            # The form that protobuf requests have.
            "{" + ", ".join(f"{name}={json.dumps(one.stream[name])}" for name in one.stream) + "}",
            tuple(
                (int(value[0]) // 1_000_000, value[1], value[2] if len(value) > 2 else {})
                for value in one.values
            ),
        )
        for one in push.streams
    )
