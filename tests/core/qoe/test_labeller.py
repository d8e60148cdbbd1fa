"""Label sets: created once for equal raw values, and kept until the cache is reset."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest

from openqoe.core.config.cardinality_limits import CardinalityLimit
from openqoe.core.config.worker_config import Config
from openqoe.core.events.decoder import BatchDecoder
from openqoe.core.events.event_types import Event
from openqoe.core.governance.governor import Governor
from openqoe.core.qoe import labeller as labeller_module
from openqoe.core.qoe.labeller import CACHE_LIFETIME, Labeller, label_text
from tests.support.event_builders import NOW, batch, event


def decoded(**fields: Any) -> Event:
    ((made, _),) = BatchDecoder(Config()).decode(batch(event(at=NOW, **fields)), NOW).events
    return made


def labeller_with(players: int) -> Labeller:
    labeller = Labeller(Governor({}), ())
    labeller.reset_cache(NOW)
    for number in range(players):
        labeller.find_label_set(decoded(player_id=f"p-{number}"), "DE", NOW)
    return labeller


def test_events_with_equal_values_share_label_set() -> None:
    labeller = labeller_with(0)
    one, same = decoded(), decoded(event_type="seek")
    assert labeller.find_label_set(one, "DE", NOW) is labeller.find_label_set(same, "DE", NOW)
    assert labeller.find_label_set(one, "DE", NOW) is not labeller.find_label_set(one, "FR", NOW)


def test_label_cache_is_stale_after_one_hour() -> None:
    labeller = labeller_with(1)
    assert not labeller.is_cache_stale(NOW + CACHE_LIFETIME - 1)
    assert labeller.is_cache_stale(NOW + CACHE_LIFETIME)


def test_discarded_label_sets_are_recreated_and_freed_one_by_one() -> None:
    """There may be 50,000: freeing all of them at once took 50 ms."""
    labeller = labeller_with(3)
    before = labeller.find_label_set(decoded(player_id="p-1"), "DE", NOW)
    labeller.reset_cache(NOW)
    after = labeller.find_label_set(decoded(player_id="p-1"), "DE", NOW)
    assert after is not before
    assert after.group is not before.group
    assert after.group.labels == before.group.labels
    sets_and_groups = 3 + 3
    assert list(labeller.free_discarded()) == [1] * sets_and_groups
    assert list(labeller.free_discarded()) == []
    assert labeller.find_label_set(decoded(player_id="p-1"), "DE", NOW) is after


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a\ufffdb", "a?b"),
        ("\ud83d", "?"),
        ("\x00\x7f\x80\u2028\ufeff\ufffe\"'`", "\x00\x7f\x80\u2028\ufeff\ufffe\"'`"),
        ("🎬é", "🎬é"),
        (None, ""),
        (7, "7"),
    ],
)
def test_label_text_has_nothing_that_receivers_reject(raw: Any, text: str) -> None:
    assert label_text(raw) == text


def test_label_cache_is_reset_before_it_exceeds_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 label sets of 10 long values each took gigabytes."""
    monkeypatch.setattr(labeller_module, "MAX_CACHE_BYTES", 1_000_000)
    labeller = Labeller(Governor({}), ())
    labeller.reset_cache(NOW)
    tracemalloc.start()
    try:
        for number in range(1_500):
            one = decoded(player_id=f"p-{number}", app_version=f"{number}" + "x" * 2_000)
            labels = labeller.find_label_set(one, "DE", NOW)
            for event_type in ("play", "pause", f"custom-{number}"):
                assert labeller.stream_labels(labels, event_type, NOW)
        gc.collect()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    one_cache_and_one_discarded = 2 * 1_000_000
    tables = 4_000_000  # of interned texts: they grow, the more the more there are
    assert used < one_cache_and_one_discarded + tables


def test_provisional_label_is_not_cached() -> None:
    """A value that waits for its second view must get its own label in it, not an hour later."""
    labeller = Labeller(Governor({"app_name": CardinalityLimit("allow", 10)}), ())
    for number in range(5):
        labeller.find_label_set(decoded(app_name=f"known-{number}"), "DE", NOW)

    def app_name(view: str) -> str:
        event = decoded(app_name="new", view_id=view)
        return dict(labeller.find_label_set(event, "DE", NOW).group.labels)["app_name"]

    assert app_name("view-1").startswith("hash_")
    assert app_name("view-1").startswith("hash_")
    assert app_name("view-2") == "new"
    assert app_name("view-1") == "new"
