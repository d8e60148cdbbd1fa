"""Governance of all dimensions."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqoe.core.config.cardinality_limits import DEFAULT_LIMITS, CardinalityLimit
from openqoe.core.governance.dimension import OVERFLOW_LABELS, Dimension, overflow_label
from openqoe.core.governance.governor import Governor
from tests.support.event_builders import NOW

ONE: Mapping[str, CardinalityLimit] = {"env": CardinalityLimit("allow", 1)}


def test_each_dimension_has_its_own_limit() -> None:
    governor = Governor(
        {"env": CardinalityLimit("allow", 1), "org_id": CardinalityLimit("allow", 2)}
    )
    for name, values in (("env", "ab"), ("org_id", "abc")):
        for value in values:
            governor.govern(name, value, NOW)
    assert governor.count_values(NOW) == {"env": 1, "org_id": 2}
    assert governor.admitted_values("org_id", NOW) == ("a", "b")


def test_value_of_a_name_without_limit_is_unchanged() -> None:
    assert Governor(DEFAULT_LIMITS).govern("resolution", "1080p", NOW) == "1080p"


def test_error_gives_the_overflow_label_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    governor = Governor(DEFAULT_LIMITS)

    def fail(self: Dimension, *_: object) -> str | None:
        raise ArithmeticError

    monkeypatch.setattr(Dimension, "govern", fail)
    assert governor.govern("env", "prod", NOW) == overflow_label("prod")
    assert governor.faults == 1


@given(st.sampled_from(list(DEFAULT_LIMITS)), st.text(st.characters(), max_size=40))
@settings(max_examples=150)
def test_any_value_is_governed_without_error(name: str, value: str) -> None:
    governor = Governor(DEFAULT_LIMITS)
    label = governor.govern(name, value, NOW)
    assert label == governor.govern(name, value, NOW)
    assert governor.faults == 0


@given(st.integers(-(10**30) + 1, 10**30 - 1), st.integers(1, 10**6))
@settings(max_examples=150)
def test_number_lies_in_its_range(number: int, size: int) -> None:
    governor = Governor({"video_id": CardinalityLimit("bucket", None, size)})
    label = governor.govern("video_id", str(number), NOW)
    start = number // size * size
    assert label == f"{start}-{start + size}"


@given(
    limit=st.builds(
        CardinalityLimit,
        st.sampled_from(["allow", "bucket", "hash"]),
        st.integers(0, 20),
        st.integers(1, 50),
    ),
    values=st.lists(st.integers(-500, 500).map(str) | st.text(max_size=3), max_size=200),
)
@settings(max_examples=100)
def test_limits_hold_for_any_values(limit: CardinalityLimit, values: list[str]) -> None:
    assert limit.max_cardinality is not None
    governor = Governor({"any": limit})
    given_labels: dict[str, str | None] = {}
    for value in values:
        label = governor.govern("any", value, NOW)
        assert given_labels.setdefault(value, label) == label  # stable
        assert governor.count_values(NOW)["any"] <= limit.max_cardinality
    assert len(set(given_labels.values())) <= limit.max_cardinality + OVERFLOW_LABELS
