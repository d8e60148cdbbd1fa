"""A key that is limited to organisations sees only their rows, in every question."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from openqoe.dashboard.sample_reader import Reader
from tests.dashboard.filled_store import Store
from tests.dashboard.test_view_queries import add

ORGS = ("acme", "rival")


@pytest.fixture
def shared(store: Store) -> Store:
    """Two organisations, and the worker's own series. Only texts of rival hold "rival"."""
    for org, views in (("acme", 3.0), ("rival", 50.0)):
        labels = {"org_id": org, "player_id": f"{org}-player", "env": f"{org}-env"}
        for name in (
            "openqoe_events_total",
            "openqoe_views_started_total",
            "openqoe_views_completed_total",
            "openqoe_concurrent_views_current",
        ):
            store.series(name, [(-600, 0), (-60, views)], **labels, video_id="bucket_1")
        store.series("openqoe_views_started_total", [(-600, 0), (-60, 1)], org_id=org,
                     video_id=f"bucket_{org}")  # fmt: skip
        store.series("openqoe_errors_total", [(-600, 0), (-60, views)],
                     error_family=f"{org}-family", error_code=f"{org}-code", **labels)  # fmt: skip
        store.video("bucket_1", f"{org}-video", f"{org} shared title")
        store.video(f"bucket_{org}", f"{org}-own", f"{org} own title")
        for number in range(int(views)):
            event = {"event_type": "playing", "view_id": f"{org}-{number}",
                     "viewer_id": f"{org}-viewer", "video": {"id": f"{org}-video"}}  # fmt: skip
            store.entry(event, -60 - number, org_id=org)
        add(
            store,
            {"org_id": org, "view_id": f"{org}-1", "video_id": f"{org}-video", "player": "hlsjs"},
        )
    store.series("openqoe_worker_cardinality", [(-60, 9)], dimension="org_id")
    store.series("openqoe_worker_queue_length", [(-60, 9)], destination="rival-mimir")
    return store


QUESTIONS = [
    ("overview", {}),
    ("timeline", {}),
    ("picture", {}),
    ("errors", {}),
    ("filters", {}),
    ("cardinality", {}),
    ("delivery", {}),
    ("tail", {}),
    ("tail", {"view_id": "rival-1"}),
    ("tail", {"contains": "rival"}),
    ("tail", {"org_id": "rival"}),
    ("views", {}),
    ("view", {"org_id": "rival", "view_id": "rival-1"}),
    *(("breakdown", {"by": by}) for by in ("video_id", "org_id", "player_id", "env")),
    ("overview", {"org_id": "rival"}),
    ("overview", {"video_id": "rival-video"}),
]


@pytest.mark.parametrize(("question", "query"), QUESTIONS)
def test_answer_shows_nothing_of_other_organisations(
    shared: Store, question: str, query: dict[str, str]
) -> None:
    page = shared.api.answer(question, query, orgs=("acme",))
    assert page.status == 200, page.body
    assert b"rival" not in page.body


def test_every_question_is_tested(shared: Store) -> None:
    message = json.loads(shared.api.answer("nothing", {}).body)["message"]
    known = message.partition("known: ")[2].split(", ")
    assert set(known) == {name for name, _ in QUESTIONS}


def test_counts_are_those_of_the_organisation(shared: Store) -> None:
    def started(orgs: tuple[str, ...] | None) -> float:
        answer = json.loads(shared.api.answer("overview", {}, orgs=orgs).body)
        return float(answer["current"]["views_started"])

    assert started(("acme",)) == 4
    assert started(("rival",)) == 51
    assert started(ORGS) == started(None) == 55
    assert started(("unknown-org",)) == 0


def test_list_of_views_holds_those_of_the_organisation(shared: Store) -> None:
    answer = json.loads(shared.api.answer("views", {}, ("acme",)).body)
    assert [view["view_id"] for view in answer["views"]] == ["acme-1"]
    rival = {"org_id": "rival", "view_id": "rival-1"}
    assert json.loads(shared.api.answer("view", rival).body)["view"] is not None
    assert json.loads(shared.api.answer("view", rival, ("acme",)).body)["view"] is None


@pytest.mark.parametrize("orgs", [None, ("acme",)])
def test_list_of_views_hides_who_watched_from_keys_without_logs(
    shared: Store, orgs: tuple[str, ...] | None
) -> None:
    who = {"viewer_id": "who-watched", "session_id": "whose-visit"}
    add(shared, {"org_id": "acme", "view_id": "v", "video_id": "x", "player": "p", **who})
    for query in ({}, {"format": "csv"}, {"sort": "score"}):
        shown = shared.api.answer("views", query, orgs).body
        hidden = shared.api.answer("views", query, orgs, hides_viewers=True).body
        assert all(value.encode() in shown for value in who.values())
        assert not any(value.encode() in hidden for value in who.values())
        assert b"acme-1" in hidden
    for name, value in who.items():
        assert shared.api.answer("views", {name: value}, orgs).status == 200
        page = shared.api.answer("views", {name: value}, orgs, hides_viewers=True)
        assert page.status == 400
        assert b"needs a key with the scope logs" in page.body


def test_tail_holds_the_entries_of_the_organisation(shared: Store) -> None:
    answer = json.loads(shared.api.answer("tail", {}, orgs=("acme",)).body)
    assert {entry["org_id"] for entry in answer["entries"]} == {"acme"}
    assert len(answer["entries"]) == 3
    assert answer["latest"] == 3
    nothing = json.loads(shared.api.answer("tail", {}, orgs=("unknown-org",)).body)
    assert (nothing["latest"], nothing["entries"]) == (0, [])


def test_title_of_a_shared_label_is_hidden(shared: Store) -> None:
    rows = json.loads(shared.api.answer("breakdown", {"by": "video_id"}, orgs=("acme",)).body)[
        "rows"
    ]
    found = {row["value"]: (row["title"], row["video_ids"]) for row in rows if row["value"]}
    assert found == {
        "bucket_1": ("acme-video", ["acme-video"]),
        "bucket_acme": ("acme own title", ["acme-own"]),
    }


def test_cached_answers_of_other_keys_are_not_used(shared: Store) -> None:
    everything = shared.api.answer("overview", {})
    shared.api._store_in_cache(("overview", None, False), everything, 10)
    assert shared.api.answer("overview", {}) is everything
    assert shared.api.answer("overview", {}, orgs=("acme",)).body != everything.body
    assert shared.api.answer("overview", {}, hides_viewers=True) is not everything


def test_restricted_reader_cannot_write(shared: Store) -> None:
    with Reader(shared.path, orgs=("acme",)) as reader, pytest.raises(sqlite3.OperationalError):
        reader.rows("DELETE FROM main.entries", {})
    with closing(sqlite3.connect(shared.path)) as database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall()
    assert tables == []
