"""The dashboard of a real worker with known events, in a real browser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.browser.browser import PHONE, Browser
from tests.browser.players import ended, failed, post, view
from tests.support.event_builders import batch, event
from tests.support.services import wait_until
from tests.support.worker_process import WorkerProcess

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script>&amp;<b>bold</b>'
NOTHING = "\N{EN DASH}"
ESCAPES = "\x1b[31mred\x07 \u202etxt.exe"


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    """A worker with four views of two organisations, one of them with hostile names."""
    settings = {
        "OPENQOE_FLUSH_INTERVAL": "1",
        "CARDINALITY_LIMITS": '{"video_id":{"action":"allow"}}',
    }
    with WorkerProcess(settings) as worker:
        post(
            worker,
            ended(view("view-1")),
            ended(view("view-2", startup=1200, stalls=2)),
            view("view-3", startup=4000, stalls=2, device={"category": "tv"}),
            failed(
                view(
                    "view-4" + ESCAPES,
                    org_id="evil " + HOSTILE,
                    player_id=ESCAPES,
                    device={"category": HOSTILE},
                    video={"id": "evil-video", "title": HOSTILE},
                ),
                "family " + HOSTILE,
                "code " + HOSTILE,
                ESCAPES,
            ),
        )
        wait_until(lambda: _stored(worker), description="the events to be stored")
        yield worker


def _stored(worker: WorkerProcess) -> bool:
    """Whether all events are in the metrics and in the log."""
    current = json.loads(worker.request("GET", "/dashboard/api/overview")[2])["current"]
    tail = worker.request("GET", "/dashboard/api/tail?event_type=viewstart")[2]
    views = (current["views_started"], tail.count(b'"event_type":"viewstart"'))
    return views == (4, 4) and current["rebuffer_events"] == 4


def test_page_shows_the_numbers_of_the_events(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.wait(lambda: browser.tile("frequency") == "58.5 / h", "the tiles")  # 4 in 246 s
    assert browser.tile("started") == "4"
    assert browser.tile("completed") == "2"
    assert browser.tile("watched") == "4.1 min"
    assert browser.tile("ratio") == "2.44 %"  # 6 s of 246 s
    # Two views have ended, both at the end of the video.
    assert browser.tile("exits") == browser.tile("start-failures") == "0 %"
    assert browser.tile("playback-failures") == "0 %"
    assert browser.tile("score") == "86.1 / 100"
    assert browser.tile("errors") == "25.0 / 100 views"
    # Of 0.8 0.8 1.2 4.0 s the median lies at the end of the bucket from 0.5 to 1 s.
    assert browser.tile("startup") == "1.00 s"
    browser.wait_for_charts()
    rows = [row.split() for row in browser.texts("#breakdown tbody tr")]
    assert ["desktop", "2"] in [row[:2] for row in rows]
    funnel = [line.split()[:2] for line in browser.texts("#funnel li")]
    assert funnel[0] == ["Started", "4"]
    assert funnel[-1] == ["Completed", "2"]
    assert "delivering" in browser.text("#delivery")
    assert "2 / 1,000" in browser.text("#cardinality")  # org_id
    assert browser.complaints() == []


def test_charts_have_text_descriptions(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.wait_for_charts()
    labels = browser.attributes(".plot", "aria-label")
    assert len(labels) == 7
    assert any(label.startswith("Start-up time. p50: latest") for label in labels), labels


def test_filter_applies_to_the_page_and_is_in_its_address(
    browser: Browser, worker: WorkerProcess
) -> None:
    browser.open(worker.url)
    browser.wait(lambda: len(browser.all("[name=org_id] option")) == 3, "the organisations")
    browser.choose("[name=org_id]", "acme")
    browser.wait(lambda: browser.tile("started") == "3", "the filtered number")
    assert browser.tile("errors") == "0 / 100 views"
    browser.driver.refresh()
    browser.wait(lambda: browser.tile("started") == "3", "the filter after a reload")
    # A row of a breakdown is a filter, too.
    browser.wait_for_charts()
    browser.click("#breakdown tbody button", "tv")
    browser.wait(lambda: browser.tile("started") == "1", "the device's number")
    assert browser.chosen("[name=device_category]") == "tv"
    browser.driver.back()
    browser.wait(lambda: browser.tile("started") == "3", "the filter before")
    browser.click("#clear")
    browser.wait(lambda: browser.tile("started") == "4", "all of it again")
    assert browser.complaints() == []


def tail_length(browser: Browser) -> int | None:
    """The number of events in the tail; nothing while an answer to its filters is awaited."""
    if browser.all("#tail[aria-busy]"):
        return None
    return len(browser.all("#tail details"))


def test_markup_in_events_is_shown_as_text(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.wait_for_charts()
    browser.wait(lambda: browser.all("#tail details"), "the tail")
    for place in ("#filters", "#breakdown", "#failing", "#errors", "#tail"):
        assert "<img src=x" in browser.attributes(place, "textContent")[0], place
    # An event, opened.
    browser.type("[name=event_type]", "error")
    browser.wait(lambda: tail_length(browser) == 1, "the error")
    browser.click("#tail summary")
    browser.wait(lambda: browser.all("#tail pre"), "the event")
    assert HOSTILE.replace('"', '\\"') in browser.text("#tail pre")
    assert "\\u001b[31mred\\u0007 \\u202etxt.exe" in browser.text("#tail summary .glance")
    shown = browser.run("document.documentElement.textContent")
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert browser.run("window.pwned") is None
    assert browser.all("main img, main script, main b") == []
    assert browser.complaints() == []


def test_markup_in_charts_is_shown_as_text(browser: Browser, worker: WorkerProcess) -> None:
    """In the legend and the hover label, where the library interprets some markup."""
    browser.open(worker.url)
    browser.wait_for_charts()
    browser.run(
        "import('./dashboard/charts.js').then(c => c.show({from: 0, to: 90000, step: 30000,"
        " times: [30000, 60000, 90000],"
        " series: new Proxy({}, {get: () => [1, 2, 3]}),"
        ' errors: {"<b>one</b>": [1, 2, 3], "<a href=\'x\'>two</a>": [3, 2, 1]}}))'
    )
    texts = "[...document.querySelectorAll('#chart-errors .legendtext')].map(t => t.textContent)"
    browser.wait(lambda: len(browser.run(texts)) == 2, "the legend")
    assert set(browser.run(texts)) == {"<b>one</b>", "<a href='x'>two</a>"}
    assert browser.all("#chart-errors a") == []


def test_click_on_a_view_shows_all_its_events(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.type("[name=contains]", "VIEW-2")
    browser.type("[name=event_type]", "ended")
    browser.wait(lambda: tail_length(browser) == 1, "the one event")
    browser.click("#tail summary")
    browser.click("#tail details > button")
    count = len(ended(view("view-2", startup=1200, stalls=2)))
    browser.wait(lambda: tail_length(browser) == count, "the view's events")
    assert browser.attributes("#tail-form [name=view_id]", "value") == ["view-2"]
    assert browser.attributes("#tail-form [name=event_type]", "value") == [""]


def test_paused_tail_shows_no_new_events(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.wait(lambda: browser.all("#tail details"), "the tail")
    browser.click("#pause")
    post(worker, [view("view-1")[2] | {"event_type": "while_paused"}])
    wait_until(
        lambda: b"while_paused" in worker.request("GET", "/dashboard/api/tail")[2],
        description="the event to be stored",
    )
    assert "while_paused" not in browser.text("#tail")
    browser.click("#pause")
    browser.wait(lambda: "while_paused" in browser.text("#tail"), "the event")


def test_phone_layout_does_not_scroll_sideways(browser: Browser, worker: WorkerProcess) -> None:
    browser.resize(*PHONE)
    browser.open(worker.url)
    browser.wait_for_charts()
    browser.wait(lambda: browser.all("#tail details"), "the tail")
    assert browser.run("document.documentElement.scrollWidth") == PHONE[0]
    edges = "[...document.querySelectorAll('main .panel')].map(p => p.getBoundingClientRect())"
    assert browser.run(f"Math.max(...{edges}.map(box => box.right))") <= PHONE[0]
    assert browser.complaints() == []


def test_theme_follows_the_system_and_the_choice(browser: Browser, worker: WorkerProcess) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.open(worker.url)
    light = browser.run(ground)
    browser.scheme("dark")
    assert browser.run(ground) != light
    browser.click("#theme")
    assert browser.run(ground) == light
    browser.driver.refresh()
    assert browser.run(ground) == light, "the choice was forgotten"
    browser.run("localStorage.clear()")


def test_all_controls_are_reachable_by_keyboard(browser: Browser, worker: WorkerProcess) -> None:
    browser.open(worker.url)
    browser.wait(lambda: browser.all("#breakdown table"), "the breakdown")
    browser.type("#tabs [aria-selected=true]", Keys.ARROW_RIGHT)
    browser.wait(lambda: "Chrome" in browser.text("#breakdown"), "the browsers")
    assert browser.driver.switch_to.active_element.text == "Browser"
    browser.type("#range input:checked", Keys.ARROW_LEFT)
    browser.wait(lambda: "last=15m" in browser.driver.current_url, "the shorter range")
    browser.type("#refresh", Keys.SPACE)
    browser.wait(lambda: browser.text("#pulse").startswith("Updated"), "auto-refresh to be off")


def test_page_refreshes_by_itself_and_reports_an_outage(browser: Browser) -> None:
    """From a worker without data to its end and its restart."""
    with WorkerProcess({"OPENQOE_FLUSH_INTERVAL": "1"}) as worker:
        browser.open(f"{worker.url}/?last=15m")
        browser.wait(lambda: browser.is_shown("#welcome"), "the empty state")
        assert f"POST {worker.url}/v1/events" in browser.text("#welcome")
        assert browser.tile("ratio") == NOTHING
        post(worker, view("view-1"))
        browser.wait(lambda: browser.tile("started") == "1", "the first view")
        browser.wait(lambda: not browser.is_shown("#welcome"), "the welcome to go")
        assert browser.complaints() == []
        worker.kill()
        browser.wait(lambda: "not reachable" in browser.text("#pulse"), "the outage to show")
        assert browser.tile("started") == "1", "the last numbers are still shown"
        assert browser.all(".failure") == [], "it is said once"
        worker.start()
        browser.wait(lambda: browser.text("#pulse").startswith("Live"), "the worker's return")
        assert browser.all(".failure") == []


def test_dashboard_with_api_key_requires_sign_in(browser: Browser) -> None:
    with WorkerProcess({"OPENQOE_FLUSH_INTERVAL": "1", "API_KEY": "open sesame"}) as worker:
        assert worker.request("GET", "/dashboard/api/overview")[0] == 401
        assert worker.request("GET", "/dashboard/app.js")[0] == 401
        browser.open(worker.url)
        assert browser.all("#tiles") == []
        browser.type("[name=key]", "guessed" + Keys.ENTER)
        browser.wait(lambda: browser.all("[role=alert]"), "the refusal")
        browser.type("[name=key]", "open sesame" + Keys.ENTER)
        browser.wait(lambda: browser.all("#tile-started"), "the dashboard")
        browser.wait(lambda: browser.tile("started") == "0", "its numbers")
        assert "sesame" not in browser.driver.current_url
        browser.click("#sign-out button")
        browser.wait(lambda: browser.all("[name=key]"), "the form")
        # When the session ends while the page is open, the page asks to sign in again.
        browser.type("[name=key]", "open sesame" + Keys.ENTER)
        browser.wait(lambda: browser.all("#tile-started"), "the dashboard")
        browser.wait(lambda: browser.tile("started") == "0", "its numbers")
        browser.driver.delete_all_cookies()
        browser.wait(lambda: browser.all("[name=key]"), "the form")


def _sign_in(browser: Browser, worker: WorkerProcess, key: str) -> None:
    browser.open(worker.url)
    browser.type("[name=key]", key + Keys.ENTER)
    browser.wait(lambda: browser.all("#tile-started"), "the dashboard")


def test_read_key_of_an_organisation_shows_only_its_events(
    browser: Browser, tmp_path: Path
) -> None:
    keys = {
        "page": {"scopes": ["ingest"]},
        "board": {"scopes": ["read"], "orgs": ["acme"]},
        "support": {"scopes": ["read", "logs"], "orgs": ["acme"]},
    }
    path = tmp_path / "keys.json"
    path.write_text(
        json.dumps(
            [
                {"sha256": sha256(key.encode()).hexdigest(), "name": key, **entry}
                for key, entry in keys.items()
            ]
        )
    )
    settings = {"OPENQOE_FLUSH_INTERVAL": "1", "OPENQOE_KEYS_FILE": str(path)}
    with WorkerProcess(settings) as worker:
        now = int(time.time() * 1000)
        for org, views in (("acme", 2), ("rival", 3)):
            events = [
                event(name, at=now, org_id=org, view_id=f"{org}-{number}", player_id=f"{org}-web")
                for number in range(views)
                for name in ("viewstart", "playing")
            ]
            assert worker.post(batch(*events), **{"X-API-Key": "page"})[0] == 202

        browser.open(worker.url)
        browser.type("[name=key]", "page" + Keys.ENTER)
        browser.wait(lambda: browser.all("[role=alert]"), "the refusal of a key that only sends")

        _sign_in(browser, worker, "board")
        browser.wait(lambda: browser.tile("started") == "2", "the views of the organisation")
        denied = "Your key does not open this panel."
        browser.wait(lambda: denied in browser.text("body"), "the closed panel of events")
        assert "missing" not in browser.text("#pulse")
        assert "rival" not in browser.driver.page_source
        browser.click("#sign-out button")
        browser.wait(lambda: browser.all("[name=key]"), "the form")

        _sign_in(browser, worker, "support")
        browser.wait(lambda: browser.all("#tail li details"), "the events of the organisation")
        assert len(browser.all("#tail li details")) == 4
        assert denied not in browser.text("body")
        assert "rival" not in browser.driver.page_source


def test_range_drawn_in_a_chart_becomes_the_time_range(
    browser: Browser, worker: WorkerProcess
) -> None:
    browser.open(worker.url)
    browser.wait_for_charts()
    browser.type("#refresh", Keys.SPACE)  # or the chart is redrawn under the mouse
    plot = browser.find("#chart-concurrent .nsewdrag")
    width = plot.size["width"]
    mouse = ActionChains(browser.driver).move_to_element(plot).move_by_offset(-width // 4, 0)
    mouse.click_and_hold().move_by_offset(width // 8, 0).move_by_offset(width // 8, 0)
    mouse.release().perform()
    browser.wait(lambda: "from=" in browser.driver.current_url, "the range")
    browser.wait(lambda: browser.is_shown("#zoomed"), "the way back")
    browser.click("#zoomed")
    browser.wait(lambda: "last=1h" in browser.driver.current_url, "the range until now")
    browser.wait(lambda: browser.tile("started") == "4", "its numbers")
    assert browser.complaints() == []


def test_rejected_question_shows_its_error_in_its_panel(
    browser: Browser, worker: WorkerProcess
) -> None:
    browser.open(f"{worker.url}/?from=1&to=99999999999999")
    browser.wait(lambda: len(browser.all(".failure")) >= 10, "the refusals")
    assert "from: the range is over 400 days" in browser.text("#errors-panel .failure")
    assert browser.all("#tail details"), "the tail has no range"


BREAKING = {"toString": 1, "valueOf": 1, "toJSON": 1}


def test_tail_shows_events_with_any_json(browser: Browser, worker: WorkerProcess) -> None:
    nested = json.loads("[" * 60 + "]" * 60)
    fields: list[dict[str, Any]] = [
        {"video": {"id": "v", "title": BREAKING}},
        {"player": {"name": "hlsjs", "version": BREAKING}},
        {"device": {"category": "tv", "model": BREAKING}},
        {"network": BREAKING},
        {"data": {"error_family": BREAKING, "stall_duration": BREAKING, "playing_time": 1e308}},
        {"data": {"deep": nested, "__proto__": BREAKING, "constructor": BREAKING}},
    ]
    names = ["__proto__", "constructor", "toString", "hasOwnProperty", "heartbeat", "error"]
    now = int(time.time() * 1000)
    for name, more in zip(names, fields, strict=True):
        worker.post(batch(event(name, at=now, view_id="any-json", **more)))
    worker.post(batch(event("after_any_json", at=now, view_id="any-json-after")))
    wait_until(
        lambda: b"after_any_json" in worker.request("GET", "/dashboard/api/tail")[2],
        description="the events to be stored",
    )
    browser.open(worker.url)
    browser.wait(lambda: "after_any_json" in browser.text("#tail"), "the last event")
    for summary in browser.all("#tail summary"):
        browser.driver.execute_script("arguments[0].click()", summary)
    browser.wait(
        lambda: len(browser.all("#tail pre")) == len(browser.all("#tail details")), "the events"
    )
    assert browser.complaints() == []
