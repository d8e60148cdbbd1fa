"""Cardinality over several workers: all admit the values that were seen first by any of them."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.cluster.cardinality_sync import CardinalitySync
from openqoe.core.config.cardinality_limits import CardinalityLimit
from openqoe.core.governance.dimension import OVERFLOW_LABELS, overflow_label
from openqoe.core.governance.governor import DAY, Governor
from openqoe.core.kv import AddMembers
from tests.support.event_builders import NOW
from tests.support.memory_store import MemoryStore

ONE: Mapping[str, CardinalityLimit] = {"env": CardinalityLimit("allow", 1)}
TODAY = NOW // DAY


class SyncedGovernor:
    """The governor of one worker, with its participant."""

    def __init__(self, limits: Mapping[str, CardinalityLimit] = ONE) -> None:
        self.governor = Governor(limits)
        self.participant = CardinalitySync(self.governor)

    def govern_all(self, *values: str, now: int = NOW) -> list[str | None]:
        return [self.governor.govern("env", value, now) for value in values]

    def sync(self, store: MemoryStore, now: int = NOW) -> bool:
        """Run one update; returns whether cached labels are invalid."""
        self.participant.changed = False
        self.participant.process_replies(store.run(tuple(self.participant.operations(now))), now)
        return self.participant.changed

    @property
    def values(self) -> tuple[str, ...]:
        return self.governor.admitted_values("env", NOW)


def test_value_is_published_once_a_day() -> None:
    synced, store = SyncedGovernor(), MemoryStore()
    assert synced.participant.operations(NOW) == [AddMembers("cardinality:env", (), 1, TODAY)]
    synced.govern_all("prod", "folded")
    published = AddMembers("cardinality:env", ("prod",), 1, TODAY)
    assert synced.participant.operations(NOW) == [published]
    assert synced.participant.operations(NOW) == [published]  # the store has not answered
    synced.sync(store)
    synced.govern_all("prod")
    assert synced.participant.operations(NOW) == [AddMembers("cardinality:env", (), 1, TODAY, 0, 1)]
    synced.govern_all("prod", now=NOW + DAY)
    assert synced.participant.operations(NOW + DAY) == [
        AddMembers("cardinality:env", ("prod",), 1, TODAY + 1, 0, 1)
    ]


def test_dimensions_without_a_limit_are_not_synchronised() -> None:
    limits = {
        "a": CardinalityLimit("drop"),
        "b": CardinalityLimit("hash"),
        "c": CardinalityLimit("hash", 5),
        "d": CardinalityLimit("bucket"),
    }
    operations = SyncedGovernor(limits).participant.operations(NOW)
    assert [operation.key for operation in operations] == ["cardinality:c", "cardinality:d"]


def test_value_admitted_first_keeps_its_place_on_all_workers() -> None:
    store, first, second = MemoryStore(), SyncedGovernor(), SyncedGovernor()
    assert first.govern_all("prod") == ["prod"]
    assert second.govern_all("test") == ["test"]
    assert first.sync(store) is False
    assert second.sync(store) is True  # cached labels are invalid
    for synced in (first, second):
        assert synced.govern_all("prod", "test") == ["prod", overflow_label("test")]


def test_worker_without_values_learns_those_of_the_others() -> None:
    store, first, second = MemoryStore(), SyncedGovernor(), SyncedGovernor()
    first.govern_all("prod")
    first.sync(store)
    assert second.sync(store) is True
    assert second.values == ("prod",)
    assert second.sync(store) is False


def test_value_admitted_during_an_update_keeps_its_place_while_there_is_room() -> None:
    limits = {"env": CardinalityLimit("allow", 3)}
    store, here, there = MemoryStore(), SyncedGovernor(limits), SyncedGovernor(limits)
    there.govern_all("theirs")
    there.sync(store)
    here.govern_all("published")
    replies = store.run(tuple(here.participant.operations(NOW)))
    here.govern_all("meanwhile", "too much")
    here.participant.process_replies(replies, NOW)
    assert here.values == ("theirs", "published", "meanwhile")
    here.sync(store)
    there.sync(store)
    assert there.values == ("theirs", "published", "meanwhile")


def test_value_seen_only_by_others_stays_as_long_as_they_see_it() -> None:
    limits = {"env": CardinalityLimit("allow", 3)}
    store, here, there = MemoryStore(), SyncedGovernor(limits), SyncedGovernor(limits)
    for day in range(4):
        now = NOW + day * DAY
        there.govern_all("theirs", now=now)
        for synced in (there, here):
            synced.sync(store, now)
        assert here.governor.admitted_values("env", now) == ("theirs",)
    later = NOW + 6 * DAY
    here.sync(store, later)
    assert here.governor.admitted_values("env", later) == ()


def test_republish_restores_all_values_in_an_emptied_store() -> None:
    limits = {"env": CardinalityLimit("allow", 3)}
    synced = SyncedGovernor(limits)
    synced.govern_all("a", "b")
    synced.sync(MemoryStore())
    synced.participant.republish(NOW)
    emptied = MemoryStore()
    assert synced.sync(emptied) is False
    other = SyncedGovernor(limits)
    other.sync(emptied)
    assert other.values == synced.values == ("a", "b")


@given(
    maximum=st.integers(0, 6) | st.none(),
    turns=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abcdefghij") | st.none()), max_size=60
    ),
)
@settings(max_examples=100)
def test_workers_converge_on_the_same_values_within_the_limit(
    maximum: int | None, turns: list[tuple[int, str | None]]
) -> None:
    store, governors = (
        MemoryStore(),
        [SyncedGovernor({"env": CardinalityLimit("allow", maximum)}) for _ in range(3)],
    )
    for number, value in turns:
        if value is None:
            governors[number].sync(store)
        else:
            governors[number].govern_all(value)
    for synced in governors * 2:
        synced.sync(store)
    assert len({frozenset(synced.values) for synced in governors}) == 1
    assert maximum is None or len(governors[0].values) <= maximum


def test_overshoot_before_the_first_exchange_is_bounded() -> None:
    """Until the first exchange each worker may admit ``max_cardinality`` values of its own; after
    it all admit the same."""
    store, governors = (
        MemoryStore(),
        [SyncedGovernor({"env": CardinalityLimit("allow", 50)}) for _ in range(4)],
    )
    before: set[str | None] = set()
    for number in range(1_000):
        for minute in (0, 1):  # seen twice, so that no place is reserved
            at = NOW + minute * 60_000
            before.update(governors[number % 4].govern_all(f"value-{number}", now=at))
    assert len(before) == 4 * 50 + OVERFLOW_LABELS
    for synced in governors * 2:
        synced.sync(store)
    after: set[str | None] = set()
    for synced in governors:
        after.update(synced.govern_all(*(f"value-{number}" for number in range(1_000))))
    assert len(after) == 50 + OVERFLOW_LABELS
