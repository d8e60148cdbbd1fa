"""The decoder accepts and rejects requests as Prometheus and Loki do."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.wire.loki_push import ENCODINGS, format_labels
from openqoe.core.wire.remote_write import compress
from openqoe.embedded.payload_decoder import (
    UndecodableError,
    decode_labels,
    decode_logs,
    decode_metrics,
    stream_labels,
)
from tests.embedded.stored_rig import metrics
from tests.support.event_builders import NOW
from tests.support.wire_codec import decode_push_request, decode_write_request

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
LABELS = st.dictionaries(NAMES, TEXT, max_size=5)


@given(LABELS)
def test_stream_labels_round_trip(labels: dict[str, str]) -> None:
    assert stream_labels(format_labels(sorted(labels.items()))) == labels


def test_stream_labels_may_have_white_space_and_a_trailing_comma() -> None:
    assert stream_labels('{ a = "1" ,b="2", }') == {"a": "1", "b": "2"}


LINES = st.lists(st.tuples(st.integers(0, 2**42), TEXT, LABELS), min_size=1, max_size=4)


@settings(max_examples=50)
@given(st.lists(st.tuples(LABELS, LINES), max_size=3), st.sampled_from(["protobuf", "json"]))
def test_entries_equal_those_of_an_independent_decoder(
    streams: list[tuple[dict[str, str], list[tuple[int, str, dict[str, str]]]]], encoding: str
) -> None:
    one = ENCODINGS[encoding]
    body = one.encode_request(
        [
            (
                format_labels(sorted(labels.items())),
                [
                    (at, line.encode(), one.encode_metadata(tuple(metadata.items())))
                    for at, line, metadata in lines
                ],
            )
            for labels, lines in streams
        ]
    )
    headers = {name.lower(): value for name, value in one.headers}
    content_type = headers["content-type"]
    found = [
        (stream_labels(stream.labels), stream.entries) for stream in decode_logs(body, content_type)
    ]
    independent = decode_push_request(body, content_type, headers.get("content-encoding", ""))
    assert found == [
        (
            stream.labels,
            tuple((e.timestamp_ns // 1_000_000, e.line, e.metadata) for e in stream.entries),
        )
        for stream in independent
    ]


SAMPLES = st.lists(st.tuples(st.integers(0, 2**42), st.floats(allow_nan=False)), max_size=3)


@given(st.lists(st.tuples(LABELS, SAMPLES), max_size=3))
def test_samples_equal_those_of_an_independent_decoder(
    series: list[tuple[dict[str, str], list[tuple[int, float]]]],
) -> None:
    body = metrics(*series, described=("a_total",)).body
    found, described = decode_metrics(body)
    independent = decode_write_request(body)
    assert [(decode_labels(one.labels), one.samples) for one in found] == [
        (dict(one.labels), tuple((s.timestamp_ms, s.value) for s in one.samples))
        for one in independent.series
    ]
    assert [(one.name, one.type, one.help, one.unit) for one in described] == [
        (one.family, one.type, one.help, one.unit) for one in independent.metadata
    ]


@given(st.binary(max_size=60), st.booleans())
def test_random_bytes_raise_only_undecodable_error(body: bytes, packed: bool) -> None:
    body = compress((body,)) if packed else body
    with suppress(UndecodableError):
        series, _ = decode_metrics(body)
        for one in series:
            decode_labels(one.labels)
    for content_type in ("application/json", "application/x-protobuf"):
        with suppress(UndecodableError):
            for stream in decode_logs(body, content_type):
                stream_labels(stream.labels)


def test_json_that_is_not_a_push_raises_undecodable_error() -> None:
    good = ENCODINGS["json"].encode_request([('{a="b"}', [(NOW, b"{}", b"")])])
    assert len(decode_logs(good, "application/json")) == 1
    for entry in (b'["x","{}"]', b"[1]", b"[]", b'["1"]', b"{}", json.dumps([None]).encode()):
        body = gzip.compress(b'{"streams":[{"stream":{"a":"b"},"values":[%b]}]}' % entry)
        with pytest.raises(UndecodableError):
            decode_logs(body, "application/json")
