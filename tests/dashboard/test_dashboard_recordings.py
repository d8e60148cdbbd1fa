"""Recorded traffic of real players: the dashboard shows its true figures.

The true figures are derived from the recordings alone (``tests.support.captures``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openqoe.core.http.messages import Request
from openqoe.core.qoe.catalogue import CATALOGUE
from openqoe.dashboard.dashboard_api import Api
from openqoe.embedded import FILE
from tests.embedded.stored_rig import config_of, stored
from tests.support.captures import NAMES, load, truth
from tests.support.event_builders import NOW
from tests.support.rig import Rig

STARTUP = "openqoe_video_startup_seconds"


def ask(api: Api, question: str, **query: str) -> Any:
    page = api.answer(question, query)
    assert page.status == 200, page.body
    return json.loads(page.body)


def quantile(q: float, rig: Rig) -> float | None:
    """The quantile that Prometheus computes from the same start-up times."""
    metric = next(row.metric for row in CATALOGUE if row.metric.name == STARTUP)
    below, counts = 0.0, []
    for bound in metric.buckets:
        count = rig.total(f"{STARTUP}_bucket", le=f"{bound:g}")
        counts.append((bound, count - below))
        below = count
    total, rank, lower = rig.total(f"{STARTUP}_count"), 0.0, 0.0
    if not total:
        return None
    for bound, count in counts:
        if count and rank + count >= q * total:
            return lower + (bound - lower) * (q * total - rank) / count
        rank, lower = rank + count, bound
    return lower


@pytest.mark.parametrize("name", NAMES)
def test_answers_equal_the_truth_of_a_recording(name: str, tmp_path: Path) -> None:
    capture = load(name)
    rig = Rig(OPENQOE_EMBEDDED="on", OPENQOE_FLUSH_INTERVAL="30")
    rig.pass_time(60_000)  # there is a store before the first event
    for one in capture.shifted(NOW + capture.requests[-1].t):
        rig.pass_time(max(0, NOW + 60_000 + one.t - rig.now))
        rig.handle(Request(one.method, one.path, "", one.headers, one.body, rig.now))
    rig.flush(2)
    with stored(tmp_path) as store:
        store.write(*(e for _, e, _ in rig.sent if e.url.startswith("embedded:")))
    api = Api(config_of(tmp_path), tmp_path / FILE, clock=lambda: rig.now)
    known, element = truth(capture).totals, truth(capture).element_totals

    answer = ask(api, "overview")
    current = answer["current"]
    assert current["views_started"] == known.started
    assert current["views_completed"] == known.ended
    assert current["playing_seconds"] == pytest.approx(known.playing_s)
    assert current["startup_seconds"]["count"] == rig.total(f"{STARTUP}_count")
    for q in (50, 95, 99):
        expected = quantile(q / 100, rig)
        assert current["startup_seconds"][f"p{q}"] == pytest.approx(expected), q
    assert current["errors"] == known.errors
    nudged = name == "sdk2-videojs"  # as in tests/core/qoe/test_captures.py
    assert current["rebuffer_events"] == element.rebuffers - nudged
    rebuffer_s = rig.total("openqoe_rebuffer_duration_seconds_sum", cause="rebuffer")
    assert current["rebuffer_seconds"] == pytest.approx(rebuffer_s)
    watched = rig.total("openqoe_watch_time_seconds")
    assert current["watch_seconds"] == pytest.approx(watched)
    assert current["rebuffering_ratio"] == pytest.approx(current["rebuffer_seconds"] / watched)
    reached = [known.quartiles.count(quartile) for quartile in (25, 50, 75)]
    assert [stage["views"] for stage in answer["funnel"]] == [known.started, *reached, known.ended]

    assert ask(api, "errors")["total"] == known.errors
    for by in ("device_category", "video_id", "network_country"):
        rows = ask(api, "breakdown", by=by, limit="500")["rows"]
        assert sum(row["views_started"] for row in rows) == known.started
        assert sum(row["errors"] for row in rows) == known.errors
        assert sum(row["playing_seconds"] for row in rows) == pytest.approx(known.playing_s)
    series = ask(api, "timeline", step="15s")["series"]
    assert sum(series["views_started"]) == known.started
    assert sum(series["playing_seconds"]) == pytest.approx(known.playing_s)
    assert max(value or 0 for value in series["concurrent_views"]) >= 1

    tail = ask(api, "tail", limit="1000")
    assert len(tail["entries"]) == min(1000, known.events)
    times = [entry["at"] for entry in tail["entries"]]
    assert times == sorted(times, reverse=True)
    delivery = ask(api, "delivery")
    assert delivery["intake"]["events_accepted"] == known.events
    assert "embedded_metrics" in {one["destination"] for one in delivery["destinations"]}
