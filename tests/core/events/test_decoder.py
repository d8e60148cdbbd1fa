"""Decoding of whole bodies: batches, and the errors of bodies that are none."""

import json
from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.events.decoder import BatchDecoder, DecodedBatch
from openqoe.core.events.faults import Fault, NotJsonError, WrongShapeError
from tests.support.event_builders import NOW, batch, event

DEEP = b"[" * 10_000 + b"]" * 10_000
GOOD = json.dumps(event()).encode()


def decode(body: bytes, **limits: Any) -> DecodedBatch:
    return BatchDecoder(Config(**limits)).decode(body, NOW)


def shape_fault(body: bytes, **limits: Any) -> Fault:
    with pytest.raises(WrongShapeError) as caught:
        decode(body, **limits)
    return caught.value.fault


# Not JSON


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"not json",
        b"{",
        b'{"events":[',
        batch(event())[:-1],
        batch(event())[:-2],
        batch(event()) + b"x",
        batch(event()) + batch(event()),
        b"{'events':[]}",
        b'{"events":[{"a":}]}',
        b'{"events":[{"a":1,}]}',
        b'{"events":[{"a":"\\x"}]}',
        b'{"events":[{"a":"line\nbreak"}]}',
        b'{"events":[fooNaN]}',
        b'{"events":[-NaN]}',
        b'{"events":["\\ud83d]}',
        b"\xff\xfe",
        b"\xff\xfe" + batch(event()).decode().encode("utf-16-le"),
        b"\x00",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_body_that_is_not_json_raises(body: bytes) -> None:
    with pytest.raises(NotJsonError, match=r"\w"):
        decode(body)


def test_error_names_the_position_in_the_json() -> None:
    with pytest.raises(NotJsonError, match=r"byte 12\b"):
        decode(b'{"events":[ x ]}')


# JSON, but not a batch

NO_OBJECT = Fault(None, "body", 'must be an object with a list "events"', "wrong_shape")
NO_EVENTS = Fault(None, "events", "is required", "wrong_shape")
NO_LIST = Fault(None, "events", "must be a list of events", "wrong_shape")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"null", NO_OBJECT),
        (b"true", NO_OBJECT),
        (b"0", NO_OBJECT),
        (b'"events"', NO_OBJECT),
        (b"[]", NO_OBJECT),
        (b"[" + GOOD + b"]", NO_OBJECT),
        (b"NaN", NO_OBJECT),
        (b"{}", NO_EVENTS),
        (b'{"Events":[]}', NO_EVENTS),
        (GOOD, NO_EVENTS),
        (b'{"events":null}', NO_LIST),
        (b'{"events":{}}', NO_LIST),
        (b'{"events":"[]"}', NO_LIST),
        (b'{"events":1e999}', NO_LIST),
        (b'{"events":NaN}', NO_LIST),
    ],
)
def test_json_of_the_wrong_shape_raises(body: bytes, fault: Fault) -> None:
    assert shape_fault(body) == fault


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"events":[]}', 0),
        (b'{"events":[ ]}', 0),
        (batch(*[{}] * 1001), 1001),
        (batch(*[event()] * 1001), 1001),
    ],
)
def test_batch_with_0_or_1001_events_raises(body: bytes, count: int) -> None:
    fault = shape_fault(body)
    assert fault == Fault(None, "events", f"must hold 1 to 1000 events, not {count}", "batch_size")


def test_batch_with_1000_events_is_accepted() -> None:
    assert len(decode(batch(*[event()] * 1000)).events) == 1000


def test_limit_of_events_is_a_setting() -> None:
    assert shape_fault(batch(event(), event()), max_events=1).reason == "batch_size"
    assert len(decode(batch(event()), max_events=1).events) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"sent_at":1,"events":[' + GOOD + b'],"sdk":{"version":"1"}}',
        b'{"events":[],"events":[' + GOOD + b"]}",  # the last one is used, as in JavaScript
        b' \r\n\t{ "events" : [ ' + GOOD + b" ] } \n",
    ],
)
def test_other_members_of_the_body_are_ignored(body: bytes) -> None:
    assert decode(body).event_count == 1


# Good events beside bad ones


@pytest.mark.parametrize(
    "bad",
    [
        b"null",
        b"1",
        b'"event"',
        b"[]",
        b"{}",
        b"true",
        b"1e999",
        b"NaN",
        b"-Infinity",
        b'{"event_type":NaN}',
        b'{"\\ud83d":"\\udc00"}',
        GOOD.replace(b"acme", b"\xff"),
        GOOD.replace(b'"A film"', b'"\xc3\x28"'),  # in a field that is not declared
        DEEP,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        GOOD[:-1] + b',"deep":' + DEEP + b"}",
        GOOD[:-1] + b',"data":{"to":' + DEEP + b"}}",
    ],
    ids=lambda bad: bad[:12].decode("latin-1"),
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_good_events_survive_a_bad_neighbour(bad: bytes, place: int) -> None:
    elements = [json.dumps(event(view_id=view)).encode() for view in ("a", "b")]
    elements.insert(place, bad)
    decoded = decode(b'{"events":[' + b",".join(elements) + b"]}")
    assert decoded.event_count == 3
    assert [good.view_id for good, _ in decoded.events] == ["a", "b"]
    assert {fault.index for fault in decoded.faults} == {place}


def test_good_events_survive_several_kinds_of_bad_neighbours() -> None:
    body = b'{"events":[%s,%s,%s,%s,%s]}' % (
        GOOD.replace(b"acme", b"\xff"),
        DEEP,
        GOOD.replace(b"acme", b"half a \\ud83d"),
        GOOD.replace(b"%d" % NOW, b"NaN"),
        GOOD,
    )
    decoded = decode(body)
    assert [good.org_id for good, _ in decoded.events] == ["half a \ufffd", "acme"]
    assert [(fault.index, fault.field) for fault in decoded.faults] == [
        (0, ""),
        (1, ""),
        (3, "event_time"),
        (3, "viewer_time"),
    ]


@pytest.mark.parametrize(
    ("bad", "error", "reason"),
    [
        (b'{"a":%s}' % DEEP, "is nested too deeply", "malformed"),
        (DEEP, "must be an object", "wrong_type"),
        (GOOD.replace(b"acme", b"\xff"), "is not valid UTF-8", "not_utf8"),
        (b"null", "must be an object", "wrong_type"),
        (b"[]", "must be an object", "wrong_type"),
    ],
)
def test_unreadable_event_is_a_fault_without_field(bad: bytes, error: str, reason: str) -> None:
    assert decode(b'{"events":[%s,%s]}' % (GOOD, bad)).faults == (Fault(1, "", error, reason),)


@pytest.mark.parametrize(
    "other",
    [b'{"junk":"\xff","events":[%s]}', b'{"junk":%s,"events":[%%s]}' % DEEP],
    ids=["not UTF-8", "nested"],
)
def test_bad_members_beside_the_events_are_ignored(other: bytes) -> None:
    assert [line for _, line in decode(other % GOOD).events] == [batch(event())[11:-2]]


def test_deeply_nested_body_without_events_raises() -> None:
    for body in (DEEP, b'{"events":' + b"[" * 10_000, b'{"other":' + DEEP + b"}"):
        assert shape_fault(body).reason == "batch_size"


def test_scan_of_a_deeply_nested_body_is_bounded() -> None:
    body = b'{"events":[%s,%s%s]}' % (GOOD, DEEP, b",[]" * 200_000)
    assert shape_fault(body).error == "must hold 1 to 1000 events, not 0"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        b'{"events":[' + b"[" * 10_000 + b'"' + b'\\"' * 1_000_000,
        b'{"events":[' + b"[" * 2_000_000,
        b'{"events":[NaN,"' + b'\\"' * 1_000_000,
        b'{"events":["\\ud83d' + b"\\\\" * 500_000,
    ],
    ids=["open string", "open brackets", "open string behind NaN", "backslashes"],
)
def test_hostile_body_raises_in_linear_time(body: bytes) -> None:
    with pytest.raises((NotJsonError, WrongShapeError)):
        decode(body)


# The log line


def event_ending_in(text: str) -> str:
    """Return the JSON of a good event that ends in the given members."""
    ids = ",".join(f'"{name}_id":"i"' for name in ("org", "player", "view", "session", "viewer"))
    return f'{{"event_type":"x","event_time":{NOW},"viewer_time":1,{ids},{text}}}'


@pytest.mark.parametrize(
    ("received", "logged"),
    [
        ('"z":1,"a":2', '"z":1,"a":2'),  # in the sender's order
        ('"a":1.50,"b":1E3,"c":1e999', '"a":1.50,"b":1E3,"c":1e999'),
        ('"a":12345678901234567890123', '"a":12345678901234567890123'),
        ('"a" : [ 1 , 2 ] , "b" : { }', '"a":[1,2],"b":{}'),
        ('\n\t"a":\r\n  " two  spaces "\n', '"a":" two  spaces "'),
        ('"a":"[ 1 , 2 ]"', '"a":"[ 1 , 2 ]"'),
        ('"a":"\\u00e9é\\/\\n\\u0000"', '"a":"\\u00e9é\\/\\n\\u0000"'),
        ('"a":"\\ud83d\\ude00 😀"', '"a":"\\ud83d\\ude00 😀"'),
        ('"a":"\\uD83D"', '"a":"\\ufffd"'),
        ('"a":"\\ude00\\ud83d\\ud83d\\ude00"', '"a":"\\ufffd\\ufffd\\ud83d\\ude00"'),
        ('"a":"\\ud83d","b":"\\\\ud83d"', '"a":"\\ufffd","b":"\\\\ud83d"'),
        ('"a":NaN,"b":[-Infinity,Infinity]', '"a":null,"b":[null,null]'),
        ('"a":NaN,"b":"NaN -Infinity \\"NaN"', '"a":null,"b":"NaN -Infinity \\"NaN"'),
    ],
)
def test_log_line_is_the_compacted_json_of_the_event(received: str, logged: str) -> None:
    decoded = decode(f'{{"events":[{event_ending_in(received)}]}}'.encode())
    assert [line.decode() for _, line in decoded.events] == [event_ending_in(logged)]


@pytest.mark.parametrize("bad", [DEEP, b'"\xff"', b"1e999", b"NaN"], ids=lambda bad: repr(bad[:6]))
def test_log_line_does_not_depend_on_the_neighbours(bad: bytes) -> None:
    spacious = json.dumps(event(app_name="é"), indent=2, ensure_ascii=False).encode()
    decoded = decode(b'{"events":[%s,{"a":%s}]}' % (spacious, bad))
    compact = json.dumps(event(app_name="é"), separators=(",", ":"), ensure_ascii=False)
    assert [line.decode() for _, line in decoded.events] == [compact]
