"""Retention: age and size limits of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from openqoe.core.sinks.series_exporter import STALE
from openqoe.embedded import FILE, retention
from openqoe.embedded.retention import MIN_AGE, Retention, used_bytes
from tests.embedded.stored_rig import Stored, config_of, entries, metrics, stored
from tests.support.event_builders import NOW
from tests.support.services import wait_until

MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Stored]:
    with stored(tmp_path) as one:
        yield one


def sweep(store: Stored, now: int, **settings: str) -> int:
    """Sweep with these settings; returns the number of steps."""
    database = sqlite3.connect(store.directory / FILE, isolation_level=None)
    one = Retention(config_of(store.directory, **settings))
    try:
        return sum(1 for _ in one.sweep(database, now))
    finally:
        database.close()


def series(name: str, at: int, value: float) -> tuple[dict[str, str], list[tuple[int, float]]]:
    return {"__name__": name, "instance": "i-0"}, [(at, value)]


def samples(store: Stored, name: str) -> list[tuple[int, float | None]]:
    query = "SELECT at, value FROM samples JOIN series ON series.id = series WHERE name = ?"
    return store.rows(query, name)


AN_HOUR = {"OPENQOE_EMBEDDED_MAX_AGE": "3600"}


def test_sweep_removes_old_samples_but_keeps_the_value_at_the_horizon(store: Stored) -> None:
    for minute in range(0, 121, 10):
        store.write(metrics(series("alive_total", NOW + minute * MINUTE, float(minute))))
    now = NOW + 125 * MINUTE
    sweep(store, now, **AN_HOUR)
    assert [(at - NOW) // MINUTE for at, _ in samples(store, "alive_total")] == [
        *(60, 70, 80, 90, 100, 110, 120)
    ]


def test_sweep_removes_an_ended_series_with_all_its_samples(store: Stored) -> None:
    store.write(
        metrics(series("over_total", NOW, 1.0), series("alive_total", NOW, 1.0)),
        metrics(series("over_total", NOW + MINUTE, STALE)),
        metrics(series("alive_total", NOW + 90 * MINUTE, 2.0)),
    )
    sweep(store, NOW + 60 * MINUTE, **AN_HOUR)
    assert len(samples(store, "over_total")) == 2
    sweep(store, NOW + 100 * MINUTE, **AN_HOUR)
    assert store.rows("SELECT name FROM series") == [("alive_total",)]
    assert store.rows("SELECT count(*) FROM samples") == [(2,)]


def test_removed_series_that_returns_gets_a_new_row(store: Stored) -> None:
    """Also in a worker that has the old row in its cache."""
    store.write(metrics(series("a_total", NOW, 1.0)), entries({"env": "e"}, (NOW, {"n": 1})))
    sweep(store, NOW + 100 * MINUTE, **AN_HOUR)
    assert store.rows("SELECT count(*) FROM series") == [(0,)]
    later = NOW + 101 * MINUTE
    store.write(metrics(series("a_total", later, 1.0)), entries({"env": "e"}, (later, {"n": 2})))
    assert samples(store, "a_total") == [(later, 1.0)]
    query = "SELECT at, env FROM entries JOIN streams ON streams.id = stream"
    assert store.rows(query) == [(later, "e")]


def test_sweep_removes_old_entries_streams_and_videos(store: Stored) -> None:
    for minute in range(0, 120, 2):
        line = {"video": {"id": f"film-{minute // 30}"}}
        store.write(entries({"env": f"e{minute // 60}"}, (NOW + minute * MINUTE, line)))
    sweep(store, NOW + 130 * MINUTE, **AN_HOUR)
    ((oldest, count),) = store.rows("SELECT min(at), count(*) FROM entries")
    assert (oldest, count) == (NOW + 70 * MINUTE, 25)
    assert store.rows("SELECT env FROM streams") == [("e1",)]
    videos = store.rows("SELECT video_id FROM videos ORDER BY video_id")
    assert videos == [("film-2",), ("film-3",)]


def test_sweep_works_in_small_steps(store: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ENTRIES_PER_STEP", 10)
    monkeypatch.setattr(retention, "SERIES_PER_STEP", 5)
    store.write(entries({"env": "e"}, *((NOW + n, {"n": n}) for n in range(95))))
    store.write(metrics(*(series(f"m{n}_total", NOW, 1.0) for n in range(23))))
    steps = sweep(store, NOW + 2 * HOUR, **AN_HOUR)
    assert steps >= 95 // 10 + 23 // 5
    assert store.rows("SELECT count(*) FROM entries, series") == [(0,)]


def test_sweep_is_claimed_by_one_worker_per_interval(store: Stored) -> None:
    assert sweep(store, NOW, **AN_HOUR) > 0
    assert sweep(store, NOW + MINUTE, **AN_HOUR) == 0
    assert sweep(store, NOW + 5 * MINUTE, **AN_HOUR) > 0
    assert sweep(store, NOW - HOUR, **AN_HOUR) > 0, "the clock was set back"


def fill(store: Stored, hours: int) -> int:
    """Write about a megabyte per hour; returns the end time."""
    for minute in range(hours * 60):
        at = NOW + minute * MINUTE
        store.write(metrics(series("a_total", at, float(minute))))
        if minute % 10 == 0:
            lines = ((at + n * 3_600, {"n": f"{at}-{n}", "x": "x" * 1_000}) for n in range(167))
            store.write(entries({"env": "e"}, *lines))
    return NOW + hours * HOUR


def test_sweep_of_a_file_over_its_limit_removes_the_oldest_data(tmp_path: Path) -> None:
    settings = {"OPENQOE_EMBEDDED_MAX_BYTES": "16MiB"}
    with stored(tmp_path) as store:  # without a limit, so its own thread does not sweep
        now = fill(store, 24)
        sweep(store, now, **settings)
        with closing(sqlite3.connect(tmp_path / FILE)) as database:
            size = used_bytes(database)
        assert 13 * 2**20 < size <= 16 * 2**20
        ((oldest, newest),) = store.rows("SELECT min(at), max(at) FROM entries")
        assert newest > now - 2 * MINUTE
        # The same time is kept of both; one sample more, for the value at the horizon.
        ((first,),) = store.rows("SELECT min(at) FROM samples")
        assert 0 <= oldest - first <= 2 * MINUTE
        # The store's thread may be reading at the moment.
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as database:
            truncate = partial(database.execute, "PRAGMA wal_checkpoint(TRUNCATE)")
            wait_until(lambda: truncate().fetchone()[0] == 0, description="the end of the log")
        assert (tmp_path / FILE).stat().st_size < 20 * 2**20, "pages were given back"


def test_sweep_keeps_the_last_ten_minutes_whatever_the_limit(tmp_path: Path) -> None:
    with stored(tmp_path) as store:
        now = fill(store, 1)
        config = config_of(tmp_path)
        one = Retention(config)
        one._max_bytes = 1
        database = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        for _ in one.sweep(database, now):
            pass
        database.close()
        ((oldest,),) = store.rows("SELECT min(at) FROM entries")
        assert oldest == now - MIN_AGE


def test_store_thread_sweeps_between_requests(tmp_path: Path) -> None:
    with stored(tmp_path, AN_HOUR) as store:
        store.write(entries({"env": "e"}, (NOW, {"n": 1})))  # a year ago and more
        for number in range(20):
            store.write(metrics(series("a_total", NOW, float(number))))
        assert store.rows("SELECT count(*) FROM entries") == [(0,)]
