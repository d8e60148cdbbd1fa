"""What each CMCD record says about its playback."""

from typing import Any

import pytest

from openqoe.core.config.worker_config import Config
from openqoe.core.events.cmcd_record import CmcdEvent
from openqoe.core.events.cmcd_target import CmcdTarget, wrap
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.qoe.signals import Measures, Rendition, Signal, SignalKind, Switch
from openqoe.core.qoe.sources import cmcd
from tests.support.event_builders import NOW
from tests.support.rig import Rig, cmcd_record


def event(keys: str, player: str = "hlsjs") -> CmcdEvent:
    """The event of a record with these keys."""
    body = f'sid="s",cid="film",ts={NOW},v=2,{keys}'.encode()
    target = CmcdTarget("acme", "web", player_name=player)
    decoded = BatchDecoder(Config()).decode(wrap(target, body), NOW)
    ((found, _),) = decoded.events
    assert isinstance(found, CmcdEvent)
    return found


def signals(keys: str, player: str = "hlsjs") -> list[Signal]:
    return list(cmcd.signals_of(event(keys, player)))


def kinds(keys: str, player: str = "hlsjs") -> list[SignalKind]:
    return [signal.kind for signal in signals(keys, player)]


def first(keys: str, player: str = "hlsjs") -> Any:
    return signals(keys, player)[0]


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("d", SignalKind.LOADED),
        ("s", SignalKind.PLAY_REQUESTED),
        ("p", SignalKind.PLAYING),
        ("r", SignalKind.PLAY_WAIT),
        ("w", SignalKind.PLAY_WAIT),
        ("k", SignalKind.SEEK_BEGIN),
        ("a", SignalKind.PAUSED),
        ("e", SignalKind.ENDED),
        ("f", SignalKind.FATAL_ERROR),
        ("q", SignalKind.LEFT),
        ("x", SignalKind.REPORT),
    ],
)
def test_state_has_a_signal(state: str, kind: SignalKind) -> None:
    assert kinds(f"e=ps,sta={state}") == [kind]


def test_state_of_any_record_makes_up_for_a_lost_one() -> None:
    assert kinds("e=bc,sta=r")[0] is SignalKind.PLAY_WAIT
    assert kinds("e=t,sta=p")[0] is SignalKind.PLAYING


def test_pause_counts_by_its_own_record_only() -> None:
    assert kinds("e=t,sta=a") == [SignalKind.REPORT]


def test_periodic_record_reports_bit_rate_in_force() -> None:
    report = signals("e=t,sta=p,br=(2000)")[1]
    assert (report.kind, report.rendition) == (SignalKind.PROGRESS, Rendition(2_000_000))


def test_dash_sends_starting_when_it_is_loaded() -> None:
    assert kinds("e=ps,sta=s", "dashjs") == [SignalKind.LOADED]
    assert kinds("e=ps,sta=s", "shaka") == [SignalKind.PLAY_REQUESTED]


def test_playing_without_rendering_is_no_playback() -> None:
    assert kinds("e=ps,sta=p,nr") == [SignalKind.LEFT]


def test_record_without_state_is_activity_except_the_first() -> None:
    assert kinds("e=t,sn=3") == [SignalKind.ACTIVE]
    assert kinds("e=t,sn=0") == [SignalKind.REPORT]


def test_request_says_nothing_about_the_state() -> None:
    (signal,) = signals("e=rr,sta=p,rc=200,br=(2000),pr=2")
    assert signal == Signal(NOW, SignalKind.REPORT, reports_totals=False)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("e=e,sta=f", [SignalKind.FATAL_ERROR]),
        ("e=e,sta=w", [SignalKind.PLAY_WAIT, SignalKind.ERROR]),
        ("e=e,sn=4", [SignalKind.ACTIVE, SignalKind.ERROR]),
        ("e=b,bg,sta=p", [SignalKind.PLAYING, SignalKind.HIDDEN]),
        ("e=b,bg=?0,sta=p", [SignalKind.PLAYING, SignalKind.VISIBLE]),
        ("e=b,sta=p", [SignalKind.PLAYING, SignalKind.VISIBLE]),
    ],
)
def test_event_of_record_adds_a_signal(keys: str, expected: list[SignalKind]) -> None:
    assert kinds(keys) == expected


@pytest.mark.parametrize(
    ("keys", "rate"), [("", 1.0), (",pr=1.5", 1.5), (",pr=0", 0), (",pr=-1", 1.0), (",pr=99", 1.0)]
)
def test_rate_is_one_unless_reported(keys: str, rate: float) -> None:
    assert first(f"e=ps,sta=p{keys}").rate == rate


@pytest.mark.parametrize(
    ("keys", "bps"),
    [
        ("br=(2376)", 2_376_000),
        ("br=(64;a 2000;v)", 2_000_000),
        ("br=(64;a)", 64_000),
        ("br=(100;v),pb=(200;v),ab=(300;v)", 200_000),
        ("ab=(300;av)", 300_000),
        ("br=(0)", None),
        ("mtp=(1)", None),
    ],
)
def test_bit_rate_is_that_of_the_picture(keys: str, bps: float | None) -> None:
    assert first(f"e=ps,sta=p,{keys}").rendition == (None if bps is None else Rendition(bps))


def test_change_of_sound_is_no_change_of_the_picture() -> None:
    assert first("e=bc,sta=p,br=(64;a)").switch == Switch(is_audio=True)
    assert first("e=bc,sta=p,br=(2000;v)").switch == Switch()


@pytest.mark.parametrize(
    ("keys", "measures"),
    [
        ("e=ps,sta=p,msd=1", Measures(first_frame=0.001)),
        ("e=ps,sta=p,msd=0", Measures(first_frame=0.0)),
        ("e=rr,sta=p,msd=730", None),  # dash.js
        ("e=ps,sta=p,msd=-5", None),
        ("e=ps,sta=p,msd=999999999", None),
        ("e=ps,sta=p", None),
    ],
)
def test_media_start_delay_is_a_measure(keys: str, measures: Measures | None) -> None:
    assert first(keys, "dashjs").measures == measures


def test_position_of_live_stream_is_none() -> None:
    assert first("e=ps,sta=p,pt=1500").position == 1.5
    assert first(f"e=ps,sta=p,st=l,pt={NOW}").position is None
    assert first("e=ps,sta=p,st=ll").is_live


@pytest.mark.parametrize("keys", ["e=ps,sta=p", "e=rr", "e=t", "e=e,sta=f", "e=b,bg"])
def test_no_record_reports_totals(keys: str) -> None:
    assert not any(signal.reports_totals for signal in signals(keys))


# The CDN


@pytest.mark.parametrize(
    ("keys", "cdn"),
    [
        ('cdn="fastly",h="edge-7.example"', "fastly"),
        ('h="edge-7.example",url="https://origin.example/a.m4s"', "edge-7.example"),
        ('url="https://user:p@Origin.example:8443/a.m4s?token=secret"', "origin.example"),
        ('url="https://[no-address/a.m4s"', None),
        ('url="/a.m4s"', None),
        ("d=4000", None),
    ],
)
def test_request_has_the_cdn_as_reported_or_its_host(keys: str, cdn: str | None) -> None:
    rig = Rig(OPENQOE_EXTRA_LABELS="cdn")
    rig.post_cmcd(cmcd_record(0, f"e=rr,ot=v,rc=200,{keys}"))
    rig.flush()
    (labels,) = rig.receiver.select("openqoe_media_requests_total")
    assert dict(labels).get("cdn") == cdn


def test_cdn_is_a_label_only_on_demand() -> None:
    rig = Rig()
    rig.post_cmcd(cmcd_record(0, 'e=rr,ot=v,rc=200,cdn="fastly"'))
    rig.flush()
    (labels,) = rig.receiver.select("openqoe_media_requests_total")
    assert "cdn" not in dict(labels)
