"""The list of views and the page of a view, in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser.browser import PHONE, Browser
from tests.browser.players import Events, ended, failed, post, view
from tests.support.event_builders import batch
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess

HOSTILE = '<img src=x onerror="window.pwned=1"><b>bold</b>'
SETTINGS = {"OPENQOE_FLUSH_INTERVAL": "1", "CARDINALITY_LIMITS": '{"video_id":{"action":"allow"}}'}


def stalled(events: Events) -> Events:
    """The events, with a picture that stands still in each stall."""
    out: Events = []
    for one in events:
        if one["event_type"] == "stall_end":
            one = {**one, "playback_time": out[-1]["playback_time"]}
        out.append(one)
    return out


def asks(worker: WorkerProcess, question: str, **query: Any) -> Any:
    path = f"/dashboard/api/{question}?{urlencode(query)}"
    return json.loads(worker.request("GET", path)[2])


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    """A worker with four views, one of them with hostile texts. It was killed within another, in
    the second stall."""
    with WorkerProcess(SETTINGS) as worker:
        interrupted = ended(stalled(view("stalled", stalls=3)))
        types = [one["event_type"] for one in interrupted]
        middle = types.index("stall_start", types.index("heartbeat") + 2) + 1
        post(worker, ended(view("fine")), interrupted[:middle])
        worker.kill()
        worker.start()
        post(worker, interrupted[middle:])
        post(
            worker,
            view("running", device={"category": "tv"}),
            failed(
                view("evil " + HOSTILE, video={"id": "evil", "title": HOSTILE}),
                "family " + HOSTILE,
                "code " + HOSTILE,
                "message",
            ),
        )
        wait_until(
            lambda: (
                asks(worker, "views")["count"] == 4
                and asks(worker, "views", min_rebuffer="4")["count"] == 1
            ),
            description="the rows of the views",
        )
        yield worker


def rows(browser: Browser) -> list[str]:
    return browser.attributes("#views tbody th a", "title")


def open_list(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.wait(lambda: len(rows(browser)) == 4, "the list of views")


def open_view(browser: Browser, worker: WorkerProcess, view_id: str) -> None:
    (row,) = asks(worker, "views", view_id=view_id)["views"]
    identity = {name: row[name] for name in ("org_id", "view_id", "video_id", "player")}
    browser.open(f"{worker.url}/?{urlencode({'page': 'view', **identity})}")
    browser.wait(lambda: browser.all("#view-events details"), "the events of the view")


def test_list_stays_when_the_charts_are_drawn(browser: Browser, worker: WorkerProcess) -> None:
    open_list(browser, worker)
    browser.wait_for_charts()
    assert len(rows(browser)) == 4
    ids = browser.run("[...document.querySelectorAll('[id]:not(svg [id])')].map((one) => one.id)")
    assert sorted(ids) == sorted(set(ids)), "an id stands for one element"


def test_list_shows_counts_and_filters_by_outcome_rebuffering_and_view(
    browser: Browser, worker: WorkerProcess
) -> None:
    open_list(browser, worker)
    assert browser.text("#views-note").startswith("4 views")
    browser.choose("#views-form [name=outcome]", "completed")
    browser.wait(lambda: sorted(rows(browser)) == ["fine", "stalled"], "the completed views")
    browser.type("#views-form [name=min_rebuffer]", "4", Keys.ENTER)
    browser.wait(lambda: rows(browser) == ["stalled"], "the view that stalled")
    assert "3 · 4.50 s" in browser.text("#views tbody")
    browser.driver.refresh()  # the filters are in the address
    browser.wait(lambda: rows(browser) == ["stalled"], "the view that stalled, again")
    browser.click("#views-clear")
    browser.wait(lambda: len(rows(browser)) == 4, "all views")
    assert browser.complaints() == []


def test_row_of_errors_and_of_who_is_affected_lead_to_their_views(
    browser: Browser, worker: WorkerProcess
) -> None:
    open_list(browser, worker)
    browser.wait(lambda: browser.all("#errors tbody tr"), "the errors")
    browser.click('#errors [aria-label^="Views with"]')
    browser.wait(lambda: rows(browser) == ["evil " + HOSTILE], "the view with the error")
    browser.click("#views-clear")
    browser.wait(lambda: len(rows(browser)) == 4, "all views")
    browser.type('#breakdown [aria-label="Views with tv"]', Keys.ENTER)
    browser.wait(lambda: rows(browser) == ["running"], "the view on a TV")


def test_page_of_a_view_shows_what_happened(browser: Browser, worker: WorkerProcess) -> None:
    open_view(browser, worker, "stalled")
    assert "stalled 3 times for 4.5 s, reached the end." in browser.text(".sentence")
    numbers = browser.text("#view-numbers")
    assert "Stalls\n3" in numbers
    labels = browser.attributes(".lane-body", "aria-label")
    lanes = [label.replace("\N{NO-BREAK SPACE}", " ") for label in labels]
    assert any("rebuffering 4.50 s" in lane for lane in lanes), lanes
    assert any(lane.startswith("Bit rate: 3.0 Mbit/s") for lane in lanes), lanes
    events = browser.texts("#view-events summary")
    assert len(events) == len(ended(view("stalled", stalls=3)))
    assert any("+1.50 s" in event for event in events), "a stall has ended"
    browser.type("#view-events summary", Keys.ENTER)  # by keyboard
    browser.wait(lambda: browser.all("#view-events pre"), "the JSON")
    assert '"view_id": "stalled"' in browser.text("#view-events pre")
    assert browser.complaints() == []


def test_hostile_fields_are_text(browser: Browser, worker: WorkerProcess) -> None:
    open_list(browser, worker)
    assert HOSTILE in browser.text("#views")
    open_view(browser, worker, "evil " + HOSTILE)
    assert HOSTILE in browser.text("#view-head")
    assert HOSTILE in browser.text("#view-events")
    assert browser.run("window.pwned") is None
    assert browser.all("#view-page img, #view-page b, #view-page script") == []
    assert browser.complaints() == []


def test_page_of_a_running_view_follows_it(browser: Browser, worker: WorkerProcess) -> None:
    open_view(browser, worker, "running")
    count = len(browser.all("#view-events details"))
    more: Events = [
        {**view("running")[-1], "device": {"category": "tv"}, "event_type": "heartbeat"}
    ]
    now = round(time.time() * 1000)
    more[0] |= {"event_time": now, "viewer_time": now}
    assert worker.post(batch(*more))[0] == 202
    browser.wait(lambda: len(browser.all("#view-events details")) == count + 1, "the new event")
    assert browser.complaints() == []


def test_unknown_view_is_said_to_be_unknown(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(f"{worker.url}/?page=view&org_id=acme&view_id=nothing")
    browser.wait(lambda: "No view with this id" in browser.text("#view-head"), "the answer")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_list_and_page_fit_on_a_phone(browser: Browser, worker: WorkerProcess, scheme: str) -> None:
    browser.resize(*PHONE)
    browser.scheme(scheme)
    width = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    open_list(browser, worker)
    assert browser.run(width) == 0
    table = "document.querySelector('#views .table')"
    assert browser.run(f"{table}.scrollWidth - {table}.clientWidth") <= 0, "all columns are shown"
    open_view(browser, worker, "stalled")
    assert browser.run(width) == 0
