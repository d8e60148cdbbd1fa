"""The list of views and the page of a view show the truth of simulated viewers.

The rows come from the core and the embedded store. The worker crashes in the middle of most views.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openqoe.dashboard.dashboard_api import Api
from openqoe.embedded.sample_schema import FILE
from tests.support.event_builders import NOW
from tests.support.simulated_store import SimulatedStore, as_seen, fill_with_viewers, interrupted

Rows = dict[str, dict[str, Any]]


class Views:
    """The API over a filled store, and the truth."""

    def __init__(self, folder: Path, store: SimulatedStore) -> None:
        self._api = Api(store.config, folder / FILE, clock=lambda: store.now)
        self.truth = {key: one for key, one in store.truth.items() if one.outcome is not None}

    def ask(self, question: str, **query: Any) -> Any:
        page = self._api.answer(question, {name: str(value) for name, value in query.items()})
        assert page.status == 200, page.body
        return json.loads(page.body)

    def list(self, **query: Any) -> Rows:
        """The rows of a list by id and video, in its order."""
        answer = self.ask("views", last="1h", limit=1000, **query)
        rows = {f"{row['view_id']}/{row['video_id']}": row for row in answer["views"]}
        assert answer["count"] == len(rows) == len(answer["views"])
        outcomes = Counter(row["outcome"] for row in rows.values())
        assert answer["outcomes"] == outcomes
        return rows

    def page(self, row: dict[str, Any]) -> Any:
        """The page of the view of a row."""
        identity = ("org_id", "view_id", "video_id", "player")
        return self.ask("view", **{name: row[name] for name in identity})

    def where(self, **wanted: Any) -> set[str]:
        """The views whose labels or numbers, by the truth, are these."""
        return {
            key
            for key, one in self.truth.items()
            if wanted.items() <= {**one.labels, **one.numbers()}.items()
        }


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Views]:
    folder = tmp_path_factory.mktemp("simulated")
    store = fill_with_viewers(folder, NOW, viewers=14, seed=1, cmcd_viewers=6)
    yield Views(folder, store)
    store.close()


def test_list_has_each_view_with_the_numbers_of_the_truth(views: Views) -> None:
    rows = views.list()
    assert rows.keys() == views.truth.keys()
    for key, one in views.truth.items():
        expected = one.numbers()
        if expected["score"] is not None:  # a quotient of sums
            expected["score"] = pytest.approx(expected["score"], rel=1e-9)
        assert {name: rows[key][name] for name in expected} == expected, key
        assert one.labels.items() <= {**rows[key], "video_id": one.labels["video_id"]}.items()
    kinds = Counter(one.outcome for one in views.truth.values())
    assert len(kinds) >= 3, kinds
    assert len(interrupted(views.truth, NOW)) >= 10
    for name in ("rebuffers", "seeks", "pauses", "errors", "upshifts", "downshifts"):
        assert any(row[name] for row in rows.values()), name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("outcome", ("completed", "stopped", "exit_before_start", "playback_failure")),
        ("org_id", ("nordlicht", "samba", "acme", "unknown-org")),
        ("player_name", ("hlsjs", "dashjs", "html5", "shaka")),
        ("video_id", ("nl-1001", "novela-017", "nothing")),
        ("device_category", ("desktop", "mobile", "tv")),
        ("network_country", ("DE", "BR")),
        ("error_code", ("fragLoadError", "1002")),
    ],
)
def test_filter_by_a_name_lists_the_views_that_have_it(
    views: Views, name: str, values: tuple[str, ...]
) -> None:
    expected = {value: views.where(**{name: value}) for value in values}
    assert any(expected.values())
    assert {value: set(views.list(**{name: value})) for value in values} == expected


@pytest.mark.parametrize(
    ("name", "column"), [("min_rebuffer", "rebuffer_ms"), ("min_startup", "startup_ms")]
)
def test_filter_by_seconds_lists_the_views_from_there_on(
    views: Views, name: str, column: str
) -> None:
    numbers = {key: one.numbers()[column] for key, one in views.truth.items()}
    some = sorted({value for value in numbers.values() if value})
    for least in (some[0], some[len(some) // 2], some[-1]):
        found = set(views.list(**{name: least / 1000}))
        assert found == {key for key, value in numbers.items() if value and value >= least}
    assert views.list(**{name: some[-1] / 1000 + 1}) == {}


def test_filters_apply_together(views: Views) -> None:
    found = views.list(org_id="samba", outcome="stopped", min_startup="0.2")
    slow = {key for key, one in views.truth.items() if (one.numbers()["startup_ms"] or 0) >= 200}
    assert set(found) == views.where(org_id="samba", outcome="stopped") & slow


def test_filter_by_view_session_and_viewer_lists_theirs(views: Views) -> None:
    rows = views.list()
    several = Counter(row["view_id"] for row in rows.values()).most_common(1)[0][0]
    one = next(row for row in rows.values() if row["view_id"] == several)
    for name in ("view_id", "session_id", "viewer_id"):
        expected = {key for key, row in rows.items() if row[name] == one[name]}
        assert len(expected) > 1, "a page on which several videos were watched"
        assert set(views.list(**{name: one[name]})) == expected


@pytest.mark.parametrize("column", ["startup_ms", "rebuffer_ms", "watch_ms", "errors", "score"])
def test_sort_orders_the_views_by_the_truth(views: Views, column: str) -> None:
    def value(key: str) -> float:
        found = views.truth[key].numbers()[column]
        return -1.0 if found is None and column != "score" else 101.0 if found is None else found

    order = [value(key) for key in views.list(sort=column)]
    assert order == sorted(order, reverse=column != "score")


def test_page_has_the_numbers_lanes_and_marks_of_the_truth(views: Views) -> None:
    """Those that the crash has interrupted as well."""
    for key, row in views.list().items():
        page, one = views.page(row), views.truth[key]
        assert page["view"] == row
        assert as_seen(page["course"]["states"]) == one.lane(), key
        marks = Counter(mark["what"] for mark in page["course"]["moments"])
        numbers = one.numbers()
        assert (marks["error"], marks["seek"]) == (numbers["errors"], numbers["seeks"]), key
        assert marks["switch"] == numbers["upshifts"] + numbers["downshifts"], key
        bitrates = [point["value"] for point in page["course"]["bitrates"]]
        if numbers["bitrate_avg"] is not None:
            assert min(bitrates) <= numbers["bitrate_avg"] <= max(bitrates)
