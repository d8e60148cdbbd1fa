"""Times of the playback model against the media element's own events, for each recording.

The truth is cut at the view's last event: the first SDK generation sends none when the page is
closed, so what was played after it (up to 10 s) is unknown to any collector. Other faults of
players are named in ``FAULTS``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from tests.support.captures import NAMES, CapturedRequest, load
from tests.support.playback_accuracy import Comparison, compare

TOLERANCE = 0.050
"""s; most of it are rounded event times."""

FAULTS = {
    ("sdk1-shaka", "88a72701", "startup"): "no wait, no error, no close for a missing manifest",
    ("sdk1-shaka", "2e95bf7c", "startup"): "no wait, no error, no close for a broken manifest",
    ("sdk2-videojs", "83c7c70b", "rebuffers"): "a wait of 1 ms at a pause is not reported",
}

Requests = Sequence[CapturedRequest]
Order = Callable[[str, Requests], Requests]


def as_recorded(name: str, posts: Requests) -> Requests:
    return posts


def delayed(name: str, posts: Requests) -> Requests:
    """Each request arrives up to 9 s late, so it may be overtaken by later ones."""
    chance = random.Random(name)
    return sorted(
        (_at(post, post.t + chance.randrange(9_000)) for post in posts), key=lambda post: post.t
    )


def repeated(name: str, posts: Requests) -> Requests:
    """Each request arrives twice, the second time up to 60 s later."""
    chance = random.Random(name)
    again = [_at(post, post.t + chance.randrange(60_000)) for post in posts]
    return sorted([*posts, *again], key=lambda post: post.t)


def backwards(name: str, posts: Requests) -> Requests:
    """The requests of each 9 s arrive in reverse order."""
    return sorted(posts, key=lambda post: (post.t // 9_000, -post.t))


def _at(post: CapturedRequest, t: int) -> CapturedRequest:
    return CapturedRequest(t, post.method, post.path, post.headers, post.body, post.status, "")


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(scope="module", params=[as_recorded, delayed, repeated, backwards])
def views(request: pytest.FixtureRequest, name: str) -> list[Comparison]:
    order: Order = request.param
    return compare(name, order(name, load(name).posts))


def is_faulty(view: Comparison, subject: str) -> bool:
    return (view.recording, view.view_id[:8], subject) in FAULTS


def test_startup_is_that_of_media_element(views: list[Comparison]) -> None:
    for view in views:
        if is_faulty(view, "startup"):
            assert view.element.startup is None
            assert view.model.startup == 0.0
        elif view.element.startup is None:
            assert view.model.startup is None, view
        else:
            assert view.model.startup == pytest.approx(view.element.startup, abs=TOLERANCE), view


def test_rebuffering_is_that_of_media_element(views: list[Comparison]) -> None:
    for view in views:
        element = view.element_until_last_event
        if not is_faulty(view, "rebuffers"):
            assert view.model.rebuffers == element.rebuffers, view
        assert view.model.rebuffer == pytest.approx(element.rebuffer, abs=TOLERANCE), view


def test_playing_and_watch_time_are_those_of_media_element(views: list[Comparison]) -> None:
    for view in views:
        element = view.element_until_last_event
        assert view.model.playing == pytest.approx(element.playing, abs=TOLERANCE), view
        assert view.model.watched == pytest.approx(element.watched, abs=TOLERANCE), view


def test_second_generation_reports_time_up_to_close(name: str) -> None:
    """Its ``moveaway`` is the last event of nearly every view."""
    if name.startswith("sdk1"):
        return
    for view in compare(name):
        assert view.model.playing >= view.element.playing - TOLERANCE, view
