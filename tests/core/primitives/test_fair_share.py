"""Fair shares: the largest groups give way, until they are equal."""

from hypothesis import given
from hypothesis import strategies as st

from openqoe.core.primitives.fair_share import surplus_by_group


def test_largest_group_gives_way_first() -> None:
    assert surplus_by_group({"a": 9, "b": 4, "c": 2}, 5) == {"a": 5}
    assert surplus_by_group({"a": 9, "b": 4, "c": 2}, 7) == {"a": 6, "b": 1}


@given(
    sizes=st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1),
    fraction=st.fractions(0, 1),
)
def test_largest_groups_become_equal(sizes: dict[str, int], fraction: float) -> None:
    surplus = int(sum(sizes.values()) * fraction)
    lost = surplus_by_group(sizes, surplus)
    rest = {group: size - lost[group] for group, size in sizes.items()}
    assert sum(lost.values()) == surplus
    assert all(count >= 0 for count in rest.values())
    largest = max(rest.values())
    assert all(rest[group] >= largest - 1 for group in sizes if lost[group])
