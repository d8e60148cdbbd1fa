"""All dimensions together, alone and with others through a shared store."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.effects import AddMembers
from openqoe.core.governance.dimension import FOLDS, Dimension, fold
from openqoe.core.governance.governor import DAY, Governor
from openqoe.core.governance.limits import DEFAULT_LIMITS, Limit
from openqoe.shells.stores import MemoryStore
from tests.support.events import NOW

ONE: Mapping[str, Limit] = {"env": Limit("allow", 1)}


def sync(governor: Governor, store: MemoryStore, now: int = NOW) -> bool:
    """One exchange with the store."""
    operations = governor.fresh(now)
    return governor.adopt(operations, store.run(operations), now)


def test_each_dimension_has_its_own_limit() -> None:
    governor = Governor({"env": Limit("allow", 1), "org_id": Limit("allow", 2)})
    for name, values in (("env", "ab"), ("org_id", "abc")):
        for value in values:
            governor.govern(name, value, NOW)
    assert governor.cardinality(NOW) == {"env": 1, "org_id": 2}
    assert governor.values("org_id", NOW) == ("a", "b")


def test_a_label_without_a_limit_passes() -> None:
    assert Governor(DEFAULT_LIMITS).govern("resolution", "1080p", NOW) == "1080p"


def test_a_fault_folds_the_value_and_costs_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    governor = Governor(DEFAULT_LIMITS)

    def fail(self: Dimension, value: str, day: int) -> str | None:
        raise ArithmeticError

    monkeypatch.setattr(Dimension, "govern", fail)
    assert governor.govern("env", "prod", NOW) == fold("prod")
    assert governor.faults == 1


@given(st.sampled_from(list(DEFAULT_LIMITS)), st.text(st.characters(), max_size=40))
@settings(max_examples=150)
def test_governance_fails_on_no_value(name: str, value: str) -> None:
    governor = Governor(DEFAULT_LIMITS)
    label = governor.govern(name, value, NOW)
    assert label == governor.govern(name, value, NOW)
    assert governor.faults == 0


@given(st.integers(-(10**30) + 1, 10**30 - 1), st.integers(1, 10**6))
@settings(max_examples=150)
def test_a_number_lies_in_its_range(number: int, size: int) -> None:
    governor = Governor({"video_id": Limit("bucket", None, size)})
    label = governor.govern("video_id", str(number), NOW)
    start = number // size * size
    assert label == f"{start}-{start + size}"


@given(
    limit=st.builds(
        Limit,
        st.sampled_from(["allow", "bucket", "hash"]),
        st.integers(0, 20),
        st.integers(1, 50),
    ),
    values=st.lists(st.integers(-500, 500).map(str) | st.text(max_size=3), max_size=200),
)
@settings(max_examples=100)
def test_bounds_hold_for_any_values(limit: Limit, values: list[str]) -> None:
    assert limit.max_cardinality is not None
    governor = Governor({"any": limit})
    given_labels: dict[str, str | None] = {}
    for value in values:
        label = governor.govern("any", value, NOW)
        assert given_labels.setdefault(value, label) == label  # the same as before
        assert governor.cardinality(NOW)["any"] <= limit.max_cardinality
    assert len(set(given_labels.values())) <= limit.max_cardinality + FOLDS


# With others


def test_the_store_is_told_once_a_day() -> None:
    governor = Governor(ONE)
    assert not governor.has_fresh
    governor.govern("env", "prod", NOW)
    governor.govern("env", "folded", NOW)
    assert governor.has_fresh
    today = NOW // DAY
    assert governor.fresh(NOW) == (AddMembers("cardinality:env", ("prod",), 1, today),)
    governor.govern("env", "prod", NOW)
    assert not governor.has_fresh
    assert governor.fresh(NOW) == ()
    governor.govern("env", "prod", NOW + DAY)
    assert governor.fresh(NOW + DAY) == (AddMembers("cardinality:env", ("prod",), 1, today + 1),)


def test_who_came_first_keeps_the_place_everywhere() -> None:
    store = MemoryStore()
    first, second = Governor(ONE), Governor(ONE)
    assert first.govern("env", "prod", NOW) == "prod"
    assert second.govern("env", "test", NOW) == "test"
    assert sync(first, store) is False
    assert sync(second, store) is True  # labels in caches are void
    for governor in (first, second):
        assert governor.govern("env", "prod", NOW) == "prod"
        assert governor.govern("env", "test", NOW) == fold("test")


def test_what_was_admitted_meanwhile_keeps_its_place_while_there_is_room() -> None:
    store = MemoryStore()
    limits = {"env": Limit("allow", 3)}
    here, there = Governor(limits), Governor(limits)
    there.govern("env", "theirs", NOW)
    sync(there, store)
    here.govern("env", "told", NOW)
    operations = here.fresh(NOW)
    replies = store.run(operations)
    here.govern("env", "meanwhile", NOW)
    here.govern("env", "too much", NOW)
    assert here.adopt(operations, replies, NOW) is True
    assert here.values("env", NOW) == ("theirs", "told", "meanwhile")
    sync(here, store)
    sync(there, store)  # nothing to tell, so it hears nothing either
    assert there.values("env", NOW) == ("theirs",)


@given(
    maximum=st.integers(0, 6) | st.none(),
    turns=st.lists(
        st.tuples(st.integers(0, 1), st.sampled_from("abcdefghij") | st.none()), max_size=60
    ),
)
@settings(max_examples=150)
def test_governors_that_share_a_store_come_to_agree(
    maximum: int | None, turns: list[tuple[int, str | None]]
) -> None:
    """Two workers see values, and exchange, in any order; then both see all values once."""
    store = MemoryStore()
    governors = [Governor({"env": Limit("allow", maximum)}) for _ in range(2)]
    for who, value in turns:
        if value is None:
            sync(governors[who], store)
        else:
            governors[who].govern("env", value, NOW)
    for governor in governors:
        for value in "abcdefghij":
            governor.govern("env", value, NOW)
        sync(governor, store)
    labels = [[g.govern("env", value, NOW) for value in "abcdefghij"] for g in governors]
    assert labels[0] == labels[1]
    admitted = [label for label in labels[0] if label in set("abcdefghij")]
    assert len(admitted) == (10 if maximum is None else maximum)


def test_50_of_200_values_are_admitted_however_many_workers_see_them() -> None:
    store = MemoryStore()
    governors = [Governor({"env": Limit("allow", 50)}) for _ in range(4)]
    for number in range(200):
        governors[number % 4].govern("env", f"value-{number}", NOW)
        if number % 7 == 0:
            sync(governors[number % 4], store)
    for governor in governors:
        for number in range(200):
            governor.govern("env", f"value-{number}", NOW)
        sync(governor, store)
    admitted = [set(governor.values("env", NOW)) for governor in governors]
    assert [len(values) for values in admitted] == [50] * 4
    assert len(set.union(*admitted)) == 50
