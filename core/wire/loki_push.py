"""Encodes Loki's push API: protobuf with snappy, and JSON with gzip.

A request is joined from its entries in one pass, so each line is copied once. The entries'
metadata, which many share, is encoded beforehand.
"""

import gzip
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import snappy

from .varint import (
    FIELD_2_HEADS,
    field,
    field_2_head,
    read_fields,
    read_varint,
    text_field,
    varint,
)

Metadata = tuple[tuple[str, str], ...]
Entry = tuple[int, bytes, bytes]
"""A timestamp in ms since the epoch, a line, and encoded metadata."""

Stream = tuple[str, Sequence[Entry]]
"""A stream: its labels as Loki formats them, and its entries."""


class StreamSeparator(Protocol):
    """Divides bodies between streams."""

    def split_streams(self, body: bytes) -> Sequence[tuple[bytes, int]]:
        """Splits a body into one for each stream, with their numbers of entries."""

    def list_streams(self, body: bytes) -> frozenset[str]:
        """Lists the streams of a body by their labels."""

    def separate_streams(self, body: bytes, streams: Container[str]) -> Sequence[tuple[bytes, int]]:
        """Splits a body into the other streams and these, with their numbers of entries.

        Returns () if either would be empty.
        """


class LokiEncoding(StreamSeparator, Protocol):
    """An encoding of push requests.

    Attributes:
        headers: The request headers that declare it.
    """

    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...

    def encode_metadata(self, metadata: Metadata) -> bytes:
        """Encodes structured metadata, to be used for many entries."""

    def join_metadata(self, one: bytes, other: bytes) -> bytes:
        """Joins encoded metadata with different names."""

    def encode_request(self, streams: Sequence[Stream]) -> bytes:
        """Encodes a request body."""

    def split_request(self, body: bytes) -> tuple[tuple[bytes, int], ...]:
        """Splits a body into two, with their numbers of entries; () if it has only one.

        It is divided between streams, or a single stream between entries.
        """

    def redate_request(self, body: bytes, earliest: int, timestamp: int) -> tuple[bytes, int]:
        """Gives entries older than ``earliest`` another timestamp; returns their number, too."""


_Labels = TypeVar("_Labels")
_Written = TypeVar("_Written")


class _Division(ABC, Generic[_Labels, _Written]):
    """The division of bodies, by their entries, each with the labels of its stream."""

    @abstractmethod
    def _read_entries(self, body: bytes) -> list[tuple[_Labels, _Written]]:
        """Reads the entries of a body in order."""

    @abstractmethod
    def _join_entries(self, entries: Sequence[tuple[_Labels, _Written]]) -> bytes:
        """Encodes entries; those of a stream are together."""

    @abstractmethod
    def _format_stream(self, labels: _Labels) -> str:
        """The labels of a stream as text."""

    def split_request(self, body: bytes) -> tuple[tuple[bytes, int], ...]:
        entries = self._read_entries(body)
        if len(entries) < 2:
            return ()
        cut = _find_cut([labels for labels, _ in entries])
        return self._encode_parts(entries[:cut], entries[cut:])

    def split_streams(self, body: bytes) -> tuple[tuple[bytes, int], ...]:
        entries = self._read_entries(body)
        return self._encode_parts(*(tuple(group) for _, group in groupby(entries, itemgetter(0))))

    def list_streams(self, body: bytes) -> frozenset[str]:
        return frozenset(
            self._format_stream(labels)
            for labels, _ in groupby(self._read_entries(body), itemgetter(0))
        )

    def separate_streams(
        self, body: bytes, streams: Container[str]
    ) -> tuple[tuple[bytes, int], ...]:
        others: list[tuple[_Labels, _Written]] = []
        selected: list[tuple[_Labels, _Written]] = []
        for labels, entries in groupby(self._read_entries(body), itemgetter(0)):
            (selected if self._format_stream(labels) in streams else others).extend(entries)
        return self._encode_parts(others, selected) if others and selected else ()

    def _encode_parts(
        self, *parts: Sequence[tuple[_Labels, _Written]]
    ) -> tuple[tuple[bytes, int], ...]:
        return tuple((self._join_entries(entries), len(entries)) for entries in parts)


# Field 2 of google.protobuf.Timestamp, nanoseconds, for each ms of a second.
_NANOS = (b"", *(b"\x10" + varint(ms * 1_000_000) for ms in range(1, 1000)))


@lru_cache(maxsize=1024)
def _timestamp_heads(second: int) -> tuple[bytes, ...]:
    """Encodes the head of a timestamp field, for each length of its nanoseconds."""
    seconds = b"\x08" + varint(second)
    return tuple(b"\x0a" + varint(len(seconds) + length) + seconds for length in range(8))


@lru_cache(maxsize=64)
def _name_field(name: str) -> bytes:
    """Encodes a name of structured metadata; there are few."""
    return text_field(1, name)


class ProtobufEncoding(_Division[bytes, bytes]):
    headers = (("Content-Type", "application/x-protobuf"),)

    def encode_metadata(self, metadata: Metadata) -> bytes:
        return b"".join(
            [field(3, _name_field(name) + text_field(2, value)) for name, value in metadata]
        )

    def join_metadata(self, one: bytes, other: bytes) -> bytes:
        return one + other

    def encode_request(self, streams: Sequence[Stream]) -> bytes:
        parts: list[bytes] = []
        # Looked up here: a call per entry would double the cost.
        heads, most = FIELD_2_HEADS, len(FIELD_2_HEADS)
        for labels, entries in streams:
            named = field(1, labels.encode())
            stream: list[bytes] = []
            total = len(named)
            latest = -1
            for timestamp, line, metadata in entries:
                second, ms = divmod(timestamp, 1000)
                if second != latest:  # many entries share a second
                    latest, stamps = second, _timestamp_heads(second)
                nanos, length = _NANOS[ms], len(line)
                text = heads[length] if length < most else field_2_head(length)
                head = stamps[len(nanos)] + nanos + text
                length += len(head) + len(metadata)
                size = heads[length] if length < most else field_2_head(length)
                total += len(size) + length
                stream += (size, head, line, metadata)
            parts += (b"\x0a", varint(total), named, *stream)
        body: bytes = snappy.compress(b"".join(parts))
        return body

    def _read_entries(self, body: bytes) -> list[tuple[bytes, bytes]]:
        entries = []
        for _, stream in read_fields(snappy.decompress(body)):
            (_, labels), *rest = read_fields(stream)
            entries += [(labels, entry) for _, entry in rest]
        return entries

    def _join_entries(self, entries: Sequence[tuple[bytes, bytes]]) -> bytes:
        request = b"".join(
            field(1, field(1, labels) + b"".join([field(2, entry) for _, entry in group]))
            for labels, group in groupby(entries, itemgetter(0))
        )
        body: bytes = snappy.compress(request)
        return body

    def _format_stream(self, labels: bytes) -> str:
        return labels.decode()

    def redate_request(self, body: bytes, earliest: int, timestamp: int) -> tuple[bytes, int]:
        count = 0
        streams: list[bytes] = []
        second, ms = divmod(timestamp, 1000)
        changed = field(1, b"\x08" + varint(second) + _NANOS[ms])
        for _, stream in read_fields(snappy.decompress(body)):
            (_, labels), *rest = read_fields(stream)
            parts = [field(1, labels)]
            for _, entry in rest:
                (_, time), *others = read_fields(entry)
                seconds, at = read_varint(time, 1)
                nanos = read_varint(time, at + 1)[0] if at < len(time) else 0
                if seconds * 1000 + nanos // 1_000_000 < earliest:
                    entry = changed + b"".join([field(number, one) for number, one in others])
                    count += 1
                parts.append(field(2, entry))
            streams.append(field(1, b"".join(parts)))
        return (snappy.compress(b"".join(streams)), count) if count else (body, 0)


class JsonEncoding(_Division[dict[str, str], list[Any]]):
    headers = (("Content-Type", "application/json"), ("Content-Encoding", "gzip"))

    def encode_metadata(self, metadata: Metadata) -> bytes:
        return msgspec.json.encode(dict(metadata)) if metadata else b""

    def join_metadata(self, one: bytes, other: bytes) -> bytes:
        return one[:-1] + b"," + other[1:] if one and other else one or other

    def encode_request(self, streams: Sequence[Stream]) -> bytes:
        parts = (
            b'{"stream":%b,"values":[%b]}'
            % (msgspec.json.encode(parse_labels(labels)), b",".join(map(_json_entry, entries)))
            for labels, entries in streams
        )
        return _gzip(b'{"streams":[%b]}' % b",".join(parts))

    def _read_entries(self, body: bytes) -> list[tuple[dict[str, str], list[Any]]]:
        document: dict[str, Any] = json.loads(gzip.decompress(body))
        return [
            (stream["stream"], value)
            for stream in document["streams"]
            for value in stream["values"]
        ]

    def _join_entries(self, entries: Sequence[tuple[dict[str, str], list[Any]]]) -> bytes:
        streams = [
            {"stream": labels, "values": [value for _, value in group]}
            for labels, group in groupby(entries, itemgetter(0))
        ]
        return _gzip(msgspec.json.encode({"streams": streams}))

    def _format_stream(self, labels: dict[str, str]) -> str:
        return format_labels(tuple(labels.items()))

    def redate_request(self, body: bytes, earliest: int, timestamp: int) -> tuple[bytes, int]:
        document: dict[str, Any] = json.loads(gzip.decompress(body))
        count = 0
        for stream in document["streams"]:
            for value in stream["values"]:
                if int(value[0]) < earliest * 1_000_000:
                    value[0] = f"{timestamp}000000"
                    count += 1
        return (_gzip(msgspec.json.encode(document)), count) if count else (body, 0)


def _find_cut(labels: Sequence[object]) -> int:
    """Finds where to divide entries: between two streams, as near to the middle as possible."""
    middle = len(labels) // 2
    cuts = [at for at in range(1, len(labels)) if labels[at] != labels[at - 1]]
    return min(cuts, key=lambda at: abs(at - middle), default=middle)


def _json_entry(entry: Entry) -> bytes:
    timestamp, line, metadata = entry
    encoded = b'["%d000000",%b' % (timestamp, msgspec.json.encode(line.decode()))
    return encoded + (b",%b]" % metadata if metadata else b"]")


ENCODINGS: Mapping[str, LokiEncoding] = {"protobuf": ProtobufEncoding(), "json": JsonEncoding()}


_encode_text = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would create one each time


def format_labels(labels: Sequence[tuple[str, str]]) -> str:
    """Formats a label set as Loki does: ``{a="b", c="d"}``, with values quoted as in Go."""
    return "{" + ", ".join(f"{name}={_quote(value)}" for name, value in labels) + "}"


def parse_labels(text: str) -> dict[str, str]:
    """Parses a label set formatted by ``format_labels``, whose quoting is JSON's."""
    decoder = json.JSONDecoder()
    labels: dict[str, str] = {}
    at = 1
    while at < len(text) - 1:
        equals = text.index("=", at)
        name = text[at:equals].lstrip(", ")
        labels[name], at = decoder.raw_decode(text, equals + 1)
    return labels


def _quote(value: str) -> str:
    # JSON's escapes (\" \\ \n \u001f) are a subset of Go's, and both keep text beyond ASCII as it
    # is. Go also escapes DEL, but reads it raw.
    return _encode_text(value)


def _gzip(data: bytes) -> bytes:
    # gzip.compress writes the time into the header, but equal input must give equal bytes. zlib's
    # own container has no time.
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(data) + compressor.flush()
