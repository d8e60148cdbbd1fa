"""Loki push bodies in both encodings, read by a decoder that is independent of the encoder."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.wire.loki_push import (
    ENCODINGS,
    LokiEncoding,
    Metadata,
    format_labels,
    parse_labels,
)
from openqoe.core.wire.varint import field, read_fields, varint
from tests.support.event_builders import NOW
from tests.support.wire_codec import PushStream, decode_push_request, parse_label_set

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
nasty = st.one_of(
    text,
    st.sampled_from(
        ['"', "\\", '\\"', "\n", "\r\n", "\x00", "\x7f", "\x1b[0m", "\u2028", "🎬", "{}", ", "]
    ),
)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
label_sets = st.dictionaries(names, nasty, min_size=1, max_size=5).map(
    lambda labels: tuple(sorted(labels.items()))
)


class Written(NamedTuple):
    """An entry before encoding."""

    timestamp: int  # ms since the epoch
    line: str
    metadata: Metadata


entries = st.builds(
    Written,
    st.one_of(st.integers(0, 2**42), st.just(NOW)),
    nasty,
    st.dictionaries(names, nasty, max_size=3).map(lambda pairs: tuple(pairs.items())),
)
requests = st.lists(st.tuples(label_sets, st.lists(entries, min_size=1, max_size=4)), max_size=4)


@pytest.fixture(params=["protobuf", "json"])
def encoding(request: pytest.FixtureRequest) -> LokiEncoding:
    return ENCODINGS[request.param]


def encode(encoding: LokiEncoding, streams: Sequence[tuple[Metadata, list[Written]]]) -> bytes:
    return encoding.encode_request(
        [
            (
                format_labels(labels),
                [
                    (entry.timestamp, entry.line.encode(), encoding.encode_metadata(entry.metadata))
                    for entry in written
                ],
            )
            for labels, written in streams
        ]
    )


def decode(encoding: LokiEncoding, body: bytes) -> list[PushStream]:
    headers = dict(encoding.headers)
    return decode_push_request(body, headers["Content-Type"], headers.get("Content-Encoding", ""))


Flat = list[tuple[dict[str, str], int, str, dict[str, str]]]


def flat(streams: list[PushStream]) -> Flat:
    return [
        (stream.labels, entry.timestamp_ns, entry.line, entry.metadata)
        for stream in streams
        for entry in stream.entries
    ]


@pytest.mark.parametrize("name", ["protobuf", "json"])
@given(streams=requests)
@settings(max_examples=30)
def test_encoded_streams_are_read_back(
    name: str, streams: list[tuple[Metadata, list[Written]]]
) -> None:
    encoding = ENCODINGS[name]
    assert flat(decode(encoding, encode(encoding, streams))) == [
        (dict(labels), entry.timestamp * 1_000_000, entry.line, dict(entry.metadata))
        for labels, written in streams
        for entry in written
    ]


@pytest.mark.parametrize(
    ("ms", "nanoseconds"),
    [(0, 0), (1, 1_000_000), (NOW, NOW * 1_000_000), (NOW + 999, (NOW + 999) * 1_000_000)],
)
def test_timestamps_are_encoded_in_nanoseconds(
    encoding: LokiEncoding, ms: int, nanoseconds: int
) -> None:
    body = encode(encoding, [((("a", "b"),), [Written(ms, "x", ())])])
    assert decode(encoding, body)[0].entries[0].timestamp_ns == nanoseconds


def test_json_is_compressed_and_omits_empty_metadata() -> None:
    body = encode(ENCODINGS["json"], [((("a", "b"),), [Written(5, "x", ())])])
    assert json.loads(gzip.decompress(body)) == {
        "streams": [{"stream": {"a": "b"}, "values": [["5000000", "x"]]}]
    }


def test_equal_entries_give_equal_bytes(encoding: LokiEncoding) -> None:
    """Not even gzip may write the current time."""
    streams = [((("a", "b"),), [Written(NOW, "x" * 1_000, (("view_id", "v"),))])]
    body = encode(encoding, streams)
    assert body == encode(encoding, streams)
    if encoding is ENCODINGS["json"]:
        assert body[4:8] == b"\0\0\0\0"


# Label text


@given(label_sets)
@settings(max_examples=30)
def test_label_text_is_parsed_by_go_rules(labels: Metadata) -> None:
    written = format_labels(labels)
    assert parse_label_set(written) == dict(labels)
    assert parse_labels(written) == dict(labels)


def test_label_text_is_formatted_and_parsed() -> None:
    assert format_labels([("a", 'x"y'), ("b", "1\n2")]) == r'{a="x\"y", b="1\n2"}'
    assert format_labels([]) == "{}"


# Halves


@pytest.mark.parametrize("name", ["protobuf", "json"])
@given(streams=requests)
@settings(max_examples=30)
def test_halves_contain_all_entries_in_order(
    name: str, streams: list[tuple[Metadata, list[Written]]]
) -> None:
    encoding = ENCODINGS[name]
    body = encode(encoding, streams)
    whole = flat(decode(encoding, body))
    halves = encoding.split_request(body)
    if len(whole) < 2:
        assert halves == ()
        return
    read = [flat(decode(encoding, half)) for half, _ in halves]
    assert read[0] + read[1] == whole
    assert [len(half) for half in read] == [items for _, items in halves]
    if len(streams) == 1:  # several are divided between streams first
        assert abs(len(read[0]) - len(read[1])) <= 1


# Streams


@pytest.mark.parametrize("name", ["protobuf", "json"])
@given(streams=requests, chosen=st.integers(0))
@settings(max_examples=30)
def test_streams_are_listed_split_and_separated(
    name: str, streams: list[tuple[Metadata, list[Written]]], chosen: int
) -> None:
    encoding = ENCODINGS[name]
    body = encode(encoding, streams)
    labels = {format_labels(labels) for labels, written in streams if written}
    assert encoding.list_streams(body) == labels
    whole = flat(decode(encoding, body))
    parts = encoding.split_streams(body)
    assert [entry for part, _ in parts for entry in flat(decode(encoding, part))] == whole
    assert all(len(encoding.list_streams(part)) == 1 for part, _ in parts)
    wanted = {label for at, label in enumerate(sorted(labels)) if chosen >> at & 1}
    separated = encoding.separate_streams(body, wanted)
    if not wanted or wanted == labels:
        assert separated == ()
        return
    (others, _), (selected, _) = separated
    assert encoding.list_streams(selected) == wanted
    assert encoding.list_streams(others) == labels - wanted
    assert sum(items for _, items in separated) == len(whole)


# Protobuf's encoding by hand


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**63 - 1, "ff" * 8 + "7f")],
)
def test_varint_is_encoded_in_base_128(number: int, encoded: str) -> None:
    assert varint(number).hex() == encoded


def test_field_is_tag_length_content() -> None:
    assert field(1, b"ab") == b"\x0a\x02ab"
    assert field(16, b"") == b"\x82\x01\x00"
    assert field(2, b"x" * 200) == b"\x12\xc8\x01" + b"x" * 200


def test_encoded_fields_are_read_back() -> None:
    contents = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 5000]
    message = b"".join(field(number, each) for number, each in enumerate(contents, 1))
    assert list(read_fields(message)) == list(enumerate(contents, 1))


@pytest.mark.parametrize(
    "message",
    [b"\x0a", b"\x0a\x80", b"\x0a\x02a", b"\x08\x01", b"\x09" + bytes(8)],
    ids=["no length", "half a length", "too short", "a number", "a double"],
)
def test_fields_of_invalid_message_raise(message: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        list(read_fields(message))
