"""The list and the page of a view show the truth of simulated viewers, in a real browser.

``tests/dashboard/test_simulated_views.py`` compares the API with the truth; this the page's texts.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from openqoe.simulator import Period
from tests.browser.browser import Browser
from tests.support.simulated_store import (
    LENGTH,
    SETTINGS,
    SILENCE,
    ViewTruth,
    as_seen,
    fill_with_viewers,
    interrupted,
)
from tests.support.worker_process import WorkerProcess

BEGIN = round(time.time() * 1000) - LENGTH - SILENCE
KNOWN = 10
SHARE = re.compile(r"left: ([0-9.]+)%; width: ([0-9.]+)%")


@pytest.fixture(scope="module")
def store() -> Iterator[tuple[WorkerProcess, dict[str, ViewTruth]]]:
    """A worker that serves the store, and the views in it."""
    worker = WorkerProcess(SETTINGS)
    filled = fill_with_viewers(worker.data, BEGIN, viewers=14, seed=1)
    filled.close()
    with worker:
        yield worker, {key: one for key, one in filled.truth.items() if one.outcome is not None}


def in_seconds(ms: float | None) -> str:
    """A duration as the page writes it."""
    if ms is None:
        return "\N{EN DASH}"
    if ms < 1000:
        return f"{ms:.0f} ms" if ms else "0 s"
    seconds = ms / 1000
    if seconds >= 60:
        return f"{seconds / 60:.1f} min"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"


def figures(one: ViewTruth) -> dict[str, str]:
    """The numbers of a page by their names."""
    numbers = one.numbers()
    counts = {"Stalls": "rebuffers", "Seeks": "seeks", "Errors": "errors"}
    return {
        "Start-up": in_seconds(numbers["startup_ms"]),
        "Watched": in_seconds(numbers["watch_ms"]),
        "Stalled": in_seconds(numbers["rebuffer_ms"]),
        **{name: f"{numbers[column]:.0f}" for name, column in counts.items()},
        "Switches": f"{numbers['upshifts']:.0f} up, {numbers['downshifts']:.0f} down",
        "Frames dropped": f"{numbers['frames_dropped']:,.0f}",
    }


def shown_lane(browser: Browser, one: ViewTruth) -> list[Period]:
    """The bars of the page's lane of states."""
    begin = one.lane()[0].since
    length = one.lane()[-1].until - begin
    periods = []
    styles = browser.attributes(".lane-body .period", "style")
    titles = browser.attributes(".lane-body .period", "title")
    for style, title in zip(styles, titles, strict=True):
        match = SHARE.search(style)
        assert match is not None
        since, width = (float(share) * length / 100 for share in match.groups())
        state = title.split()[0]
        times = {"since": begin + round(since), "until": begin + round(since + width)}
        periods.append({"state": state, **times})
    return as_seen(periods)


def test_list_shows_the_count_of_each_outcome(
    browser: Browser, store: tuple[WorkerProcess, dict[str, ViewTruth]]
) -> None:
    worker, truth = store
    browser.open(worker.url)
    browser.wait(lambda: browser.all("#views tbody tr"), "the list of views")
    assert browser.text("#views-note").startswith(f"{len(truth)} views")
    labels = browser.attributes("#views-note .chip", "aria-label")
    counts = Counter(int(label.split(": ")[1].split()[0]) for label in labels)
    assert counts == Counter(Counter(one.outcome for one in truth.values()).values())


def test_page_shows_the_numbers_and_the_lane_of_ten_known_views(
    browser: Browser, store: tuple[WorkerProcess, dict[str, ViewTruth]]
) -> None:
    """Some of them were interrupted by a crash; the most eventful are taken."""
    worker, truth = store
    eventful = sorted(truth, key=lambda key: (-len(truth[key].lane()), key))[:KNOWN]
    assert set(eventful) & set(interrupted(truth, BEGIN))
    for key in eventful:
        one = truth[key]
        view_id, video_id = key.split("/")
        wanted = {"org_id": one.labels["org_id"], "view_id": view_id, "video_id": video_id}
        browser.open(f"{worker.url}/?{urlencode({'page': 'view', **wanted})}")
        browser.wait(lambda: browser.all("#view-numbers .figure"), "the numbers")
        names = browser.texts("#view-numbers dt")
        values = browser.texts("#view-numbers .figure")
        expected = figures(one)
        shown = {name: value for name, value in zip(names, values, strict=True) if name in expected}
        assert shown == expected, key
        assert shown_lane(browser, one) == one.lane(), key
    assert browser.complaints() == []
