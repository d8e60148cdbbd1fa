"""Rows of views: what the row of a playback says, and which views have one."""

from __future__ import annotations

import msgspec
import pytest

from openqoe.core.effects import HttpResult
from openqoe.core.qoe import view_rows
from openqoe.core.qoe.view_rows import DETAILS, MAX_NUMBER, MAX_VIEW_ID_BYTES, ViewRow
from tests.support.event_builders import NOW
from tests.support.rig import Rig, cmcd_record, player_event

SECOND = 1000
MINUTE = 60 * SECOND


def embedded_rig() -> Rig:
    return Rig({"OPENQOE_EMBEDDED": "on", "OPENQOE_VIEW_TIMEOUT": "120"})


def latest(rig: Rig) -> dict[str, ViewRow]:
    """The latest row of each view, as a store has it: with details that it lacks itself."""
    found: dict[str, ViewRow] = {}
    for row in rig.view_rows:
        earlier = found.get(row.view_id, row)
        kept = {name: getattr(row, name) or getattr(earlier, name) for name in DETAILS}
        found[row.view_id] = msgspec.structs.replace(row, **kept)
    return found


def test_row_of_a_view_that_started_stalled_and_ended_has_its_numbers() -> None:
    rig = embedded_rig()
    rig.post(
        player_event(0, "playing", 0.0),
        player_event(0.1, "stallstart", 0.0),
        player_event(2, "stallend", 0.0, stall_duration=1900),
        player_event(12, "heartbeat", 10.0, playing_time=10_000, dropped_frames=4),
        player_event(12, "stallstart", 10.0),
        player_event(15, "stallend", 10.0, stall_duration=3000),
        player_event(20, "pause", 15.0),
        player_event(80, "playing", 15.0),
        player_event(90, "ended", 25.0, completion_rate=100),
    )
    rig.pass_time(4 * MINUTE)
    (row,) = latest(rig).values()
    assert (row.outcome, row.state) == ("completed", "ended")
    assert (row.began_at, row.asked_at, row.shown_at) == (NOW, NOW, NOW + 2 * SECOND)
    assert (row.startup_ms, row.waited_ms) == (2000, 2000)
    assert (row.rebuffers, row.rebuffer_ms) == (1, 3000)
    assert (row.pauses, row.paused_ms) == (1, 60_000)
    assert row.watch_ms == 28_000
    assert row.frames_dropped == 4
    assert row.score is not None and 0 < row.score < 100


def test_row_of_a_running_view_has_no_outcome_and_follows_its_events() -> None:
    rig = embedded_rig()
    rig.post(player_event(0, "playing", 0.0), player_event(0.1, "stallstart", 0.0))
    rig.pass_time(20 * SECOND)
    assert latest(rig)["view-1"].outcome is None
    rows = len(rig.view_rows)
    rig.pass_time(45 * SECOND)
    assert len(rig.view_rows) == rows, "nothing has happened"
    rig.post(player_event(65, "error", 0.0, error_family="network", error_code="3"))
    rig.pass_time(4 * MINUTE)
    row = latest(rig)["view-1"]
    assert (row.errors, row.error_family, row.error_code) == (1, "network", "3")
    assert row.outcome == "start_failure"


def test_view_that_nobody_asked_to_play_has_no_row() -> None:
    rig = embedded_rig()
    rig.post(player_event(0, "playerready"), player_event(0, "viewstart"))
    rig.pass_time(4 * MINUTE)
    assert rig.view_rows == []


def test_row_has_the_labels_and_the_details_of_its_view() -> None:
    rig = embedded_rig()
    video = {"id": "film-1", "title": "<b>" + "x" * 1500}
    rig.post({**player_event(0, "playing", 0.0), "video": video, "env": "test"})
    rig.pass_time(20 * SECOND)
    (row,) = latest(rig).values()
    assert (row.org_id, row.video_id, row.env) == ("acme", "film-1", "test")
    assert row.title is not None and row.title.startswith("<b>") and len(row.title) == 512
    assert row.session_id and row.viewer_id


@pytest.mark.parametrize(
    "view_id", ["v" * 41, "v" * MAX_VIEW_ID_BYTES, "v" * (MAX_VIEW_ID_BYTES + 1), "ä" * 250]
)
def test_rows_of_a_view_with_a_long_id_have_the_same_id_with_and_without_events(
    view_id: str,
) -> None:
    rig = embedded_rig()
    rig.post(player_event(0, "playing", 0.0, view=view_id))
    rig.pass_time(20 * SECOND)
    rig.pass_time(4 * MINUTE)
    first, last = rig.view_rows
    assert (first.outcome, last.outcome) == (None, "stopped")
    assert first.view_id == last.view_id
    assert (first.view_id == view_id) == (len(view_id) <= MAX_VIEW_ID_BYTES)


def titled(number: int, view: str, length: int) -> dict[str, object]:
    video = {"id": "film", "title": "x" * length}
    return {**player_event(number, "playing", 0.0, view=view), "video": video}


def test_invented_views_with_long_details_take_none_from_views_that_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(view_rows, "MAX_DETAILS_BYTES", 60_000)
    rig = embedded_rig()
    rig.post(titled(0, "real", 20))
    rig.pass_time(10 * SECOND)
    for number in range(100):
        rig.post(titled(10, f"invented-{number}", 512))
    rig.post(titled(10, "real", 30))
    rig.pass_time(20 * SECOND)
    rows = latest(rig)
    assert rows["real"].title == "x" * 30
    assert len(rows) == 101, "every view has a row"
    details = sum(len(row.title or "") for row in rows.values())
    assert details < 60_000 / 2


def test_rows_are_sent_again_until_the_store_takes_them() -> None:
    rig = embedded_rig()
    rig.embedded_outage = HttpResult(503)
    rig.post(player_event(0, "playing", 0.0))
    rig.pass_time(MINUTE)
    assert rig.view_rows == []
    rig.end_outage()
    rig.pass_time(10 * MINUTE)
    assert set(latest(rig)) == {"view-1"}


def test_worker_without_an_embedded_store_sends_no_rows() -> None:
    rig = Rig()
    rig.post(player_event(0, "playing", 0.0))
    rig.pass_time(4 * MINUTE)
    assert rig.view_rows == []
    assert all(not effect.is_embedded for _, effect, _ in rig.sent)


def test_numbers_beyond_all_bounds_do_not_stop_the_flush() -> None:
    rig = embedded_rig()
    rig.post(
        {**player_event(0, "playing", 0.0), "video": {"id": "film", "duration": 1e300}},
        player_event(5, "heartbeat", 5.0, playing_time=1e300, dropped_frames=1e300, bitrate=1e300),
        player_event(9, "heartbeat", 1e290, playing_time=1e300, dropped_frames=1e300),
    )
    rig.pass_time(4 * MINUTE)
    (row,) = latest(rig).values()
    assert all(
        value <= MAX_NUMBER
        for value in (row.frames_dropped, row.furthest_ms, row.played_ms, row.duration_ms or 0)
    )
    assert not [notice for notice in rig.notices if "failed" in notice.event]


def test_row_of_a_failed_cmcd_view_counts_its_seek_and_its_error_once() -> None:
    rig = embedded_rig()
    rig.post_cmcd(
        cmcd_record(0, "e=ps,sta=d,sn=0"),
        cmcd_record(1, "e=ps,sta=s,sn=1"),
        cmcd_record(2, "e=ps,sta=p,sn=2"),
        cmcd_record(10, "e=ps,sta=k,sn=3"),
        cmcd_record(10, "e=ps,sta=r,sn=4"),
        cmcd_record(11, "e=ps,sta=p,sn=5"),
        cmcd_record(20, "e=ps,sta=f,sn=6"),
        cmcd_record(20, 'e=e,ec=("fragLoadError"),sta=f,sn=7'),
        cmcd_record(30, "e=t,sta=f,sn=8"),
        cmcd_record(40, "e=t,sta=f,sn=9"),
    )
    rig.pass_time(4 * MINUTE)
    (row,) = latest(rig).values()
    assert (row.outcome, row.seeks, row.errors) == ("playback_failure", 1, 1)
    assert (row.error_family, row.error_code) == ("cmcd", "fragLoadError")
    assert rig.total("openqoe_errors_total") == 1
