"""One dimension: actions, labels and expiry of values."""

import pytest

from openqoe.core.config.cardinality_limits import Action
from openqoe.core.config.cardinality_limits import CardinalityLimit as Limit
from openqoe.core.governance.dimension import (
    OVERFLOW_LABELS,
    Dimension,
    bucket_label,
    overflow_label,
)
from openqoe.core.governance.hashing import hash32, hash_label

DAY = 20_000


def labels(limit: Limit, *values: str) -> list[str | None]:
    dimension = Dimension("any", limit)
    return [dimension.govern(value, DAY) for value in values]


@pytest.mark.parametrize(
    ("limit", "values", "expected"),
    [
        (Limit("allow"), ["a", "b", "a"], ["a", "b", "a"]),
        (Limit("allow", 2), ["a", "b", "a"], ["a", "b", "a"]),
        (
            Limit("allow", 1),
            ["a", "b", "a", "b"],
            ["a", overflow_label("b"), "a", overflow_label("b")],
        ),
        (Limit("allow", 0), ["a"], [overflow_label("a")]),
        (Limit("allow", 9), ["", " ", "two\nlines", 'a"b', "a\0b"], None),
        (Limit("hash"), ["a", "b", "a"], [hash_label("a"), hash_label("b"), hash_label("a")]),
        (
            Limit("hash", 1),
            ["a", "b", "a"],
            [hash_label("a"), overflow_label(hash_label("b")), hash_label("a")],
        ),
        (Limit("drop"), ["a", ""], [None, None]),
        (Limit("drop", 1), ["a", "b"], [None, None]),
        (Limit("bucket", 9, 100), ["7", "99", "100"], ["0-100", "0-100", "100-200"]),
        (Limit("bucket", 9, 100), ["film", "film"], [bucket_label("film", 100)] * 2),
        (Limit("bucket", 1, 10), ["5", "15", "7"], ["0-10", overflow_label("10-20"), "0-10"]),
    ],
)
def test_labels_by_action(
    limit: Limit, values: list[str], expected: list[str | None] | None
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
def test_number_is_mapped_to_its_range(value: str, size: int, expected: str) -> None:
    assert bucket_label(value, size) == expected


@pytest.mark.parametrize(
    "value", ["", "film", "1e3", "1,5", "0x10", "1_000", "NaN", "inf", " 7", "7 ", ".5", "9" * 31]
)
def test_other_string_is_mapped_to_a_hash_bucket(value: str) -> None:
    name, _, number = bucket_label(value, 10).partition("_")
    assert name == "bucket"
    assert 0 <= int(number) < 10


# These labels are in users' databases: a change renames their series.
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
def test_hashes_never_change(value: str) -> None:
    assert (
        hash32(value),
        hash_label(value),
        overflow_label(value),
        bucket_label(value, 1000),
    ) == GOLDEN[value]


@pytest.mark.parametrize("action", ["hash", "bucket"])
def test_different_values_rarely_collide(action: Action) -> None:
    values = [f"viewer-{number}" for number in range(1000)]
    assert len(set(labels(Limit(action, None, 1_000_000), *values))) > 990


def test_number_of_overflow_labels_is_bounded() -> None:
    values = [f"viewer-{number}" for number in range(2000)]
    assert len(set(labels(Limit("allow", 0), *values))) == OVERFLOW_LABELS


def test_overflow_is_counted_per_lookup() -> None:
    dimension = Dimension("any", Limit("allow", 1))
    for value in ("a", "b", "a", "b", "c"):
        dimension.govern(value, DAY)
    assert dimension.overflowed == 3


@pytest.mark.parametrize(
    ("limit", "values"),
    [
        (Limit("allow", 2), ("b", "a")),
        (Limit("bucket", 2, 10), ("0-10", bucket_label("film", 10))),
        (Limit("hash", 2), (hash_label("7"), hash_label("film"))),
        (Limit("hash"), ()),  # hashes of all viewers are not kept
        (Limit("drop"), ()),
    ],
)
def test_admitted_values_are_in_order_of_admission(limit: Limit, values: tuple[str, ...]) -> None:
    dimension = Dimension("any", limit)
    for value in ("b", "a", "b", "c") if limit.action == "allow" else ("7", "film"):
        dimension.govern(value, DAY)
    assert dimension.admitted_values(DAY) == values


# Expiry


@pytest.mark.parametrize(
    ("days_later", "admitted"),
    [(0, False), (1, False), (2, True), (30, True), (-1, False), (-30, False)],
)
def test_unseen_value_expires_after_the_next_day(days_later: int, admitted: bool) -> None:
    dimension = Dimension("any", Limit("allow", 1))
    dimension.govern("old", DAY)
    assert dimension.govern("new", DAY + days_later) == (
        "new" if admitted else overflow_label("new")
    )


def test_value_seen_each_day_does_not_expire() -> None:
    dimension = Dimension("any", Limit("allow", 1))
    for day in range(DAY, DAY + 10):
        assert dimension.govern("kept", day) == "kept"
        assert dimension.govern("new", day) == overflow_label("new")


def test_value_seen_in_the_future_expires() -> None:
    dimension = Dimension("any", Limit("allow", 1))
    dimension.govern("old", DAY)
    assert dimension.govern("ahead", DAY + 300) == "ahead"
    assert dimension.govern("new", DAY + 300) == overflow_label("new")
    assert dimension.govern("new", DAY) == overflow_label("new")
    assert dimension.govern("new", DAY + 302) == "new"


def test_only_unseen_values_expire() -> None:
    dimension = Dimension("any", Limit("allow", 3))
    for value in ("a", "b", "c"):
        dimension.govern(value, DAY)
    dimension.govern("b", DAY + 1)
    assert dimension.admitted_values(DAY + 2) == ("b",)
    assert [dimension.govern(value, DAY + 2) for value in ("x", "a", "y")] == [
        "x",
        "a",
        overflow_label("y"),
    ]
