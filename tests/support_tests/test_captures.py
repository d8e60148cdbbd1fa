"""Tests of the recordings: loading, shifting in time, and the agreement of the two truths."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.captures import NAMES, Capture, Truth, load, truth

NOW = 1_900_000_000_000


@pytest.fixture(params=NAMES)
def capture(request: pytest.FixtureRequest) -> Capture:
    return load(request.param)


def test_capture_holds_expected_requests_and_events(capture: Capture) -> None:
    assert capture.requests[0].method == "OPTIONS"
    assert "access-control-request-headers" in capture.requests[0].headers
    assert {request.method for request in capture.requests} == {"OPTIONS", "POST"}
    assert {request.path for request in capture.requests} == {f"/v{capture.generation}/events"}
    assert {request.status for request in capture.requests} == {202, 204, 502, 503}
    assert all(request.headers["origin"].startswith("http://") for request in capture.requests)
    times = [request.t for request in capture.requests]
    assert times == sorted(times)


def test_shifting_moves_times_and_nothing_else(capture: Capture) -> None:
    moved = capture.shifted(NOW)
    offset = NOW - (capture.t0 + capture.requests[-1].t)
    pattern = re.compile(rb'"(event_time|viewer_time)":(\d+)')
    for before, after in zip(capture.requests, moved, strict=True):
        expected = pattern.sub(
            lambda match: b'"%s":%d' % (match[1], int(match[2]) + offset), before.body
        )
        assert after.body == expected
        assert after.headers == before.headers
    assert len({request.body for request in moved}) == len(
        {request.body for request in capture.requests}
    )
    newest = max(event["event_time"] for request in moved for event in request.events)
    assert NOW - 10_000 < newest <= NOW


def test_deduplication_keeps_every_event_sent_once(capture: Capture) -> None:
    bodies = {request.body for request in capture.posts}
    assert len(capture.unique_events()) == sum(len(json.loads(body)["events"]) for body in bodies)


def test_totals_equal_sum_of_views(capture: Capture) -> None:
    found = truth(capture)
    assert found.totals.events == len(capture.unique_events())
    assert sum(found.totals.by_type.values()) == found.totals.events
    assert found.orphans == 1
    assert all(view.element is not None for view in found.views.values())
    assert sum(view.reported.stall_starts for view in found.views.values()) == (
        found.totals.stall_starts
    )


def test_reported_facts_agree_with_media_element(capture: Capture) -> None:
    """A fact that the SDK reports equals that of the element; one that it misses is lower."""
    dashjs2 = capture.name == "sdk2-dashjs"
    for view in truth(capture).views.values():
        reported, element = view.reported, view.element
        assert element is not None
        where = f"{capture.name} {view.key}"
        assert (reported.pauses, reported.seeks, reported.ended) == (
            element.pauses,
            element.seeks,
            element.ended,
        ), where
        if not dashjs2:
            assert reported.plays == element.plays, where
        nudge = capture.name == "sdk2-videojs" and view.key.view_id.startswith("83c7c70b")
        assert reported.rebuffers == element.rebuffers - nudge, where
        if not nudge:
            assert reported.rebuffer_s == pytest.approx(element.rebuffer_s, abs=0.01), where
        assert reported.playing_s <= element.playing_s, where
        if element.ended or view.scenario == "flaky":
            assert reported.playing_s == pytest.approx(element.playing_s, abs=1.5), where


def test_truth_matches_hand_counted_numbers() -> None:
    """The expected numbers were counted by hand from the recording."""
    found: Truth = truth(load("sdk1-hlsjs"))
    (full,) = [view for view in found.views.values() if view.scenario == "full"]
    assert full.key == ("b99ec38d-4bb4-442e-9bac-d11a942f0076", "aurora", "hlsjs")
    reported = full.reported
    assert reported.playing_s == pytest.approx(42.290672)
    assert (reported.plays, reported.pauses, reported.pauses_at_end, reported.seeks) == (2, 2, 1, 3)
    assert (reported.stall_starts, reported.stall_ends, reported.rebuffers) == (4, 4, 1)
    assert reported.rebuffer_s == pytest.approx(3.2621)
    assert reported.stall_s == pytest.approx(3.37, abs=0.001)
    assert (reported.quartiles, reported.errors, reported.quality_changes) == (
        (25, 50, 75, 100),
        1,
        3,
    )
    assert reported.startup_s == pytest.approx(1.1545)
    assert found.sent_events == 144
    assert found.totals.events == 126
    second = [key for key, view in found.views.items() if view.scenario == "second"]
    assert [key.video_id for key in second] == ["aurora", "basalt"]
    assert len({key.view_id for key in second}) == 1
