"""Recorded traffic of real players through the worker, against what is true of it.

Every capture is replayed as it was recorded: each request at its time, flushes in between. Nothing
of the worker's own reading is used to tell what is right; that is `tests.support.captures`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import pytest

from openqoe.core.http.messages import Request
from tests.support.captures import NAMES, CapturedRequest, Truth, load, truth
from tests.support.event_builders import NOW
from tests.support.rig import Rig

Order = Callable[[list[CapturedRequest]], list[CapturedRequest]]


def replay(name: str, order: Order, **settings: str) -> Rig:
    """Post the requests of a capture; every one has to be accepted."""
    capture = load(name)
    rig = Rig(settings, OPENQOE_FLUSH_INTERVAL="30")
    for request in order(capture.shifted(NOW + capture.requests[-1].t)):
        rig.pass_time(max(0, NOW + request.t - rig.now))
        response = rig.handle(
            Request(
                request.method,
                request.path,
                headers=request.headers,
                body=request.body,
                received=rig.now,
            )
        )
        assert response.status == (202 if request.method == "POST" else 204), response.body
    rig.flush(2)
    assert rig.loki.rejected == []
    return rig


def everything(requests: list[CapturedRequest]) -> list[CapturedRequest]:
    """Also what the recorded collector refused, so that the player sent it again."""
    return requests


def without_the_refused(requests: list[CapturedRequest]) -> list[CapturedRequest]:
    """What the recorded collector took."""
    return [request for request in requests if request.status < 300]


@cache
def true_of(name: str) -> Truth:
    return truth(load(name))


@pytest.fixture(scope="module", params=[everything, without_the_refused])
def order(request: pytest.FixtureRequest) -> Order:
    chosen: Order = request.param
    return chosen


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module")
def rig(name: str, order: Order) -> Rig:
    return replay(name, order)


def test_views(rig: Rig, name: str) -> None:
    reported = true_of(name).totals
    assert rig.total("openqoe_views_started_total") == reported.started
    assert rig.total("openqoe_views_completed_total") == reported.ended
    for quartile in (25, 50, 75, 100):
        assert rig.total("openqoe_quartile_reached_total", quartile=str(quartile)) == (
            reported.quartiles.count(quartile)
        )


def test_startup(rig: Rig, name: str) -> None:
    reported = true_of(name).totals
    assert rig.total("openqoe_video_startup_seconds_count") == reported.startups
    assert rig.total("openqoe_video_startup_seconds_sum") == pytest.approx(reported.startup_s)


def test_stalls(rig: Rig, name: str) -> None:
    reported = true_of(name).totals
    assert rig.total("openqoe_rebuffer_events_total") == reported.stall_starts
    assert rig.total("openqoe_rebuffer_duration_seconds_count") == reported.stalls_closed
    assert rig.total("openqoe_rebuffer_duration_seconds_sum") == pytest.approx(reported.stall_s)


def test_rebuffering_is_what_the_media_element_did(rig: Rig, name: str) -> None:
    """video.js of the second generation freed itself from one stall by a seek, which the element
    shows as two waits and the SDK as one.
    """
    found = true_of(name)
    element = found.element_totals
    nudged = name == "sdk2-videojs"
    events = rig.total("openqoe_rebuffer_events_total", cause="rebuffer")
    seconds = rig.total("openqoe_rebuffer_duration_seconds_sum", cause="rebuffer")
    assert events == element.rebuffers - nudged
    assert seconds == pytest.approx(
        found.totals.rebuffer_s if nudged else element.rebuffer_s, abs=0.02
    )


def test_what_the_viewer_did(rig: Rig, name: str) -> None:
    reported = true_of(name).totals
    assert rig.total("openqoe_seeks_total") == reported.seeks
    assert rig.total("openqoe_pause_events_total") == reported.pauses - reported.pauses_at_end
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(reported.playing_s)


def test_errors(rig: Rig, name: str) -> None:
    assert rig.total("openqoe_errors_total") == true_of(name).totals.errors


def test_dropped_frames(rig: Rig, name: str) -> None:
    assert rig.total("openqoe_dropped_frames_total") == true_of(name).totals.dropped_frames


def test_quality_changes(rig: Rig, name: str) -> None:
    """video.js reports hundreds of changes of a bit rate that is not the one that plays."""
    changes = rig.total("openqoe_quality_changes_total")
    if name.endswith("videojs"):
        assert changes < 5
    else:
        assert changes == true_of(name).totals.quality_changes


def test_each_event_counts_once(rig: Rig, name: str, order: Order) -> None:
    """However often it was sent. Beacons that were refused are lost: nobody sends them again."""
    capture = load(name)
    taken = {request.body for request in order(capture.posts)}
    lost = {request.body for request in capture.posts} - taken
    events = sum(len(request.events) for request in capture.posts if request.body in lost)
    assert events <= 2
    assert rig.total("openqoe_events_total") == true_of(name).totals.events - events
    assert len(rig.log_lines()) == rig.total("openqoe_events_total")


def test_marks_stand_whatever_the_order(name: str) -> None:
    """Within windows of 10 s in any order, and a tenth sent twice and not recognised as a batch
    that was sent before.
    """

    def shuffled(requests: list[CapturedRequest]) -> list[CapturedRequest]:
        chance = random.Random(name)
        posts = [request for request in requests if request.method == "POST"]
        posts += chance.sample(posts, len(posts) // 10 + 1)
        return sorted(posts, key=lambda request: (request.t // 10_000, chance.random()))

    rig = replay(name, shuffled, OPENQOE_DEDUP_WINDOW="0")
    reported = true_of(name).totals
    assert rig.total("openqoe_events_total") > reported.events
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(reported.playing_s)
    assert rig.total("openqoe_dropped_frames_total") == reported.dropped_frames
    assert rig.total("openqoe_views_started_total") == reported.started
    assert rig.total("openqoe_quartile_reached_total") == len(reported.quartiles)
    assert rig.total("openqoe_views_completed_total") == reported.ended
