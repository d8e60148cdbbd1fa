"""Recorded traffic of real players through the worker, compared with the truth of the recording.

Every capture is replayed as recorded: each request at its time, with flushes in between. The truth
comes from `tests.support.captures`, which does not use the worker's code.
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
    """Posts the requests of a capture; each must be accepted."""
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
                first_byte_at=rig.now,
            )
        )
        assert response.status == (202 if request.method == "POST" else 204), response.body
    rig.flush(2)
    assert rig.loki.rejected == []
    return rig


def all_requests(requests: list[CapturedRequest]) -> list[CapturedRequest]:
    """All requests, including those that the recorded collector refused and the player repeated."""
    return requests


def accepted_requests(requests: list[CapturedRequest]) -> list[CapturedRequest]:
    """The requests that the recorded collector accepted."""
    return [request for request in requests if request.status < 300]


@cache
def truth_of(name: str) -> Truth:
    return truth(load(name))


@pytest.fixture(scope="module", params=[all_requests, accepted_requests])
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


def test_views_match_recording(rig: Rig, name: str) -> None:
    reported = truth_of(name).totals
    assert rig.total("openqoe_views_started_total") == reported.started
    assert rig.total("openqoe_views_completed_total") == reported.ended
    for quartile in (25, 50, 75, 100):
        assert rig.total("openqoe_quartile_reached_total", quartile=str(quartile)) == (
            reported.quartiles.count(quartile)
        )


def test_startup_matches_recording(rig: Rig, name: str) -> None:
    reported = truth_of(name).totals
    assert rig.total("openqoe_reported_startup_seconds_count") == reported.startups
    assert rig.total("openqoe_reported_startup_seconds_sum") == pytest.approx(reported.startup_s)


def test_stalls_match_recording(rig: Rig, name: str) -> None:
    """Stalls that end with a pause or with the view have a duration, too, so there are at least as
    many durations as ends of stalls. Times: ``test_recorded_times``.
    """
    reported = truth_of(name).totals
    assert rig.total("openqoe_rebuffer_events_total") == reported.stall_starts
    assert rig.total("openqoe_rebuffer_duration_seconds_count") >= reported.stalls_closed


def test_rebuffering_matches_media_element(rig: Rig, name: str) -> None:
    """video.js of the second generation recovered from one stall by a seek, which the element
    reports as two waits and the SDK as one.
    """
    nudged = name == "sdk2-videojs"
    events = rig.total("openqoe_rebuffer_events_total", cause="rebuffer")
    assert events == truth_of(name).element_totals.rebuffers - nudged


def test_seeks_and_pauses_match_recording(rig: Rig, name: str) -> None:
    reported = truth_of(name).totals
    assert rig.total("openqoe_seeks_total") == reported.seeks
    assert rig.total("openqoe_pause_events_total") == reported.pauses - reported.pauses_at_end
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(reported.playing_s)


def test_errors_match_recording(rig: Rig, name: str) -> None:
    assert rig.total("openqoe_errors_total") == truth_of(name).totals.errors


def test_dropped_frames_match_recording(rig: Rig, name: str) -> None:
    assert rig.total("openqoe_dropped_frames_total") == truth_of(name).totals.dropped_frames


def test_quality_changes_match_recording(rig: Rig, name: str) -> None:
    """video.js reports hundreds of changes of a bit rate that is not that of the rendition."""
    changes = rig.total("openqoe_quality_changes_total")
    if name.endswith("videojs"):
        assert changes < 5
    else:
        assert changes == truth_of(name).totals.quality_changes


def test_repeated_events_count_once(rig: Rig, name: str, order: Order) -> None:
    """Repetitions do not count. Refused beacons are lost, since the player does not repeat them."""
    capture = load(name)
    accepted = {request.body for request in order(capture.posts)}
    lost = {request.body for request in capture.posts} - accepted
    events = sum(len(request.events) for request in capture.posts if request.body in lost)
    assert events <= 2
    assert rig.total("openqoe_events_total") == truth_of(name).totals.events - events
    assert len(rig.log_lines()) == rig.total("openqoe_events_total")


def test_reordered_and_repeated_requests_change_nothing(name: str) -> None:
    """Requests are shuffled within windows of 10 s; a tenth is repeated and not recognised as a
    duplicate batch.
    """

    def shuffled(requests: list[CapturedRequest]) -> list[CapturedRequest]:
        chance = random.Random(name)
        posts = [request for request in requests if request.method == "POST"]
        posts += chance.sample(posts, len(posts) // 10 + 1)
        return sorted(posts, key=lambda request: (request.t // 10_000, chance.random()))

    rig = replay(name, shuffled, OPENQOE_DEDUP_WINDOW="0")
    reported = truth_of(name).totals
    assert rig.total("openqoe_events_total") > reported.events
    assert rig.total("openqoe_playing_time_seconds") == pytest.approx(reported.playing_s)
    assert rig.total("openqoe_dropped_frames_total") == reported.dropped_frames
    assert rig.total("openqoe_views_started_total") == reported.started
    assert rig.total("openqoe_quartile_reached_total") == len(reported.quartiles)
    assert rig.total("openqoe_views_completed_total") == reported.ended
