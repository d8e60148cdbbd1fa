"""Decoder and encoder of remote-write and Loki bodies, from the published message definitions.

Independent of the worker on purpose: the protobuf descriptors are built here, in a pool of their
own, and decoding is stricter than a receiver's (an unknown field is an error), so that a mistake in
the worker's encoder cannot cancel itself out. Sample values are declared as `fixed64`, which has
the same bytes as `double`: this compares the bits of a NaN without any float conversion.
"""

from __future__ import annotations

import enum
import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple

import snappy
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, unknown_fields
from google.protobuf.message import DecodeError

STALE_BITS: Final = 0x7FF0000000000002
"""The bits of the NaN that marks the end of a series."""


class Stale(enum.Enum):
    """The stale marker as a value, because a NaN equals nothing."""

    MARKER = "stale"

    def __repr__(self) -> str:
        return "STALE"


STALE: Final = Stale.MARKER

SampleValue = float | Stale


class WireError(ValueError):
    """The body is not valid for its content type; the message names the place."""


class Sample(NamedTuple):
    """One sample of a series; `value` is a float or STALE, `bits` its encoding."""

    timestamp_ms: int
    value: SampleValue
    bits: int


class TimeSeries(NamedTuple):
    """One series of a write request, with labels in wire order."""

    labels: tuple[tuple[str, str], ...]
    samples: tuple[Sample, ...]

    @property
    def name(self) -> str:
        """The metric name, or an empty string."""
        return dict(self.labels).get("__name__", "")


@dataclass(frozen=True, slots=True)
class MetricMetadata:
    """Type and description of a metric family."""

    family: str
    type: str
    help: str
    unit: str


@dataclass(frozen=True, slots=True)
class WriteRequest:
    """A remote-write 1.0 request."""

    series: tuple[TimeSeries, ...]
    metadata: tuple[MetricMetadata, ...]


@dataclass(frozen=True, slots=True)
class PushEntry:
    """One log line; `metadata` is its structured metadata."""

    timestamp_ns: int
    line: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class PushStream:
    """The entries of one label set."""

    labels: dict[str, str]
    entries: tuple[PushEntry, ...]


# --- message definitions --------------------------------------------------------------------------

_KINDS: Final = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "fixed64": descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64,
}

# message -> (number, name, kind or message name, repeated). `_Enum` fields are read as int32,
# which has the same bytes, and series and labels as bytes, of which most were decoded before.
_PROMETHEUS: Final[dict[str, list[tuple[int, str, str, bool]]]] = {
    "Label": [(1, "name", "string", False), (2, "value", "string", False)],
    "Sample": [(1, "bits", "fixed64", False), (2, "timestamp", "int64", False)],
    "TimeSeries": [(1, "labels", "bytes", True), (2, "samples", "Sample", True)],
    "MetricMetadata": [
        (1, "type", "int32", False),
        (2, "metric_family_name", "string", False),
        (4, "help", "string", False),
        (5, "unit", "string", False),
    ],
    "WriteRequest": [
        (1, "timeseries", "bytes", True),
        (3, "metadata", "MetricMetadata", True),
    ],
}
_LOKI: Final[dict[str, list[tuple[int, str, str, bool]]]] = {
    "Timestamp": [(1, "seconds", "int64", False), (2, "nanos", "int32", False)],
    "LabelPair": [(1, "name", "string", False), (2, "value", "string", False)],
    "Entry": [
        (1, "timestamp", "Timestamp", False),
        (2, "line", "string", False),
        (3, "structured_metadata", "LabelPair", True),
    ],
    "Stream": [
        (1, "labels", "string", False),
        (2, "entries", "Entry", True),
        (3, "hash", "uint64", False),
    ],
    "PushRequest": [(1, "streams", "Stream", True)],
}

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


def _message_class(
    package: str, definitions: Mapping[str, list[tuple[int, str, str, bool]]], name: str
) -> Any:
    """The class of one message, from a descriptor pool of its own."""
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"tests/{package}.proto", package=package, syntax="proto3"
    )
    for message_name, fields in definitions.items():
        message = file.message_type.add(name=message_name)
        for number, field_name, kind, repeated in fields:
            field = message.field.add(name=field_name, number=number)
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type = field_type.TYPE_MESSAGE
                field.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


_LABEL: Final = _message_class("prometheus", _PROMETHEUS, "Label")
_TIME_SERIES: Final = _message_class("prometheus", _PROMETHEUS, "TimeSeries")
_WRITE_REQUEST: Final = _message_class("prometheus", _PROMETHEUS, "WriteRequest")
_PUSH_REQUEST: Final = _message_class("logproto", _LOKI, "PushRequest")


def _parse(message_class: Any, data: bytes) -> Any:
    try:
        message = message_class.FromString(data)
    except DecodeError as fault:
        raise WireError(f"not a {message_class.DESCRIPTOR.full_name}: {fault}") from None
    size = message.ByteSize()
    message.DiscardUnknownFields()
    if message.ByteSize() != size:  # rare: only then is the slow check needed
        _refuse_unknown_fields(message_class.FromString(data))
    return message


def _refuse_unknown_fields(message: Any) -> None:
    fields = unknown_fields.UnknownFieldSet(message)
    unknown = [fields[index].field_number for index in range(len(fields))]
    if unknown:
        raise WireError(f"unknown fields {unknown} in {message.DESCRIPTOR.full_name}")
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else [value]:
                _refuse_unknown_fields(child)


def _unsnap(body: bytes) -> bytes:
    try:
        data: bytes = snappy.uncompress(body)
    except snappy.UncompressError:
        raise WireError("not snappy block format") from None
    return data


# --- remote write ---------------------------------------------------------------------------------


def decode_write_request(body: bytes) -> WriteRequest:
    """Decode a remote-write 1.0 body (snappy block, protobuf).

    Raises:
        WireError: The body is not valid.
    """
    message = _parse(_WRITE_REQUEST, _unsnap(body))
    return WriteRequest(
        series=tuple(map(_decode_series, message.timeseries)),
        metadata=tuple(
            MetricMetadata(
                entry.metric_family_name, _metric_type(entry.type), entry.help, entry.unit
            )
            for entry in message.metadata
        ),
    )


_ONE_SAMPLE: Final = re.compile(rb"\x12\x10\x09(.{8})\x10([\x80-\xff]{5}[\x00-\x7f])", re.DOTALL)
"""A sample with a time of this century, as field 2 of a series."""

_ONE_SAMPLE_SIZE: Final = 18


def _decode_series(data: bytes) -> TimeSeries:
    """Decode a series. Tests read millions whose labels recur, each with one sample, and many with
    the same value at the same time.
    """
    samples = _decode_one_sample(data[-_ONE_SAMPLE_SIZE:])
    labels = _decode_labels(data[:-_ONE_SAMPLE_SIZE]) if samples else None
    if samples is None or labels is None:
        series = _parse(_TIME_SERIES, data)
        samples = tuple(_sample(sample.timestamp, sample.bits) for sample in series.samples)
        return TimeSeries(_labels_of(series), samples)
    return TimeSeries(labels, samples)


@lru_cache(maxsize=1_000)
def _decode_one_sample(data: bytes) -> tuple[Sample, ...] | None:
    """Decode the end of a series; None if it is not exactly one sample."""
    found = _ONE_SAMPLE.fullmatch(data)
    if found is None:
        return None
    return (_sample(_decode_varint(found[2]), int.from_bytes(found[1], "little")),)


@lru_cache(maxsize=50_000)
def _decode_labels(data: bytes) -> tuple[tuple[str, str], ...] | None:
    """Decode the beginning of a series; None if it is no list of labels alone."""
    try:
        series = _parse(_TIME_SERIES, data)
    except WireError:
        return None
    return None if series.samples else _labels_of(series)


def _labels_of(series: Any) -> tuple[tuple[str, str], ...]:
    return tuple(map(_decode_label, series.labels))


@lru_cache(maxsize=50_000)
def _decode_label(data: bytes) -> tuple[str, str]:
    label = _parse(_LABEL, data)
    return label.name, label.value


def _sample(timestamp: int, bits: int) -> Sample:
    return Sample(timestamp, _value_of_bits(bits), bits)


@lru_cache(maxsize=1_000)
def _decode_varint(data: bytes) -> int:
    return sum((byte & 0x7F) << 7 * place for place, byte in enumerate(data))


def encode_write_request(
    series: Iterable[tuple[Mapping[str, str], Sequence[tuple[int, SampleValue]]]],
    metadata: Iterable[MetricMetadata] = (),
) -> bytes:
    """Encode `(labels, [(ms, value)])` pairs as a remote-write body. Labels keep their order, so
    that a test can send invalid ones.
    """
    message = _WRITE_REQUEST()
    for labels, samples in series:
        target = _TIME_SERIES()
        for name, value in labels.items():
            target.labels.append(_LABEL(name=name, value=value).SerializeToString())
        for timestamp, sample_value in samples:
            target.samples.add(timestamp=timestamp, bits=_bits_of_value(sample_value))
        message.timeseries.append(target.SerializeToString())
    for entry in metadata:
        message.metadata.add(
            type=METRIC_TYPES.index(entry.type),
            metric_family_name=entry.family,
            help=entry.help,
            unit=entry.unit,
        )
    body: bytes = snappy.compress(message.SerializeToString())
    return body


def _value_of_bits(bits: int) -> SampleValue:
    if bits == STALE_BITS:
        return STALE
    value: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return value


def _bits_of_value(value: SampleValue) -> int:
    if isinstance(value, Stale):
        return STALE_BITS
    return int.from_bytes(struct.pack("<d", value), "little")


def _metric_type(number: int) -> str:
    if not 0 <= number < len(METRIC_TYPES):
        raise WireError(f"metric type {number} does not exist")
    return METRIC_TYPES[number]


# --- Loki -----------------------------------------------------------------------------------------


def decode_push_request(
    body: bytes, content_type: str, content_encoding: str = ""
) -> list[PushStream]:
    """Decode a Loki push body: JSON (plain, gzip, deflate) or protobuf in snappy block format.

    Raises:
        WireError: The body is not valid.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    encoding = content_encoding.strip().lower()
    if media_type == "application/json":
        return _decode_json_push(_inflate(body, encoding))
    if media_type == "application/x-protobuf":
        if encoding not in ("", "snappy"):
            raise WireError(f"Content-Encoding {encoding!r} not supported for protobuf")
        return _decode_protobuf_push(_unsnap(body))
    raise WireError(f"Content-Type {content_type!r} not supported")


def encode_push_request(streams: Iterable[tuple[str, Sequence[PushEntry]]]) -> bytes:
    """Encode `(labels text, entries)` pairs as a protobuf push body. The text is sent unchanged, so
    that a test can send a malformed one.
    """
    message = _PUSH_REQUEST()
    for labels, entries in streams:
        stream = message.streams.add(labels=labels)
        for entry in entries:
            target = stream.entries.add(line=entry.line)
            target.timestamp.seconds, target.timestamp.nanos = divmod(
                entry.timestamp_ns, 1_000_000_000
            )
            for name, value in entry.metadata.items():
                target.structured_metadata.add(name=name, value=value)
    body: bytes = snappy.compress(message.SerializeToString())
    return body


def _inflate(body: bytes, encoding: str) -> bytes:
    try:
        if encoding == "":
            return body
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body, -zlib.MAX_WBITS)
    except (OSError, EOFError, zlib.error) as fault:
        raise WireError(f"not {encoding}: {fault}") from None
    raise WireError(f"Content-Encoding {encoding!r} not supported")


def _decode_protobuf_push(data: bytes) -> list[PushStream]:
    message = _parse(_PUSH_REQUEST, data)
    return [
        PushStream(
            labels=parse_label_set(stream.labels),
            entries=tuple(
                PushEntry(
                    timestamp_ns=entry.timestamp.seconds * 1_000_000_000 + entry.timestamp.nanos,
                    line=entry.line,
                    metadata=_pairs((pair.name, pair.value) for pair in entry.structured_metadata),
                )
                for entry in stream.entries
            ),
        )
        for stream in message.streams
    ]


def _decode_json_push(data: bytes) -> list[PushStream]:
    try:
        document = json.loads(data)
    except ValueError as fault:
        raise WireError(f"couldn't parse push request: {fault}") from None
    if not isinstance(document, dict) or not isinstance(document.get("streams"), list):
        raise WireError("couldn't parse push request: no array 'streams'")
    return [
        _json_stream(stream, f"streams[{index}]")
        for index, stream in enumerate(document["streams"])
    ]


def _json_stream(stream: object, where: str) -> PushStream:
    if not isinstance(stream, dict) or not isinstance(stream.get("values"), list):
        raise WireError(f"couldn't parse push request: {where} has no array 'values'")
    labels = _json_strings(stream.get("stream"), f"{where}.stream")
    for name in labels:
        if not LABEL_NAME.fullmatch(name):
            raise WireError(f"error parsing labels: bad label name {name!r}")
    return PushStream(
        labels,
        tuple(
            _json_entry(value, f"{where}.values[{index}]")
            for index, value in enumerate(stream["values"])
        ),
    )


def _json_entry(value: object, where: str) -> PushEntry:
    if not isinstance(value, list) or len(value) not in (2, 3):
        raise WireError(
            f"couldn't parse push request: {where} is not [timestamp, line] (and metadata)"
        )
    timestamp, line = value[0], value[1]
    if not isinstance(timestamp, str) or not re.fullmatch(r"-?[0-9]{1,19}", timestamp):
        raise WireError(f"couldn't parse push request: {where}[0] is not nanoseconds as a string")
    if not _is_text(line):
        raise WireError(f"couldn't parse push request: {where}[1] is not a string")
    metadata = _json_strings(value[2], f"{where}[2]") if len(value) == 3 else {}
    return PushEntry(int(timestamp), line, metadata)


def _json_strings(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise WireError(f"couldn't parse push request: {where} is not an object")
    for name, item in value.items():
        if not _is_text(name) or not _is_text(item):
            raise WireError(f"couldn't parse push request: {where}.{name} is not a string")
    return value


def _is_text(value: object) -> bool:
    """Whether this is a string that UTF-8 can encode: JSON can contain lone surrogates."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _pairs(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    result: dict[str, str] = {}
    for name, value in pairs:
        if name in result:
            raise WireError(f"structured metadata name {name!r} repeated")
        result[name] = value
    return result


# --- Loki's label text ----------------------------------------------------------------------------

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

_SIMPLE_ESCAPES: Final = {
    "a": 7,
    "b": 8,
    "f": 12,
    "n": 10,
    "r": 13,
    "t": 9,
    "v": 11,
    "\\": 92,
    '"': 34,
}
_HEX_LENGTHS: Final = {"x": 2, "u": 4, "U": 8}


def parse_label_set(text: str) -> dict[str, str]:
    """Parse `{a="b", c="d"}`, with values as Go's double-quoted strings, into a dict.

    Raises:
        WireError: The text is malformed.
    """
    position = _skip_blank(text, 0)
    if text[position : position + 1] != "{":
        raise _bad_labels(text, position, "expected '{'")
    position = _skip_blank(text, position + 1)
    labels: dict[str, str] = {}
    while text[position : position + 1] != "}":
        if labels:
            if text[position : position + 1] != ",":
                raise _bad_labels(text, position, "expected ',' or '}'")
            position = _skip_blank(text, position + 1)
        name = LABEL_NAME.match(text, position)
        if name is None:
            raise _bad_labels(text, position, "expected a label name")
        if name.group() in labels:
            raise _bad_labels(text, position, f"label {name.group()!r} repeated")
        position = _skip_blank(text, name.end())
        if text[position : position + 1] != "=":
            raise _bad_labels(text, position, "expected '='")
        position = _skip_blank(text, position + 1)
        labels[name.group()], position = _quoted(text, position)
        position = _skip_blank(text, position)
    if _skip_blank(text, position + 1) != len(text):
        raise _bad_labels(text, position + 1, "expected the end")
    return labels


def _skip_blank(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t", "\n", "\r"):
        position += 1
    return position


def _quoted(text: str, position: int) -> tuple[str, int]:
    """The Go string literal in double quotes at `position`, and the position of its end."""
    if text[position : position + 1] != '"':
        raise _bad_labels(text, position, "expected '\"'")
    start = position
    position += 1
    data = bytearray()
    while True:
        char = text[position : position + 1]
        if char in ("", "\n"):
            raise _bad_labels(text, start, "string not terminated")
        position += 1
        if char == '"':
            break
        if char == "\\":
            position = _escape(text, position, data)
        else:
            data += char.encode()
    try:
        return data.decode(), position
    except UnicodeDecodeError:
        raise _bad_labels(text, start, "value is not UTF-8") from None


def _escape(text: str, position: int, data: bytearray) -> int:
    """Append the bytes of an escape sequence; `position` is that of the character after the
    backslash. Return the position after the sequence.
    """
    char = text[position : position + 1]
    if char in _SIMPLE_ESCAPES:
        data.append(_SIMPLE_ESCAPES[char])
        return position + 1
    if char in _HEX_LENGTHS:
        digits = text[position + 1 : position + 1 + _HEX_LENGTHS[char]]
        if not re.fullmatch(rf"[0-9a-fA-F]{{{_HEX_LENGTHS[char]}}}", digits):
            raise _bad_labels(text, position, f"bad escape \\{char}{digits}")
        code = int(digits, 16)
        if char == "x":
            data.append(code)
        elif code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise _bad_labels(text, position, f"\\{char}{digits} is no character")
        else:
            data += chr(code).encode()
        return position + 1 + len(digits)
    octal = re.compile(r"[0-7]{3}").match(text, position)
    if octal is None or int(octal.group(), 8) > 255:
        raise _bad_labels(text, position, f"bad escape \\{char}")
    data.append(int(octal.group(), 8))
    return position + 3


def _bad_labels(text: str, position: int, reason: str) -> WireError:
    return WireError(f"error parsing labels {text!r} at character {position + 1}: {reason}")
