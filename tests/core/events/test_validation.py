"""Validation of one event: required fields, optional fields, and faults."""

import json
from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.events.decoder import BatchDecoder, DecodedBatch
from openqoe.core.events.event_types import Event
from openqoe.core.events.faults import Fault
from tests.support.event_builders import NOW, OMIT, batch, event

IDENTITY = ("event_type", "org_id", "player_id", "view_id", "session_id", "viewer_id")
TIMES = ("event_time", "viewer_time")
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


def decode(*events: Any, **limits: Any) -> DecodedBatch:
    return BatchDecoder(Config(**limits)).decode(batch(*events), NOW)


def faults(*events: Any, **limits: Any) -> list[tuple[int | None, str, str, str]]:
    decoded = decode(*events, **limits)
    return [(f.index, f.field, f.error, f.reason) for f in decoded.faults]


def accepted(*events: Any, **limits: Any) -> list[Event]:
    return [good for good, _ in decode(*events, **limits).events]


# Required fields


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (OMIT, "is required", "missing"),
        (None, "is required", "missing"),
        ("", "must not be empty", "missing"),
        (1, "must be a string", "wrong_type"),
        (1.5, "must be a string", "wrong_type"),
        (True, "must be a string", "wrong_type"),
        ([], "must be a string", "wrong_type"),
        ({}, "must be a string", "wrong_type"),
        ("x" * 257, "is longer than 256 characters", "too_long"),
    ],
)
def test_identity_that_is_no_string_is_a_fault(
    name: str, value: Any, error: str, reason: str
) -> None:
    bad = {**event(), name: value}
    if value is OMIT:
        del bad[name]
    assert faults(event(), bad) == [(1, name, error, reason)]


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    ("value", "error", "reason"),
    [
        (OMIT, "is required", "missing"),
        (None, "is required", "missing"),
        (str(NOW), "must be a number", "wrong_type"),
        (True, "must be a number", "wrong_type"),
        ([], "must be a number", "wrong_type"),
        ({}, "must be a number", "wrong_type"),
        (float("nan"), "is required", "missing"),  # JavaScript sends null for it
    ],
)
def test_time_that_is_no_number_is_a_fault(name: str, value: Any, error: str, reason: str) -> None:
    bad = {**event(), name: value}
    if value is OMIT:
        del bad[name]
    assert faults(event(), bad) == [(1, name, error, reason)]


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 5000])
def test_infinite_time_is_a_fault(name: str, number: str) -> None:
    text = batch(event(), event()).decode()
    head, _, tail = text.rpartition(f'"{name}":{NOW}')
    body = f'{head}"{name}":{number}{tail}'.encode()
    decoded = BatchDecoder(Config()).decode(body, NOW)
    assert [good.event_type for good, _ in decoded.events] == ["heartbeat"]
    assert [(f.index, f.field) for f in decoded.faults] == [(1, name)]


def test_every_fault_of_an_event_is_reported() -> None:
    assert faults({}, event(org_id=1, view_id="", viewer_time="soon")) == [
        *[(0, name, "is required", "missing") for name in (*IDENTITY, *TIMES)],
        (1, "org_id", "must be a string", "wrong_type"),
        (1, "view_id", "must not be empty", "missing"),
        (1, "viewer_time", "must be a number", "wrong_type"),
    ]
    assert faults(event(org_id=1, event_time=10**320)) == [
        (0, "org_id", "must be a string", "wrong_type"),
        (0, "event_time", "must be a finite number", "wrong_type"),
    ]


def test_null_equals_a_missing_field() -> None:
    nothing = dict.fromkeys(event())
    assert [f[:2] for f in faults(nothing, event())] == [(0, n) for n in (*IDENTITY, *TIMES)]
    optional: dict[str, Any] = {name: None for name in nothing if name not in (*IDENTITY, *TIMES)}
    (good,) = accepted(event(**optional, data=None, cmcd=None))
    assert good.video is None and good.env is None and good.data is None


def test_faults_are_in_order_of_the_events() -> None:
    decoded = decode(event(org_id=""), event(), None, event(), event(at=0))
    assert [fault.index for fault in decoded.faults] == [0, 2, 4]
    assert decoded.event_count == 5
    assert len(decoded.events) == 2


def test_fault_as_json() -> None:
    assert Fault(3, "event_time", "is late", "too_old").as_json() == {
        "index": 3,
        "field": "event_time",
        "error": "is late",
    }
    assert Fault(None, "events", "is required", "wrong_shape").as_json() == {
        "field": "events",
        "error": "is required",
    }


# Times


@pytest.mark.parametrize(
    ("at", "error"),
    [
        (NOW, None),
        (NOW - 24 * HOUR, None),
        (NOW - 24 * HOUR - 1, "is too old (more than 24 hours)"),
        (0, "is too old (more than 24 hours)"),
        (-NOW, "is too old (more than 24 hours)"),
        (NOW + 5 * MINUTE, None),
        (NOW + 5 * MINUTE + 1, "is too far in the future (more than 5 minutes)"),
        (NOW * 1000, "is too far in the future (more than 5 minutes)"),
        (10**400, "is too far in the future (more than 5 minutes)"),
    ],
)
def test_event_time_out_of_bounds_is_a_fault(at: int, error: str | None) -> None:
    expected = [] if error is None else [(0, "event_time", error)]
    assert [f[:3] for f in faults(event(at=at), clock_correction="refuse")] == expected


@pytest.mark.parametrize(
    "begin", [NOW + HOUR, NOW + 400 * 24 * HOUR, 0, 1_000_000_000_000], ids=str
)
def test_batch_of_wrong_clock_is_shifted_to_arrival(begin: int) -> None:
    """The times between its events stay."""
    got = decode(event(at=begin + 3_000), event(at=begin), event(at=begin + 8_000))
    assert [one.event_time for one, _ in got.events] == [NOW - 5_000, NOW - 8_000, NOW]
    assert got.clock_corrected
    assert json.loads(got.events[1][1])["event_time"] == begin, "the log line is as received"


@pytest.mark.parametrize("more", [(), ({"event_type": "x"},)], ids=["flawless", "with a fault"])
def test_batch_with_times_in_seconds_keeps_the_times_between_its_events(
    more: tuple[dict[str, str], ...],
) -> None:
    got = decode(event(at=NOW // 1000 - 60), event(at=NOW // 1000), *more)
    assert [one.event_time for one, _ in got.events] == [NOW - 60_000, NOW]
    assert got.clock_corrected


def test_batch_with_times_in_seconds_is_refused_if_clocks_are_not_corrected() -> None:
    found = faults(event(at=NOW // 1000), clock_correction="refuse")
    assert [fault[1] for fault in found] == ["event_time"]


def test_batch_of_wrong_clock_with_a_fault_is_shifted_to_arrival() -> None:
    begin = NOW + HOUR
    got = decode(event(at=begin), {"event_type": "x"}, event(at=begin + 8_000))
    assert [one.event_time for one, _ in got.events] == [NOW - 8_000, NOW]
    assert [fault.index for fault in got.faults if fault.reason != "missing"] == []


def test_event_ahead_of_others_of_its_batch_is_a_fault() -> None:
    got = decode(event(at=NOW - 1_000), event(at=NOW + HOUR))
    assert [one.event_time for one, _ in got.events] == [NOW - 1_000]
    assert [(fault.index, fault.reason) for fault in got.faults] == [(1, "too_new")]
    assert not got.clock_corrected


def test_batch_older_than_the_limit_is_refused_though_clocks_are_corrected() -> None:
    got = decode(event(at=NOW - 25 * HOUR))
    assert [fault.reason for fault in got.faults] == ["too_old"]


def test_number_that_is_no_time_is_not_corrected() -> None:
    assert [fault.reason for fault in decode(event(at=NOW * 1000)).faults] == ["too_new"]


@pytest.mark.parametrize(
    ("at", "limits", "error"),
    [
        (NOW - 2 * HOUR, {"max_event_age": HOUR}, "is too old (more than 1 hours)"),
        (NOW - 2 * HOUR, {"max_event_age": 90 * MINUTE}, "is too old (more than 1.5 hours)"),
        (NOW - 2 * HOUR, {"max_event_age": 30 * SECOND}, "is too old (more than 30 seconds)"),
        (NOW + 1, {"max_event_lead": 0}, "is too far in the future (more than 0 seconds)"),
    ],
)
def test_bounds_of_event_time_are_settings(at: int, limits: dict[str, int], error: str) -> None:
    assert [f[2] for f in faults(event(at=at), clock_correction="refuse", **limits)] == [error]


@pytest.mark.parametrize("viewer_time", [0, 4500, -1, 1.5, NOW * 1000, 10**400])
def test_viewer_time_of_any_number_is_accepted(viewer_time: float) -> None:
    """Older documentation defines it as an offset."""
    assert len(accepted(event(viewer_time=viewer_time))) == 1


def test_event_time_with_a_fraction_is_accepted() -> None:
    (good,) = accepted(event(event_time=NOW + 0.5))
    assert good.event_time == NOW + 0.5


# Strings


@pytest.mark.parametrize("name", IDENTITY)
def test_id_at_the_limit_is_accepted(name: str) -> None:
    longest = "é" * 256  # characters, not bytes
    assert len(accepted({**event(), name: longest})) == 1
    assert faults({**event(), name: "xxx"}, max_id_length=2) != []


LONG = "x" * 2049


@pytest.mark.parametrize(
    ("field", "member"),
    [
        ("env", {"env": LONG}),
        ("app_name", {"app_name": LONG}),
        ("app_version", {"app_version": LONG}),
        ("device.category", {"device": {"category": LONG}}),
        ("os.family", {"os": {"family": LONG}}),
        ("browser.family", {"browser": {"family": LONG}}),
        ("player.name", {"player": {"name": LONG}}),
        ("network.country_code", {"network": {"country_code": LONG}}),
        ("network.country", {"network": {"country": LONG}}),
        ("network.region", {"network": {"region": LONG}}),
        ("video.id", {"video": {"id": LONG}}),
        ("video.title", {"video": {"title": LONG}}),
        ("video.source_url", {"video": {"source_url": LONG}}),
        ("video.content_type", {"video": {"content_type": LONG}}),
        ("video.stream_type", {"video": {"stream_type": LONG}}),
        ("cmcd.st", {"cmcd": {"st": LONG}}),
        ("data.media_type", {"data": {"media_type": LONG}}),
        ("data.trigger", {"data": {"trigger": LONG}}),
        ("data.error_family", {"data": {"error_family": LONG}}),
        ("data.error_code", {"data": {"error_code": LONG}}),
    ],
)
def test_label_string_above_the_limit_is_a_fault(field: str, member: dict[str, Any]) -> None:
    error = "is longer than 2048 characters"
    assert faults(event(**member)) == [(0, field, error, "too_long")]
    assert faults(event(**member), max_string_length=2049) == []


def test_other_string_of_any_length_is_accepted() -> None:
    data = {"error_message": "x" * 100_000, "url": "y" * 3000}
    assert len(accepted(event(data=data, video={"id": "v", "series": LONG}))) == 1


@pytest.mark.parametrize("text", ["two\nlines", 'a "quoted" \\ one', "a\0b", "\u2028", "😀", " "])
def test_any_text_is_accepted_as_label(text: str) -> None:
    (good,) = accepted(event(org_id=text, env=text, video={"id": text}))
    assert (good.org_id, good.env, good.video and good.video.id) == (text, text, text)


# Optional fields


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (4711, 4711),
        (0, 0),
        (4711.0, "4711"),
        (12345678.0, "12345678"),
        (123456789.25, "123456789.25"),
        (10**30, 10**30),
    ],
)
def test_numeric_video_id_is_accepted(number: float, text: str | int) -> None:
    (good,) = accepted(event(video={"id": number}))
    assert good.video is not None
    assert good.video.id == text


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"playback_time": "12"}, "playback_time"),
        ({"playback_time": True}, "playback_time"),
        ({"env": True}, "env"),
        ({"env": ["prod"]}, "env"),
        ({"app_version": {"major": 1}}, "app_version"),
        ({"device": "desktop"}, "device"),
        ({"device": []}, "device"),
        ({"device": {"category": {}}}, "device.category"),
        ({"os": 10}, "os"),
        ({"browser": {"family": False}}, "browser.family"),
        ({"player": {"name": [1]}}, "player.name"),
        ({"network": "DE"}, "network"),
        ({"video": "film"}, "video"),
        ({"video": {"id": {"uuid": 1}}}, "video.id"),
        ({"cmcd": {"st": True}}, "cmcd.st"),
        ({"data": "none"}, "data"),
        ({"data": [1]}, "data"),
        ({"data": {"bitrate": "5000"}}, "data.bitrate"),
        ({"data": {"playing_time": [1]}}, "data.playing_time"),
        ({"data": {"resolution": "720p"}}, "data.resolution"),
        ({"data": {"resolution": {"height": "720"}}}, "data.resolution.height"),
        ({"data": {"dropped_frames": "3"}}, "data.dropped_frames"),
        ({"data": {"dropped_frames": {"droppedFrames": "3"}}}, "data.dropped_frames.droppedFrames"),
        ({"data": {"old": {"bitrate_kb": "1"}}}, "data.old.bitrate_kb"),
        ({"data": {"error_context": "it broke"}}, "data.error_context"),
    ],
)
def test_optional_field_of_the_wrong_type_is_ignored(fields: dict[str, Any], path: str) -> None:
    decoded = decode(event(**fields), event())
    assert len(decoded.events) == 2
    assert decoded.faults == ()
    assert decoded.ignored_fields == (path,)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400, "1" + "0" * 5000])
def test_number_out_of_range_is_ignored(number: str) -> None:
    body = batch(event(data={"bitrate": "?", "stall_duration": 7}), event())
    decoded = BatchDecoder(Config()).decode(body.replace(b'"?"', number.encode()), NOW)
    assert decoded.ignored_fields == ("data.bitrate",)
    assert len(decoded.events) == 2
    data = decoded.events[0][0].data
    assert data is not None
    assert (data.bitrate, data.stall_duration) == (None, 7)


def test_fields_beside_an_ignored_field_are_kept() -> None:
    odd = event(
        env=True,
        video={"id": 7.0, "title": {}, "duration": "long"},
        data={"resolution": {"width": "wide", "height": 720}, "bitrate": None, "quartile": 25},
    )
    decoded = decode(odd)
    assert set(decoded.ignored_fields) == {
        "env",
        "video.title",
        "video.duration",
        "data.resolution.width",
    }
    ((good, _),) = decoded.events
    assert good.env is None
    assert good.app_name == "shop"
    assert good.video is not None and good.video.id == "7"
    assert good.data is not None and good.data.quartile == 25
    assert good.data.resolution is not None
    assert (good.data.resolution.width, good.data.resolution.height) == (None, 720)


def test_dropped_frames_object_of_dash_is_decoded() -> None:
    (good,) = accepted(event(data={"dropped_frames": {"time": "now", "droppedFrames": 3}}))
    assert good.data is not None
    assert getattr(good.data.dropped_frames, "dropped_frames", None) == 3


def test_unknown_event_type_is_accepted() -> None:
    (good,) = accepted(event("basket_opened", data={"items": 3, "quartile": 50}))
    assert good.event_type == "basket_opened"
