"""Log lines by the rules of Loki's push API: no event may cause a rejection."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.effects import HttpResult, LokiPush
from openqoe.core.events.event_types import Event
from openqoe.core.http.messages import Request
from openqoe.core.sinks.log_buffer import MAX_BEHIND, MAX_LINE, STREAM_LIFETIME, shorten_line
from tests.support.event_builders import NOW, event, post
from tests.support.loki_double import LogEntry, LokiDouble, LokiLimits
from tests.support.rig import HOUR, MINUTE, SECOND, Rig, player_event
from tests.support.wire_codec import decode_push_request

ENCODINGS = ["protobuf", "json"]
IDS = {"view_id": "view-1", "session_id": "session-1", "viewer_id": "viewer-1"}
IDENTITY = ("event_type", "event_time", "org_id", "player_id", "view_id", "session_id", "viewer_id")


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def logged(*events: dict[str, Any], **settings_: str) -> tuple[Rig, list[LogEntry]]:
    rig = Rig(settings_)
    rig.post(*events)
    rig.flush()
    assert rig.loki.rejected == []
    return rig, rig.loki.entries()


def adjusted(rig: Rig, reason: str) -> float:
    rig.flush()
    return rig.total("openqoe_worker_log_entries_adjusted_total", reason=reason)


# Lines


def test_line_is_event_as_received(encoding: str) -> None:
    sent = player_event(3, "ad_click", 2.5, campaign="spring", nested={"a": [1, None, "ü"]})
    _, (entry,) = logged(sent, OPENQOE_LOKI_ENCODING=encoding)
    assert json.loads(entry.line) == sent
    assert entry.ts_ns == (NOW + 3 * SECOND) * 1_000_000


def test_line_is_compact_json() -> None:
    rig = Rig()
    request = post(player_event(0, "seek", 1.0))
    body = json.dumps(json.loads(request.body), indent=2).encode()
    rig.handle(Request("POST", "/v1/events", headers=request.headers, body=body))
    rig.flush()
    (line,) = rig.log_lines()
    assert line == json.dumps(player_event(0, "seek", 1.0), separators=(",", ":"))


def test_only_valid_events_have_lines() -> None:
    rig = Rig()
    response = rig.handle(
        post(player_event(0, "seek"), "nonsense", event(view_id=""), player_event(1, "seek"))
    )
    assert response.status == 207
    rig.flush()
    assert len(rig.log_lines()) == 2


# Time


@pytest.mark.parametrize(
    ("age", "kept"),
    [
        (0, True),
        (10 * MINUTE, True),
        (MAX_BEHIND, True),
        (MAX_BEHIND + 1, False),
        (HOUR, False),
        (23 * HOUR, False),
        (-4 * MINUTE, True),
    ],
)
def test_late_event_gets_arrival_time(age: int, kept: bool) -> None:
    rig, (entry,) = logged(player_event(-age / 1000, "seek", 1.0))
    assert entry.ts_ns == (NOW - age if kept else NOW) * 1_000_000
    assert json.loads(entry.line)["event_time"] == NOW - age
    assert adjusted(rig, "late") == (0 if kept else 1)


def test_event_in_far_future_gets_arrival_time() -> None:
    rig, (entry,) = logged(player_event(30 * 60, "seek", 1.0), OPENQOE_MAX_EVENT_LEAD="3600")
    assert entry.ts_ns == NOW * 1_000_000
    assert adjusted(rig, "early") == 1


def test_old_and_new_events_of_one_stream_are_accepted() -> None:
    """Loki rejects entries an hour behind the newest of their stream, which may be ahead of us."""
    rig = Rig()
    for age in (-290, 0, 2_990, 3_100, 80_000):
        rig.post(player_event(-age, "seek", 1.0, view=f"view-{age}"))
        rig.flush()
    assert rig.loki.rejected == []
    assert len(rig.log_lines()) == 5


def test_fraction_of_millisecond_is_truncated() -> None:
    _, (entry,) = logged({**player_event(0, "seek"), "event_time": NOW + 0.75})
    assert entry.ts_ns == NOW * 1_000_000


# Long lines


def long_event(**members: Any) -> dict[str, Any]:
    return {**player_event(0, "error", 1.0), **members}


def test_line_of_maximum_length_is_unchanged() -> None:
    bare = len(json.dumps(long_event(data={"x": ""}), separators=(",", ":")))
    sent = long_event(data={"x": "y" * (MAX_LINE - bare)})
    rig, (entry,) = logged(sent)
    assert len(entry.line) == MAX_LINE
    assert json.loads(entry.line) == sent
    assert adjusted(rig, "line_shortened") == 0


@pytest.mark.parametrize(
    ("sent", "kept", "left_out"),
    [
        (
            long_event(data={"error_code": "3", "stack": "x" * 300_000}),
            {"error_code": "3"},
            {"stack": "[300002 bytes left out]"},
        ),
        (
            long_event(data={"a": "x" * 280_000, "b": [1] * 100_000, "c": 1}),
            {"b": [1] * 100_000, "c": 1},
            {"a": "[280002 bytes left out]"},
        ),
    ],
    ids=["one large member", "the largest first"],
)
def test_too_long_line_loses_largest_members(
    sent: dict[str, Any], kept: dict[str, Any], left_out: dict[str, Any]
) -> None:
    rig, (entry,) = logged(sent)
    assert len(entry.line.encode()) <= MAX_LINE
    line = json.loads(entry.line)
    assert {name: line[name] for name in IDENTITY} == {name: sent[name] for name in IDENTITY}
    assert line["data"] == {**kept, **left_out}
    assert adjusted(rig, "line_shortened") == 1


@pytest.mark.parametrize(
    "members",
    [
        {"data": "x" * 300_000},
        {"data": None, "extra": "x" * 300_000},
        {"data": {f"key-{n}": n for n in range(20_000)}},
        {f"key-{n}": n for n in range(20_000)},
        {"data": {"x" * 300_000: 1}},
        {"x" * 300_000: {}},
        {"data": {"deep": [[[["x" * 300_000]]]]}},
    ],
    ids=[
        "a string for an object",
        "outside the data",
        "thousands of small members",
        "thousands outside the data",
        "a large name",
        "a large name outside the data",
        "nested",
    ],
)
def test_shortened_line_is_json_with_identity(members: dict[str, Any]) -> None:
    rig, (entry,) = logged(long_event(**members))
    assert len(entry.line.encode()) <= MAX_LINE
    line = json.loads(entry.line)
    assert {name: line[name] for name in IDENTITY} == {
        name: long_event()[name] for name in IDENTITY
    }
    assert adjusted(rig, "line_shortened") == 1


def test_deeply_nested_long_line_is_shortened() -> None:
    """As deep as events can be decoded at all, so some of these are refused."""
    rig = Rig()
    accepted = 0
    for depth in (10, 500, *range(900, 1_010)):
        body = post(long_event(pad="x" * 270_000)).body
        nested = b"[" * depth + b"]" * depth
        body = body.replace(b'"pad":', b'"deep":' + nested + b',"pad":')
        response = rig.handle(Request("POST", "/v1/events", body=body))
        assert response.status in (202, 400)
        accepted += response.status == 202
    rig.flush()
    assert rig.total("openqoe_events_total") == accepted > 2
    assert rig.loki.rejected == []


def test_long_ids_are_kept_and_smaller_members_removed() -> None:
    sent = {**player_event(0, "seek", view="v" * 200), "note": "x" * 100}
    line = json.dumps(sent, separators=(",", ":")).encode()
    short = shorten_line(line, msgspec.convert(sent, Event), len(line) - 50)
    assert json.loads(short) == {**sent, "note": "[102 bytes left out]"}


def test_shortened_line_has_no_invalid_json_numbers() -> None:
    body = post(long_event(pad="x" * 270_000)).body.replace(b'"pad":', b'"odd":1e999,"pad":')
    rig = Rig()
    assert rig.handle(Request("POST", "/v1/events", body=body)).status == 202
    rig.flush()
    (line,) = rig.log_lines()
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just(0.25), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(max_size=8), json_values, max_size=6),
    st.one_of(json_values, st.dictionaries(st.text(max_size=8), json_values, max_size=6)),
    st.integers(400, 700),
)
@settings(max_examples=60)
def test_any_line_is_shortened_to_limit(extra: dict[str, Any], data: Any, limit: int) -> None:
    sent = {**extra, **player_event(0, "error"), "data": data}
    line = json.dumps(sent, separators=(",", ":")).encode()
    short = shorten_line(line, msgspec.convert(player_event(0, "error"), Event), limit)
    assert len(short) <= limit
    found = json.loads(short.decode())
    assert {name: found[name] for name in IDENTITY} == {name: sent[name] for name in IDENTITY}


# Labels


def full(**more: Any) -> dict[str, Any]:
    """An event with every field that can become a label."""
    return {
        **player_event(0, "playing", 0.0),
        "video": {
            "id": "film",
            "title": "A film",
            "source_url": "https://cdn.example/film.m3u8",
            "content_type": "live",
        },
        "network": {"country_code": "DE", "region": "BE"},
        **more,
    }


def test_stream_has_few_labels_and_metadata_the_others(encoding: str) -> None:
    _, (entry,) = logged(full(), OPENQOE_LOKI_ENCODING=encoding)
    assert entry.labels == {
        "org_id": "acme",
        "player_id": "web",
        "event_type": "playing",
        "env": "prod",
        "instance": "rig-0",
    }
    assert entry.metadata == {
        **IDS,
        "video_id": "film",
        "app_name": "shop",
        "app_version": "1.2.3",
        "device_category": "desktop",
        "os_family": "Windows",
        "browser_family": "Chrome",
        "player_name": "hlsjs",
        "network_country": "DE",
        "content_type": "live",
    }


def test_log_labels_setting_selects_stream_labels(encoding: str) -> None:
    chosen = {"OPENQOE_LOG_LABELS": "event_type,network_country"}
    _, (entry,) = logged(full(), OPENQOE_LOKI_ENCODING=encoding, **chosen)
    assert entry.labels == {"event_type": "playing", "network_country": "DE"}
    assert entry.metadata["org_id"] == "acme"
    assert entry.metadata["instance"] == "rig-0"


def test_stream_without_governed_labels_keeps_instance() -> None:
    limits = '{"limits":{"event_type":{"action":"drop"}}}'
    _, (entry,) = logged(full(), OPENQOE_LOG_LABELS="event_type", CARDINALITY_LIMITS=limits)
    assert entry.labels == {"instance": "rig-0"}


def world(countries: int, combinations: int) -> list[dict[str, Any]]:
    """One event of each country and combination of device, OS and browser."""
    return [
        full(
            view_id=f"view-{country}-{number}",
            network={"country_code": f"C{country}"},
            device={"category": f"d{number % 3}"},
            os={"family": f"o{number % 5}"},
            browser={"family": f"b{number}"},
        )
        for country in range(countries)
        for number in range(combinations)
    ]


def test_countries_and_devices_add_no_streams() -> None:
    """As labels they exceeded the limit of streams: the first payload got 429 forever."""
    rig = Rig()
    rig.loki.limits = LokiLimits(max_streams=10)
    for one in world(60, 14):
        rig.post(one)
    rig.flush()
    assert len(rig.log_lines()) == 60 * 14
    assert rig.loki.stream_count() == 1
    assert (rig.loki.rejected, rig.loki.limited) == ([], [])


def test_notice_comes_before_stream_limit() -> None:
    rig = Rig(OPENQOE_LOKI_MAX_STREAMS="10")
    for number in range(7):
        rig.post(player_event(0, f"type-{number}"))
    rig.flush()
    assert not [one for one in rig.notices if "log streams" in one.event]
    for number in range(7, 9):
        rig.post(player_event(0, f"type-{number}"))
    rig.flush(2)
    (notice,) = (one for one in rig.notices if "log streams" in one.event)
    assert dict(notice.fields) == {"streams": 9, "max_streams": 10}
    assert rig.total("openqoe_worker_log_streams") == 9


def test_idle_streams_are_not_counted() -> None:
    rig = Rig(OPENQOE_FLUSH_INTERVAL="60")
    rig.post(player_event(0, "seek"))
    rig.flush(2)
    assert rig.total("openqoe_worker_log_streams") == 1
    rig.pass_time(STREAM_LIFETIME)
    rig.post(player_event(0, "pause"))
    rig.flush(2)
    assert rig.total("openqoe_worker_log_streams") == 1


def test_ids_are_never_stream_labels() -> None:
    every = "video_title,video_source_url,network_region,session_id,view_id,viewer_id"
    _, (entry,) = logged(full(), OPENQOE_EXTRA_LABELS=every)
    assert len(entry.labels) <= 15
    assert not {"view_id", "session_id", "viewer_id", "video_id"} & entry.labels.keys()


def test_absent_and_empty_labels_are_omitted() -> None:
    bare = {
        name: value
        for name, value in player_event(0, "seek").items()
        if name in (*IDENTITY, "viewer_time")
    }
    _, (entry,) = logged({**bare, "env": "", "app_name": None})
    assert entry.labels == {
        "org_id": "acme",
        "player_id": "web",
        "event_type": "seek",
        "instance": "rig-0",
    }
    assert entry.metadata == IDS


def test_event_type_dropped_by_governance_is_not_a_label() -> None:
    limits = '{"limits":{"event_type":{"action":"drop"}}}'
    _, (entry,) = logged(player_event(0, "seek"), CARDINALITY_LIMITS=limits)
    assert "event_type" not in entry.labels


@pytest.mark.parametrize("length", [2_048, 2_049, 5_000])
@pytest.mark.parametrize("letter", ["x", "ü", "🎬"])
def test_label_value_is_cut_to_2048_bytes_between_characters(letter: str, length: int) -> None:
    text = letter * (length // len(letter.encode()) + 1)
    _, (entry,) = logged(full(app_name=text), OPENQOE_MAX_STRING_LENGTH="10000")
    cut = entry.metadata["app_name"]
    assert text.startswith(cut)
    assert 2_044 < len(cut.encode()) <= 2_048


@pytest.mark.parametrize("text", ["\ufffd", "half \ud83d"])
def test_event_with_replacement_character_does_not_lose_push(encoding: str, text: str) -> None:
    rig = Rig(OPENQOE_LOKI_ENCODING=encoding)
    odd = {"org_id": text, "env": text, "app_name": text, "player": {"name": text}}
    rig.post({**player_event(0, text, 1.0), **odd}, player_event(1, "seek", 1.0))
    rig.flush()
    assert len(rig.log_lines()) == 2
    assert rig.loki.rejected == []
    replaced = text.replace("\ufffd", "?").replace("\ud83d", "?")
    assert rig.loki.query({"org_id": replaced, "event_type": replaced})


# Structured metadata


def test_ids_are_structured_metadata(encoding: str) -> None:
    rig, (entry,) = logged(full(), OPENQOE_LOKI_ENCODING=encoding)
    assert entry.metadata.items() >= {**IDS, "video_id": "film"}.items()
    assert rig.loki.query({"org_id": "acme"}, {"view_id": "view-1"}) == [entry]


def test_video_without_id_has_no_id_metadata() -> None:
    _, (entry,) = logged(player_event(0, "seek", video=None))
    assert "video_id" not in entry.metadata


def test_structured_metadata_setting_off_sends_none(encoding: str) -> None:
    _, (entry,) = logged(
        full(), OPENQOE_LOKI_STRUCTURED_METADATA="false", OPENQOE_LOKI_ENCODING=encoding
    )
    assert entry.metadata == {}


# Requests


def test_push_declares_its_encoding(encoding: str) -> None:
    rig = Rig(OPENQOE_LOKI_ENCODING=encoding, OPENQOE_TENANT="acme")
    rig.post(player_event(0, "seek"))
    rig.flush()
    (push,) = (effect for _, effect, _ in rig.sent if isinstance(effect, LokiPush))
    assert push.url == "http://loki.test/loki/api/v1/push"
    headers = dict(push.headers)
    assert headers["X-Scope-OrgID"] == "acme"
    assert headers["User-Agent"].startswith("openqoe-worker/")
    expected = {
        "protobuf": {"Content-Type": "application/x-protobuf"},
        "json": {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    }[encoding]
    assert headers.items() >= expected.items()
    assert len(rig.loki.entries("acme")) == 1


def test_requests_are_bounded_and_complete(encoding: str) -> None:
    rig = Rig(OPENQOE_LOKI_BATCH_BYTES="4096", OPENQOE_LOKI_ENCODING=encoding)
    for number in range(6):
        rig.post(
            *(
                player_event(number, "seek" if n % 2 else "ad_click", 1.0, view=f"{number}-{n}")
                for n in range(10)
            )
        )
    rig.flush()
    pushes = [effect for _, effect, _ in rig.sent if isinstance(effect, LokiPush)]
    for push in pushes:
        headers = dict(push.headers)
        streams = decode_push_request(
            push.body, headers["Content-Type"], headers.get("Content-Encoding", "")
        )
        lines = [len(entry.line) for stream in streams for entry in stream.entries]
        assert sum(lines) <= 4_096
    assert len(pushes) >= 60 * 400 // 4_096
    assert sorted(json.loads(line)["view_id"] for line in rig.log_lines()) == sorted(
        f"{number}-{n}" for number in range(6) for n in range(10)
    )


def test_line_larger_than_request_is_sent_alone() -> None:
    rig, entries = logged(
        player_event(0, "seek", note="x" * 3_000),
        player_event(1, "seek"),
        OPENQOE_LOKI_BATCH_BYTES="1024",
    )
    assert len(entries) == 2
    assert sum(isinstance(effect, LokiPush) for _, effect, _ in rig.sent) == 2


def test_full_requests_are_sent_before_flush() -> None:
    rig = Rig(OPENQOE_LOKI_BATCH_BYTES="4096")
    rig.post(player_event(-1, "seek"))
    assert rig.log_lines() == []
    rig.flush()  # from now on the stream is known
    rig.post(*(player_event(n, "seek") for n in range(20)))
    early = len(rig.log_lines()) - 1
    assert 20 - 4_096 // 500 <= early < 20
    rig.flush()
    assert len(rig.log_lines()) == 21
    assert len([effect for _, effect, _ in rig.sent if isinstance(effect, LokiPush)]) == 5


def test_last_stream_of_a_request_is_the_one_that_loki_refuses_first() -> None:
    """Loki reports only the error of the last one."""
    rig = Rig()
    rig.post(*({**player_event(n, "seek"), "org_id": org} for n, org in enumerate("abb")))
    rig.flush()
    orgs = "bbbacc"  # b is the largest of the known ones, c is new
    rig.post(*({**player_event(n, "seek"), "org_id": org} for n, org in enumerate(orgs, 10)))
    rig.flush()
    requests = [
        [
            stream.labels["org_id"]
            for stream in decode_push_request(effect.body, "application/x-protobuf", "")
        ]
        for _, effect, _ in rig.sent
        if isinstance(effect, LokiPush)
    ]
    assert requests == [["a", "b"], ["a", "b"], ["c"]]


def test_no_destination_keeps_no_lines() -> None:
    rig = Rig(LOKI_URL=None)
    rig.post(player_event(0, "seek"))
    rig.flush()
    assert rig.total("openqoe_seeks_total") == 1
    assert {type(effect).__name__ for _, effect, _ in rig.sent} == {"RemoteWrite"}


# Any event, pushed over HTTP to a server with all rules


def hostile_events() -> list[Any]:
    strings = [
        '"',
        "\\",
        "\n",
        "\r\n\t",
        "\x00",
        "\x7f",
        "{}",
        "=,",
        "\u2028",
        "🎬" * 512,
        "x" * 2_048,
    ]
    events: list[Any] = [
        {
            **full(),
            "app_name": text,
            "app_version": text[::-1],
            "org_id": text[:200],
            "view_id": text[:200],
            "event_type": text[:200],
            "player": {"name": text},
            "video": {"id": text, "content_type": text},
            "data": {text: text, "error_code": text},
        }
        for text in strings
    ]
    events += [
        player_event(second, "seek", 1.0) for second in (-86_300, -3_700, -3_590, -2_000, 0, 299)
    ]
    events += [
        player_event(0, "seek", note="ü" * size) for size in (43_600, 43_700, 131_072, 170_000)
    ]
    events.append(full(data={f"key {n}": "x" * 2_000 for n in range(500)}))
    events.append(full(network={"country": 7}, device=[], os="Windows", browser={"family": 1.5}))
    return events


@pytest.mark.parametrize("metadata", ["true", "false"])
def test_hostile_events_are_never_refused(encoding: str, metadata: str) -> None:
    """They include events with lone surrogates, which JavaScript can send."""
    rig = Rig(OPENQOE_LOKI_ENCODING=encoding, OPENQOE_LOKI_STRUCTURED_METADATA=metadata)
    events = hostile_events()
    with LokiDouble(now_ms=lambda: rig.now) as loki:
        for one in events:
            rig.post(one)
            rig.post(
                {
                    **player_event(0, "error", message="half: \ud83d", view="half"),
                    "app_name": "\ude00",
                }
            )
        rig.flush()
        pushes = [effect for _, effect, _ in rig.sent if isinstance(effect, LokiPush)]
        assert pushes
        for push in pushes:
            assert send(push, f"{loki.url}/loki/api/v1/push") == 204
        assert loki.rejected == []
        assert len(loki.entries()) == len(events) + 1  # the repeated half is a duplicate
    assert rig.loki.rejected == []


def send(push: LokiPush, url: str) -> int:
    request = urllib.request.Request(url, push.body, dict(push.headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            status: int = response.status
            return status
    except urllib.error.HTTPError as refusal:
        raise AssertionError(refusal.read().decode()) from None


def test_too_large_push_is_split_until_accepted(encoding: str) -> None:
    rig = Rig(OPENQOE_LOKI_ENCODING=encoding)
    rig.scripted_results[LokiPush].extend([HttpResult(413), HttpResult(413)])
    rig.post(*(player_event(n, "seek", 1.0) for n in range(8)))
    rig.flush()
    sizes = []
    for _, push, _ in rig.sent:
        if isinstance(push, LokiPush):
            headers = dict(push.headers)
            streams = decode_push_request(
                push.body, headers["Content-Type"], headers.get("Content-Encoding", "")
            )
            sizes.append(sum(len(stream.entries) for stream in streams))
    assert sizes == [8, 4, 2, 2, 4]
    assert [json.loads(line)["event_time"] for line in rig.log_lines()] == [
        NOW + n * SECOND for n in range(8)
    ]
