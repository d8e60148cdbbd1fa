"""The four actions, value by value, and the names they give."""

import pytest

from openqoe.core.config.cardinality_limits import Action, CardinalityLimit
from openqoe.core.governance.dimension import (
    OVERFLOW_LABELS,
    Dimension,
    bucket_label,
    overflow_label,
)
from openqoe.core.governance.hashing import hash32, hash_label

DAY = 20_000


def labels(limit: CardinalityLimit, *values: str) -> list[str | None]:
    dimension = Dimension("any", limit)
    return [dimension.govern(value, DAY) for value in values]


@pytest.mark.parametrize(
    ("limit", "values", "expected"),
    [
        (CardinalityLimit("allow"), ["a", "b", "a"], ["a", "b", "a"]),
        (CardinalityLimit("allow", 2), ["a", "b", "a"], ["a", "b", "a"]),
        (
            CardinalityLimit("allow", 1),
            ["a", "b", "a", "b"],
            ["a", overflow_label("b"), "a", overflow_label("b")],
        ),
        (CardinalityLimit("allow", 0), ["a"], [overflow_label("a")]),
        (CardinalityLimit("allow", 9), ["", " ", "two\nlines", 'a"b', "a\0b"], None),
        (
            CardinalityLimit("hash"),
            ["a", "b", "a"],
            [hash_label("a"), hash_label("b"), hash_label("a")],
        ),
        (
            CardinalityLimit("hash", 1),
            ["a", "b", "a"],
            [hash_label("a"), overflow_label(hash_label("b")), hash_label("a")],
        ),
        (CardinalityLimit("drop"), ["a", ""], [None, None]),
        (CardinalityLimit("drop", 1), ["a", "b"], [None, None]),
        (CardinalityLimit("bucket", 9, 100), ["7", "99", "100"], ["0-100", "0-100", "100-200"]),
        (CardinalityLimit("bucket", 9, 100), ["film", "film"], [bucket_label("film", 100)] * 2),
        (
            CardinalityLimit("bucket", 1, 10),
            ["5", "15", "7"],
            ["0-10", overflow_label("10-20"), "0-10"],
        ),
    ],
)
def test_actions(
    limit: CardinalityLimit, values: list[str], expected: list[str | None] | None
) -> None:
    assert labels(limit, *values) == (values if expected is None else expected)


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        ("0", 10, "0-10"),
        ("9", 10, "0-10"),
        ("10", 10, "10-20"),
        ("007", 10, "0-10"),
        ("+7", 10, "0-10"),
        ("9.99", 10, "0-10"),
        ("10.0", 10, "10-20"),
        ("-1", 10, "-10-0"),
        ("-10", 10, "-10-0"),
        ("-10.5", 10, "-20--10"),
        ("-0.5", 10, "-10-0"),
        ("5", 1, "5-6"),
        ("12345", 10_000, "10000-20000"),
        ("9" * 30, 1, "9" * 30 + "-1" + "0" * 30),
        ("9" * 30 + "." + "9" * 30, 10, "9" * 29 + "0-1" + "0" * 30),
    ],
)
def test_numbers_fall_into_ranges(value: str, size: int, expected: str) -> None:
    assert bucket_label(value, size) == expected


@pytest.mark.parametrize(
    "value", ["", "film", "1e3", "1,5", "0x10", "1_000", "NaN", "inf", " 7", "7 ", ".5", "9" * 31]
)
def test_anything_else_falls_into_a_hash_bucket(value: str) -> None:
    name, _, number = bucket_label(value, 10).partition("_")
    assert name == "bucket"
    assert 0 <= int(number) < 10


# What stands here is in the databases of users: a change renames their series.
GOLDEN = {
    "": (921293382, "36e9d246", "hash_06", "bucket_382"),
    "a": (386836441, "170ea7d9", "hash_19", "bucket_441"),
    "film": (3301348703, "c4c6955f", "hash_1f", "bucket_703"),
    "viewer-1": (3756750464, "dfeb7680", "hash_00", "bucket_464"),
    "é😀": (1113552116, "425f74f4", "hash_34", "bucket_116"),
    "\ud83d": (2438671926, "915b2e36", "hash_36", "bucket_926"),
    "two\nlines": (3264453452, "c2939b4c", "hash_0c", "bucket_452"),
}


@pytest.mark.parametrize("value", GOLDEN, ids=ascii)
def test_hashes_are_the_same_in_every_version(value: str) -> None:
    assert (
        hash32(value),
        hash_label(value),
        overflow_label(value),
        bucket_label(value, 1000),
    ) == GOLDEN[value]


@pytest.mark.parametrize("action", ["hash", "bucket"])
def test_different_values_mostly_get_different_labels(action: Action) -> None:
    values = [f"viewer-{number}" for number in range(1000)]
    assert len(set(labels(CardinalityLimit(action, None, 1_000_000), *values))) > 990


def test_folded_values_share_a_bounded_number_of_labels() -> None:
    values = [f"viewer-{number}" for number in range(2000)]
    assert len(set(labels(CardinalityLimit("allow", 0), *values))) == OVERFLOW_LABELS


def test_what_was_folded_is_counted() -> None:
    dimension = Dimension("any", CardinalityLimit("allow", 1))
    for value in ("a", "b", "a", "b", "c"):
        dimension.govern(value, DAY)
    assert dimension.overflowed == 3


@pytest.mark.parametrize(
    ("limit", "values"),
    [
        (CardinalityLimit("allow", 2), ("b", "a")),
        (CardinalityLimit("bucket", 2, 10), ("0-10", bucket_label("film", 10))),
        (CardinalityLimit("hash", 2), (hash_label("7"), hash_label("film"))),
        (CardinalityLimit("hash"), ()),  # the ids of all viewers would be too many to remember
        (CardinalityLimit("drop"), ()),
    ],
)
def test_admitted_values_are_listed_in_order(
    limit: CardinalityLimit, values: tuple[str, ...]
) -> None:
    dimension = Dimension("any", limit)
    for value in ("b", "a", "b", "c") if limit.action == "allow" else ("7", "film"):
        dimension.govern(value, DAY)
    assert dimension.admitted_values(DAY) == values


# Expiry


@pytest.mark.parametrize(
    ("days_later", "admitted"),
    [(0, False), (1, False), (2, True), (30, True), (-1, False), (-30, False)],
)
def test_a_value_not_seen_frees_its_place_after_the_next_day(
    days_later: int, admitted: bool
) -> None:
    dimension = Dimension("any", CardinalityLimit("allow", 1))
    dimension.govern("old", DAY)
    assert dimension.govern("new", DAY + days_later) == (
        "new" if admitted else overflow_label("new")
    )


def test_a_value_seen_each_day_keeps_its_place() -> None:
    dimension = Dimension("any", CardinalityLimit("allow", 1))
    for day in range(DAY, DAY + 10):
        assert dimension.govern("kept", day) == "kept"
        assert dimension.govern("new", day) == overflow_label("new")


def test_a_clock_that_was_ahead_keeps_no_value_for_ever() -> None:
    dimension = Dimension("any", CardinalityLimit("allow", 1))
    dimension.govern("old", DAY)
    assert dimension.govern("ahead", DAY + 300) == "ahead"
    assert dimension.govern("new", DAY + 300) == overflow_label("new")
    assert dimension.govern("new", DAY) == overflow_label("new")
    assert dimension.govern("new", DAY + 302) == "new"


def test_only_what_was_not_seen_is_forgotten() -> None:
    dimension = Dimension("any", CardinalityLimit("allow", 3))
    for value in ("a", "b", "c"):
        dimension.govern(value, DAY)
    dimension.govern("b", DAY + 1)
    assert dimension.admitted_values(DAY + 2) == ("b",)
    assert [dimension.govern(value, DAY + 2) for value in ("x", "a", "y")] == [
        "x",
        "a",
        overflow_label("y"),
    ]
