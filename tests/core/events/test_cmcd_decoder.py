"""Decoding of CMCD bodies: records to events, and what a bad key or record costs."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.config.worker_config import Config
from openqoe.core.events.cmcd_decoder import event_of_line
from openqoe.core.events.cmcd_record import CmcdEvent, CmcdRecord
from openqoe.core.events.cmcd_target import CmcdTarget, read_target, unwrap, wrap
from openqoe.core.events.decoded_batch import DecodedBatch
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.events.faults import NotCmcdError
from openqoe.core.qoe.sources import signals_of
from tests.support.cmcd_captures import NAMES, posts
from tests.support.event_builders import NOW

TARGET = CmcdTarget(org_id="acme", player_id="web")
GOOD = f'cid="film",e=ps,sid="s-1",sn=3,sta=p,ts={NOW},v=2'


def decode(body: str | bytes, target: CmcdTarget = TARGET, **settings: Any) -> DecodedBatch:
    content = body.encode() if isinstance(body, str) else body
    return BatchDecoder(Config(**settings)).decode(wrap(target, content), NOW)


def only(body: str, target: CmcdTarget = TARGET) -> CmcdEvent:
    ((event, _),) = decode(body, target).events
    assert isinstance(event, CmcdEvent)
    return event


def record(keys: str) -> CmcdRecord:
    """Decode a record with the keys that every record needs, and these."""
    return only(f'e=ps,sid="s",ts={NOW},v=2,{keys}').record


def log_line(body: str, target: CmcdTarget = TARGET) -> dict[str, Any]:
    ((_, line),) = decode(body, target).events
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def reasons(body: str) -> list[str]:
    return [fault.reason for fault in decode(body).faults]


# Records of a body


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        GOOD + "\n",
        GOOD + "\r\n",
        f"\n\n  {GOOD}\t\n\n",
        GOOD.replace(",", " , "),
    ],
)
def test_record_is_read_in_every_form_of_body(body: str) -> None:
    assert only(body).record == CmcdRecord("ps", NOW, sn=3, sta="p")


def test_each_line_is_an_event() -> None:
    decoded = decode(f"{GOOD}\n{GOOD.replace('e=ps', 'e=t')}\n")
    assert [event.event_type for event, _ in decoded.events] == ["cmcd_ps", "cmcd_t"]
    assert decoded.event_count == 2


@pytest.mark.parametrize("name", NAMES)
def test_recorded_bodies_have_no_unreadable_key(name: str) -> None:
    for post in posts(name):
        at = NOW
        decoded = BatchDecoder(Config(max_event_age=10**13, max_event_lead=10**13)).decode(
            wrap(TARGET, post.body), at
        )
        assert not decoded.ignored_fields
        assert {fault.reason for fault in decoded.faults} <= {"no_sid"}
        assert decoded.event_count == post.body.count(b"\n")


# Identity


def test_event_has_identity_of_its_target_and_record() -> None:
    target = CmcdTarget("acme", "web", "prod", "shop", "1.2", "hlsjs", "tv", "Tizen", "Chrome")
    event = only(GOOD, target)
    assert (event.org_id, event.player_id, event.env) == ("acme", "web", "prod")
    assert (event.app_name, event.app_version) == ("shop", "1.2")
    assert event.view_id == event.session_id == "s-1"
    assert event.video is not None and event.video.id == "film"
    assert event.player is not None and event.player.name == "hlsjs"
    assert event.device is not None and event.device.category == "tv"
    assert event.event_time == NOW


@pytest.mark.parametrize(("sf", "name"), [(",sf=d", "dash"), (",sf=h", "hls"), ("", "cmcd")])
def test_player_is_named_by_streaming_format_if_target_names_none(sf: str, name: str) -> None:
    player = only(GOOD + sf).player
    assert player is not None and player.name == name


def test_custom_key_names_viewer() -> None:
    assert only(GOOD + ',com.example-viewer_id="v-7"').viewer_id == "v-7"
    assert only(GOOD).viewer_id == ""


# Keys


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ("br=(2376)", "br", {"": 2376}),
        ("br=(2000;v 64;a)", "br", {"v": 2000, "a": 64}),
        ("br=2376", "br", {"": 2376}),  # version 1
        ("pr=1.5", "pr", 1.5),
        ("pr=2", "pr", 2),
        ('ec=("a" "b")', "ec", ("a", "b")),
        ("ec=27", "ec", ("27",)),  # dash.js
        ('ec="x"', "ec", ("x",)),
        ("bg", "bg", True),
        ("bg=?0", "bg", False),
        ("df=3", "dfa", 3),  # dash.js
        ("df=3,dfa=4", "dfa", 4),
        ('url="https://c.example/a.m4s?token=secret#x"', "url", "https://c.example/a.m4s"),
    ],
)
def test_key_is_read_by_its_type(keys: str, field: str, value: object) -> None:
    assert getattr(record(keys), field) == value


@pytest.mark.parametrize(
    "keys", ["br=(a)", "pr=fast", "bg=1", "sn=x", "sta=?1", "msd=(1)", "ec=(?1)", "bl=(?0)"]
)
def test_value_of_wrong_type_costs_only_its_key(keys: str) -> None:
    decoded = decode(f"{GOOD.replace(',sn=3', '').replace(',sta=p', '')},{keys}")
    assert len(decoded.events) == 1
    assert decoded.ignored_fields == (f"cmcd.{keys.partition('=')[0]}",)


def test_broken_member_is_counted_and_costs_no_other() -> None:
    decoded = decode(f"{GOOD},x=--1")
    assert len(decoded.events) == 1
    assert decoded.ignored_fields == ("cmcd",)


def test_too_long_string_is_cut_and_counted() -> None:
    decoded = decode(GOOD.replace("film", "f" * 200))
    ((event, _),) = decoded.events
    assert event.video is not None and event.video.id == "f" * 128
    assert decoded.ignored_fields == ("cmcd.cid",)


# Unusable records


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (GOOD.replace("v=2", "v=3"), "version"),
        (GOOD.replace("e=ps,", ""), "no_event"),
        (GOOD.replace(f",ts={NOW}", ""), "no_time"),
        (GOOD.replace(',sid="s-1"', ""), "no_sid"),
        (GOOD.replace(str(NOW), str(NOW - 25 * 3_600_000)), "too_old"),
        (GOOD.replace(str(NOW), str(NOW + 3_600_000)), "too_new"),
    ],
)
def test_unusable_record_has_a_reason_and_costs_no_other(body: str, reason: str) -> None:
    assert reasons(f"{GOOD}\n{body}\n{GOOD}") == [reason]
    assert len(decode(f"{GOOD}\n{body}\n{GOOD}").events) == 2


def test_line_that_is_not_utf8_costs_no_other() -> None:
    decoded = decode(GOOD.encode() + b"\n\xff=1\n")
    assert [fault.reason for fault in decoded.faults] == ["not_utf8"]
    assert len(decoded.events) == 1


def test_record_without_version_is_accepted() -> None:
    # CTA-5004-B makes it version 1, which has no events: a filter has removed the key.
    assert only(GOOD.replace(",v=2", "")).record.sta == "p"


def test_unknown_event_is_kept_as_other() -> None:
    event = only(GOOD.replace("e=ps", "e=zz"))
    assert event.event_type == "cmcd_other"
    assert log_line(GOOD.replace("e=ps", "e=zz"))["cmcd"]["e"] == "zz"


@pytest.mark.parametrize("body", ["", " \n\n", "hello", b"\xff\xfe", '{"events":[]}'])
def test_body_without_readable_record_raises(body: str | bytes) -> None:
    with pytest.raises(NotCmcdError):
        decode(body)


def test_too_many_records_raise() -> None:
    with pytest.raises(NotCmcdError) as caught:
        decode("\n".join([GOOD] * 4), max_events=3)
    assert caught.value.is_too_large
    with pytest.raises(NotCmcdError) as caught:
        decode("\n" * 1_000_000)
    assert caught.value.is_too_large


@given(st.binary(max_size=300))
def test_any_bytes_are_a_batch_or_not_cmcd(body: bytes) -> None:
    try:
        decoded = decode(body)
    except NotCmcdError:
        return
    assert len(decoded.events) + len(decoded.faults) == decoded.event_count


@pytest.mark.parametrize("ahead", [3_600_000, -10 * 365 * 86_400_000])
def test_times_of_wrong_clock_are_shifted_to_arrival(ahead: int) -> None:
    early, late = (GOOD.replace(str(NOW), str(NOW + ahead - ms)) for ms in (2_000, 0))
    decoded = decode(f"{early}\n{late}")
    assert decoded.clock_corrected
    assert [event.event_time for event, _ in decoded.events] == [NOW - 2_000, NOW]
    first = decoded.events[0][0]
    assert isinstance(first, CmcdEvent)
    assert first.record.ts == NOW + ahead - 2_000  # as sent: it identifies the record


# Log lines


def test_log_line_has_identity_and_typed_keys() -> None:
    line = log_line(f"{GOOD},br=(2000;v 64;a),bl=(8000)", CmcdTarget("acme", "web", "prod"))
    assert line["event_type"] == "cmcd_ps"
    assert (line["org_id"], line["player_id"], line["env"]) == ("acme", "web", "prod")
    assert line["view_id"] == "s-1"
    assert line["video"] == {"id": "film"}
    assert line["cmcd"]["br"] == {"v": 2000, "a": 64}
    assert line["cmcd"]["bl"] == 8000
    assert "viewer_id" not in line


@pytest.mark.parametrize("name", NAMES)
def test_event_of_a_log_line_is_that_of_its_record(name: str) -> None:
    decoder = BatchDecoder(Config(cmcd_log="all", max_event_age=10**13, max_event_lead=10**13))
    count = 0
    for post in posts(name):
        for event, line in decoder.decode(wrap(TARGET, post.body), NOW).events:
            restored = event_of_line(line)
            assert isinstance(event, CmcdEvent)
            assert restored is not None
            assert restored.record == event.record
            assert signals_of(restored) == signals_of(event)
            count += 1
    assert count > 100


@pytest.mark.parametrize(
    "line",
    [b"", b"{", b'{"event_type":"playing"}', b'{"event_type":"cmcd_t","event_time":1,"cmcd":{}}'],
)
def test_other_line_is_no_event_of_a_record(line: bytes) -> None:
    assert event_of_line(line) is None


def test_unknown_and_custom_keys_are_in_log_line() -> None:
    line = log_line(GOOD + ',com.example-title="Ærø",zz=(1 2),yy')
    assert line["cmcd"]["com.example-title"] == "Ærø"
    assert line["cmcd"]["zz"] == [1, 2]
    assert line["cmcd"]["yy"] is True


def test_log_line_of_request_has_no_query() -> None:
    line = log_line(GOOD.replace("e=ps", "e=rr") + ',rc=404,url="https://c/a?token=secret"')
    assert line["cmcd"]["url"] == "https://c/a"


@pytest.mark.parametrize(
    ("setting", "keys", "is_logged"),
    [
        ("events", "e=ps", True),
        ("events", "e=rr,rc=200", False),
        ("events", "e=rr", False),
        ("events", "e=rr,rc=0", True),
        ("events", "e=rr,rc=404", True),
        ("all", "e=rr,rc=200", True),
        ("none", "e=ps", False),
    ],
)
def test_setting_decides_which_records_are_logged(setting: str, keys: str, is_logged: bool) -> None:
    ((_, line),) = decode(GOOD.replace("e=ps", keys), cmcd_log=setting).events
    assert bool(line) is is_logged


# Targets


def test_target_reads_query_and_user_agent() -> None:
    query = "api_key=K&org_id=acme&player_id=web&env=prod&app_name=A%20B&player_name=shaka&x=1"
    agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0) AppleWebKit/605 Version/18 Mobile Safari/604"
    assert read_target(query, {"user-agent": agent}, 128) == CmcdTarget(
        "acme", "web", "prod", "A B", None, "shaka", "mobile", "iOS", "Safari"
    )


def test_target_without_query_has_default_identity() -> None:
    assert read_target("", {}, 128) == CmcdTarget("default", "cmcd")


def test_wrapped_target_has_no_api_key() -> None:
    wrapped = wrap(read_target("api_key=secret-key&org_id=acme", {}, 128), b"e=t")
    assert b"secret-key" not in wrapped
    assert unwrap(wrapped) == (CmcdTarget("acme"), b"e=t")


def test_query_with_too_many_fields_raises() -> None:
    with pytest.raises(NotCmcdError):
        read_target("a=1&" * 200, {}, 128)


DESKTOP = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "


@pytest.mark.parametrize(
    ("agent", "device", "system", "browser"),
    [
        (DESKTOP + "Chrome/141.0.0.0 Safari/537.36", "desktop", "Windows", "Chrome"),
        (DESKTOP + "Chrome/141.0.0.0 Safari/537.36 Edg/141.0", "desktop", "Windows", "Edge"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
            *("desktop", "Linux", "Firefox"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/141 Mobile Safari",
            *("mobile", "Android", "Chrome"),
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; SM-X710) AppleWebKit/537.36 Chrome/141 Safari/537.36",
            *("tablet", "Android", "Chrome"),
        ),
        (
            "Mozilla/5.0 (SMART-TV; Linux; Tizen 8.0) AppleWebKit/537.36 Chrome/108 TV Safari",
            *("tv", "Tizen", "Chrome"),
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605 Version/18 Safari/605",
            *("desktop", "macOS", "Safari"),
        ),
        ("curl/8.5.0", None, None, None),
    ],
)
def test_user_agent_has_families(
    agent: str, device: str | None, system: str | None, browser: str | None
) -> None:
    target = read_target("", {"user-agent": agent}, 128)
    assert target.device_category == device
    assert target.os_family == system
    assert target.browser_family == browser
