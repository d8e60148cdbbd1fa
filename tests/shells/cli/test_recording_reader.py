"""Reading of recordings: kinds of lines, batches, faults, shifted times."""

import gzip
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.shells.cli import recording_reader
from openqoe.shells.cli.recording_reader import RecordedBatch, Unusable
from tests.support import captures
from tests.support.event_builders import NOW, batch, event


def read(*lines: Any, batch_size: int = 10) -> list[RecordedBatch | Unusable]:
    text = b"".join(
        (one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines
    )
    return list(recording_reader.read(io.BytesIO(text), batch_size))


def bodies(entries: list[RecordedBatch | Unusable]) -> list[list[Any]]:
    return [
        json.loads(entry.body)["events"] for entry in entries if isinstance(entry, RecordedBatch)
    ]


def test_recorded_request_keeps_body_path_and_headers() -> None:
    body = '{"events":[{"event_time":5}]} '
    (entry,) = read(
        {
            "t": 12,
            "method": "POST",
            "path": "/v1/events?api_key=k",
            "headers": {"a": "b"},
            "body": body,
        }
    )
    assert entry == RecordedBatch(1, body.encode(), 12, 5, "/v1/events", {"a": "b"})


def test_recorded_cmcd_request_keeps_its_target_without_the_key() -> None:
    body = "e=ps,ts=1795449605272,v=2\ne=t,ts=1795449605300,v=2\n"
    (entry,) = read({"t": 3, "path": "/v1/cmcd?api_key=secret&org_id=acme&env=x", "body": body})
    assert entry == RecordedBatch(
        1, body.encode(), 3, 1795449605300, "/v1/cmcd?org_id=acme&env=x", {}
    )


def test_times_of_cmcd_records_are_shifted_and_nothing_else() -> None:
    body = b'cid="ts=1795449605272x",e=ps,ts=1795449605272,ttfb=1\nts=1795449605300,e=t\n'
    assert recording_reader.shift_times(body, 1000) == (
        b'cid="ts=1795449605272x",e=ps,ts=1795449606272,ttfb=1\nts=1795449606300,e=t\n'
    )


def test_recorded_body_that_is_not_a_batch_is_kept() -> None:
    (entry,) = read({"path": "/v2/events", "body": "nonsense"})
    assert entry == RecordedBatch(1, b"nonsense", None, None, "/v2/events")


@pytest.mark.parametrize(
    "line",
    [
        {"method": "OPTIONS", "path": "/v2/events", "body": ""},
        {"method": "GET", "path": "/health"},
        {"method": "POST", "path": "/v2/events", "body": ""},
        {"method": "POST", "path": "/cdn-logs", "body": "sid=1"},
    ],
)
def test_request_without_events_is_skipped(line: dict[str, Any]) -> None:
    assert read(line) == [Unusable(1, None)]


def test_batch_line_is_its_own_body() -> None:
    line = b' {"events": [{"event_time": 7}, {"event_time": 1e1}, 5]}'
    (entry,) = read(line)
    assert isinstance(entry, RecordedBatch)
    assert (entry.body, entry.at) == (line.strip(), None)  # 5 has no time, so nothing is known
    (entry,) = read(b'{"events": [{"event_time": 7}, {"event_time": 1e1}, {}]}')
    assert isinstance(entry, RecordedBatch)
    assert entry.newest == entry.at == 10


def test_single_events_are_combined_into_batches() -> None:
    events = [event(at=NOW + n) for n in range(5)]
    assert bodies(read(*events, batch_size=2)) == [events[:2], events[2:4], events[4:]]


def test_single_events_more_than_five_seconds_apart_are_separate_batches() -> None:
    events = [event(at=NOW), event(at=NOW + 5_000), event(at=NOW + 5_001)]
    assert bodies(read(*events)) == [events[:2], events[2:]]


def test_batch_between_single_events_keeps_its_order() -> None:
    one, two, three = event(), event("playing"), event("ended")
    assert bodies(read(one, {"events": [two]}, three)) == [[one], [two], [three]]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nonsense", "JSON is malformed"),
        (b'"\xff"', "Expected `object`"),
        (b'{"body": "\xff"}', "utf-8"),
        (b"[]", "Expected `object`"),
        ({"body": 5}, "$.body"),
        ({"t": "x", "body": ""}, "$.t"),
        ({"a": 1}, "neither a request"),
    ],
)
def test_unusable_line_is_reported_and_others_are_read(line: Any, reason: str) -> None:
    before, fault, after = read({"events": []}, line, b"", {"events": []})
    assert isinstance(before, RecordedBatch)
    assert isinstance(after, RecordedBatch)
    assert isinstance(fault, Unusable)
    assert fault.line == 2
    assert after.line == 4
    assert fault.reason is not None
    assert reason.lower() in fault.reason.lower()


def test_lines_before_damaged_compression_are_read() -> None:
    text = b"".join(json.dumps(event(view_id=f"{n * 7919}")).encode() + b"\n" for n in range(999))
    packed = gzip.compress(text)
    whole = list(recording_reader.read(recording_reader.decompress(io.BytesIO(packed)), 1))
    for damaged in (packed[: len(packed) // 2], packed[:-4] + b"abcd"):
        *sound, fault = recording_reader.read(recording_reader.decompress(io.BytesIO(damaged)), 1)
        assert sound == whole[: len(sound)]
        assert sound
        assert isinstance(fault, Unusable)
        assert "decompressed" in str(fault.reason)


def test_overview_counts_batches_times_and_faults() -> None:
    found = recording_reader.survey(
        iter(
            read(
                {"t": 100, "body": batch(event(at=NOW + 5)).decode()},
                {"t": 40, "body": batch(event(at=NOW)).decode()},
                {"method": "OPTIONS"},
                b"nonsense",
            )
        )
    )
    assert (found.batches, found.first, found.last, found.length) == (2, 40, 100, 60)
    assert (found.newest, found.skipped, len(found.faults)) == (NOW + 5, 1, 1)


def test_shift_changes_only_the_times_of_events() -> None:
    body = (
        b'{"x":1.10,"events":[{"event_time":1760000000000,"viewer_time":1760000000000.5,'
        b'"data":{"a":1.50,"big":123456789012345678901234567890}},{"viewer_time":4500},7]}'
    )
    assert recording_reader.shift_times(body, 90_000) == body.replace(
        b"1760000000000", b"1760000090000"
    )


@settings(max_examples=50)
@given(
    st.binary()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps({"events": value}).encode()
    )
)
def test_shift_keeps_a_body_that_is_not_a_batch(body: bytes) -> None:
    shifted = recording_reader.shift_times(body, 5)
    try:
        content = json.loads(body)
    except ValueError:
        assert shifted == body
    else:
        assert repr(json.loads(shifted)) == repr(content)  # repr, because NaN differs from itself


@pytest.mark.parametrize("name", captures.NAMES)
def test_recording_of_real_players_is_read_and_shifted_completely(name: str) -> None:
    capture = captures.load(name)
    with (captures.DIRECTORY / f"{name}.ndjson.gz").open("rb") as file:
        found = [
            entry
            for entry in recording_reader.read(recording_reader.decompress(file), 10)
            if isinstance(entry, RecordedBatch)
        ]
    assert [entry.body for entry in found] == [request.body for request in capture.posts]
    shift = 86_400_000
    expected = capture.shifted(capture.t0 + capture.requests[-1].t + shift)
    for entry, request in zip(found, (r for r in expected if r.method == "POST"), strict=True):
        assert json.loads(recording_reader.shift_times(entry.body, shift)) == json.loads(
            request.body
        )
