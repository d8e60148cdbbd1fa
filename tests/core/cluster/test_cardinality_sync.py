"""Cardinality over several workers: first come, first admitted, over all of them."""

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


class Side:
    """One worker's share in it."""

    def __init__(self, limits: Mapping[str, CardinalityLimit] = ONE) -> None:
        self.governor = Governor(limits)
        self.admissions = CardinalitySync(self.governor)

    def sees(self, *values: str, now: int = NOW) -> list[str | None]:
        return [self.governor.govern("env", value, now) for value in values]

    def sync(self, store: MemoryStore, now: int = NOW) -> bool:
        """One exchange; whether labels worked out before are void."""
        self.admissions.changed = False
        self.admissions.process_replies(store.run(tuple(self.admissions.operations(now))), now)
        return self.admissions.changed

    @property
    def values(self) -> tuple[str, ...]:
        return self.governor.admitted_values("env", NOW)


def test_the_store_is_told_once_a_day() -> None:
    side, store = Side(), MemoryStore()
    assert side.admissions.operations(NOW) == [AddMembers("cardinality:env", (), 1, TODAY)]
    side.sees("prod", "folded")
    told = AddMembers("cardinality:env", ("prod",), 1, TODAY)
    assert side.admissions.operations(NOW) == [told]
    assert side.admissions.operations(NOW) == [told]  # nobody has answered
    side.sync(store)
    side.sees("prod")
    assert side.admissions.operations(NOW) == [AddMembers("cardinality:env", (), 1, TODAY, 0, 1)]
    side.sees("prod", now=NOW + DAY)
    assert side.admissions.operations(NOW + DAY) == [
        AddMembers("cardinality:env", ("prod",), 1, TODAY + 1, 0, 1)
    ]


def test_dimensions_without_a_limit_are_not_shared() -> None:
    limits = {
        "a": CardinalityLimit("drop"),
        "b": CardinalityLimit("hash"),
        "c": CardinalityLimit("hash", 5),
        "d": CardinalityLimit("bucket"),
    }
    operations = Side(limits).admissions.operations(NOW)
    assert [operation.key for operation in operations] == ["cardinality:c", "cardinality:d"]


def test_who_came_first_keeps_the_place_everywhere() -> None:
    store, first, second = MemoryStore(), Side(), Side()
    assert first.sees("prod") == ["prod"]
    assert second.sees("test") == ["test"]
    assert first.sync(store) is False
    assert second.sync(store) is True  # labels in caches are void
    for side in (first, second):
        assert side.sees("prod", "test") == ["prod", overflow_label("test")]


def test_who_has_nothing_to_tell_hears_of_the_others() -> None:
    store, first, second = MemoryStore(), Side(), Side()
    first.sees("prod")
    first.sync(store)
    assert second.sync(store) is True
    assert second.values == ("prod",)
    assert second.sync(store) is False


def test_what_was_admitted_meanwhile_keeps_its_place_while_there_is_room() -> None:
    limits = {"env": CardinalityLimit("allow", 3)}
    store, here, there = MemoryStore(), Side(limits), Side(limits)
    there.sees("theirs")
    there.sync(store)
    here.sees("told")
    replies = store.run(tuple(here.admissions.operations(NOW)))
    here.sees("meanwhile", "too much")
    here.admissions.process_replies(replies, NOW)
    assert here.values == ("theirs", "told", "meanwhile")
    here.sync(store)
    there.sync(store)
    assert there.values == ("theirs", "told", "meanwhile")


def test_a_value_that_only_others_see_stays_as_long_as_they_do() -> None:
    limits = {"env": CardinalityLimit("allow", 3)}
    store, here, there = MemoryStore(), Side(limits), Side(limits)
    for day in range(4):
        now = NOW + day * DAY
        there.sees("theirs", now=now)
        for side in (there, here):
            side.sync(store, now)
        assert here.governor.admitted_values("env", now) == ("theirs",)
    later = NOW + 6 * DAY
    here.sync(store, later)
    assert here.governor.admitted_values("env", later) == ()


def test_a_store_that_has_forgotten_is_told_all_again() -> None:
    limits = {"env": CardinalityLimit("allow", 3)}
    side = Side(limits)
    side.sees("a", "b")
    side.sync(MemoryStore())
    side.admissions.republish(NOW)
    emptied = MemoryStore()
    assert side.sync(emptied) is False
    other = Side(limits)
    other.sync(emptied)
    assert other.values == side.values == ("a", "b")


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
    store, sides = (
        MemoryStore(),
        [Side({"env": CardinalityLimit("allow", maximum)}) for _ in range(3)],
    )
    for number, value in turns:
        if value is None:
            sides[number].sync(store)
        else:
            sides[number].sees(value)
    for side in sides * 2:
        side.sync(store)
    assert len({frozenset(side.values) for side in sides}) == 1
    assert maximum is None or len(sides[0].values) <= maximum


def test_the_overshoot_before_they_agree_is_bounded() -> None:
    """Each of n workers may have admitted max_cardinality values of its own until the next
    exchange; after it all have the same."""
    store, sides = MemoryStore(), [Side({"env": CardinalityLimit("allow", 50)}) for _ in range(4)]
    before: set[str | None] = set()
    for number in range(1_000):
        before.update(sides[number % 4].sees(f"value-{number}"))
    assert len(before) == 4 * 50 + OVERFLOW_LABELS
    for side in sides * 2:
        side.sync(store)
    after: set[str | None] = set()
    for side in sides:
        after.update(side.sees(*(f"value-{number}" for number in range(1_000))))
    assert len(after) == 50 + OVERFLOW_LABELS
