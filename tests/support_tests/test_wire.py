"""Tests of the wire codec: valid and invalid bodies."""

from __future__ import annotations

import gzip
import json
import math
import zlib

import pytest
import snappy

from tests.support.wire_codec import (
    STALE,
    STALE_BITS,
    MetricMetadata,
    PushEntry,
    WireError,
    decode_push_request,
    decode_write_request,
    encode_push_request,
    encode_write_request,
    parse_label_set,
)


def test_decoder_reads_hand_written_write_request() -> None:
    """Bytes written by hand from the message definition, so that encoder and decoder cannot be
    wrong together.
    """
    label = b"\x0a\x08__name__" + b"\x12\x01a"
    sample = b"\x09" + b"\x00\x00\x00\x00\x00\x00\xf8\x3f" + b"\x10\xe8\x07"  # 1.5 at 1000 ms
    series = b"\x0a" + bytes([len(label)]) + label + b"\x12" + bytes([len(sample)]) + sample
    metadata = b"\x08\x01" + b"\x12\x01a" + b"\x22\x04help" + b"\x2a\x01s"
    body = b"\x0a" + bytes([len(series)]) + series + b"\x1a" + bytes([len(metadata)]) + metadata
    request = decode_write_request(snappy.compress(body))
    assert request.series[0].labels == (("__name__", "a"),)
    assert request.series[0].name == "a"
    assert [(item.timestamp_ms, item.value) for item in request.series[0].samples] == [(1000, 1.5)]
    assert request.metadata == (MetricMetadata("a", "counter", "help", "s"),)
    encoded = encode_write_request([({"__name__": "a"}, [(1000, 1.5)])], request.metadata)
    assert snappy.uncompress(encoded) == body


def test_stale_marker_is_distinguished_from_other_nans() -> None:
    body = encode_write_request([({"__name__": "a"}, [(1, STALE), (2, math.nan), (3, 0.0)])])
    stale, nan, zero = decode_write_request(body).series[0].samples
    assert (stale.value, stale.bits) == (STALE, STALE_BITS)
    assert nan.value is not STALE and math.isnan(float(nan.value))
    assert zero.value == 0.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no snappy",
        b"\xff\x06\x00\x00sNaPpY",
        snappy.compress(b"\xff\xff\xff"),
        snappy.compress(b"\x38\x01"),  # an undefined field 7
        snappy.compress(b"\x0a\x04\x0a\x02\x18\x01"),  # the same inside a label
        snappy.compress(b"\x1a\x02\x08\x63"),  # metric type 99
        snappy.compress(b"\x0a\x05\x0a\x03\x0a\x01\xff"),  # label name not UTF-8
    ],
)
def test_invalid_write_request_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        decode_write_request(body)


def test_push_request_decodes_alike_in_every_encoding() -> None:
    document = {
        "streams": [
            {"stream": {"a": "b"}, "values": [["1000000001", "x"], ["2", "y", {"view_id": "v"}]]}
        ]
    }
    data = json.dumps(document).encode()
    protobuf = encode_push_request(
        [('{a="b"}', [PushEntry(1000000001, "x", {}), PushEntry(2, "y", {"view_id": "v"})])]
    )
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bodies = [
        (data, "application/json", ""),
        (data, "application/json; charset=utf-8", ""),
        (gzip.compress(data), "application/json", "gzip"),
        (deflate.compress(data) + deflate.flush(), "application/json", "deflate"),
        (protobuf, "application/x-protobuf", ""),
        (protobuf, "application/x-protobuf", "snappy"),
    ]
    for body in bodies:
        (stream,) = decode_push_request(*body)
        assert stream.labels == {"a": "b"}
        assert stream.entries == (
            PushEntry(1000000001, "x", {}),
            PushEntry(2, "y", {"view_id": "v"}),
        )


def test_decoder_reads_hand_written_push_request() -> None:
    entry = b"\x0a\x04\x08\x01\x10\x02" + b"\x12\x01x" + b"\x1a\x06\x0a\x01k\x12\x01v"
    stream = b'\x0a\x07{a="b"}' + b"\x12" + bytes([len(entry)]) + entry + b"\x18\x05"
    body = snappy.compress(b"\x0a" + bytes([len(stream)]) + stream)
    (found,) = decode_push_request(body, "application/x-protobuf")
    assert found.labels == {"a": "b"}
    assert found.entries == (PushEntry(1_000_000_002, "x", {"k": "v"}),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"streams":[{"stream":{"a":"b"}}]}',
        b'{"streams":[{"values":[]}]}',
        b'{"streams":[{"stream":{"a":1},"values":[]}]}',
        b'{"streams":[{"stream":{"0":"b"},"values":[]}]}',
        b'{"streams":[{"stream":{"a-b":"b"},"values":[]}]}',
        b'{"streams":[{"stream":{},"values":[[1,"x"]]}]}',
        b'{"streams":[{"stream":{},"values":[["1.5","x"]]}]}',
        b'{"streams":[{"stream":{},"values":[["1",2]]}]}',
        b'{"streams":[{"stream":{},"values":[["1"]]}]}',
        b'{"streams":[{"stream":{},"values":[["1","x",{"k":1}]]}]}',
        b'{"streams":[{"stream":{},"values":[["1","x",[]]]}]}',
        b'{"streams":[{"stream":{"a":"\\ud800"},"values":[]}]}',
        b'{"streams":[{"stream":{},"values":[["1","\\udfff"]]}]}',
        b'{"streams":[{"stream":{},"values":[["1","x",{},{}]]}]}',
    ],
)
def test_invalid_json_push_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_push_request(data, "application/json")


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("", ""),
        ("text/plain", ""),
        ("application/json", "br"),
        ("application/json", "gzip"),
        ("application/json", "deflate"),
        ("application/x-protobuf", "gzip"),
        ("application/x-protobuf", ""),
    ],
)
def test_push_with_unsupported_headers_is_refused(content_type: str, encoding: str) -> None:
    with pytest.raises(WireError):
        decode_push_request(b'{"streams":[]}', content_type, encoding)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("{}", {}),
        ('{a="b"}', {"a": "b"}),
        (' { a = "b" , c="d" } ', {"a": "b", "c": "d"}),
        (r'{a="\"\\\n\t\a"}', {"a": '"\\\n\t\a'}),
        (r'{a="\x41\101\u00e9\U0001F600"}', {"a": "AAé😀"}),
        (r'{a="\xc3\xa9é"}', {"a": "éé"}),
        ('{a="}, b=\'"}', {"a": "}, b='"}),
        ('{a=""}', {"a": ""}),
    ],
)
def test_label_text_is_parsed(text: str, labels: dict[str, str]) -> None:
    assert parse_label_set(text) == labels


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "{",
        "{a}",
        "{a=}",
        "{a=b}",
        "{a='b'}",
        '{a="b"',
        '{a="b}',
        '{a="b",}',
        '{,a="b"}',
        '{a="b" c="d"}',
        '{a="b",a="c"}',
        '{a="b"}x',
        '{a!="b"}',
        '{0a="b"}',
        '{a-b="c"}',
        '{é="c"}',
        '{a="b\nc"}',
        r'{a="\q"}',
        r'{a="\x4"}',
        r'{a="\400"}',
        r'{a="\ud800"}',
        r'{a="\U00110000"}',
        r'{a="\xff"}',
        r'{a="\'"}',
        '{a="b\\',
    ],
)
def test_malformed_label_text_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        parse_label_set(text)
