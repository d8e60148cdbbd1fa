"""One dimension: actions, labels and expiry of values."""

import pytest

from openqoe.core.config.cardinality_limits import Action
from openqoe.core.config.cardinality_limits import CardinalityLimit as Limit
from openqoe.core.governance.dimension import (
    MAX_CANDIDATES,
    OVERFLOW_LABELS,
    Dimension,
    DimensionState,
    Sighting,
    bucket_label,
    overflow_label,
)
from openqoe.core.governance.hashing import hash32, hash_label
from openqoe.core.metrics.registry import ProvisionalLabel

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


def seen_in(view: str, minute: int = 0, organisation: str = "acme") -> Sighting:
    return Sighting(organisation, view, minute)


def test_one_view_occupies_half_of_the_places() -> None:
    """One request with 1,000 values occupied all places of a dimension for a day."""
    dimension = Dimension("browser_family", Limit("allow", 20))
    for number in range(1_000):
        dimension.govern(f"random-{number}", DAY, seen_in("one"))
    assert dimension.count_values(DAY) == 10


@pytest.mark.parametrize("second", [seen_in("other"), seen_in("one", minute=1)])
def test_reserved_place_goes_to_value_of_two_views_or_two_minutes(second: Sighting) -> None:
    dimension = Dimension("browser_family", Limit("allow", 20))
    for number in range(10):
        dimension.govern(f"known-{number}", DAY, seen_in("one"))
    for _ in range(3):
        label = dimension.govern("Firefox", DAY, seen_in("one"))
        assert label == overflow_label("Firefox")
        assert isinstance(label, ProvisionalLabel)
    assert dimension.govern("Firefox", DAY, second) == "Firefox"
    assert dimension.govern("Firefox", DAY, seen_in("one")) == "Firefox"


def test_candidates_are_bounded_and_the_oldest_is_forgotten() -> None:
    dimension = Dimension("player_id", Limit("allow", 10))
    for number in range(5):
        dimension.govern(f"known-{number}", DAY, seen_in("one"))
    dimension.govern("early", DAY, seen_in("one"))
    for number in range(MAX_CANDIDATES):
        dimension.govern(f"random-{number}", DAY, seen_in("one"))
    assert dimension.govern("early", DAY, seen_in("two")) == overflow_label("early")


def fill(dimension: Dimension, count: int, organisation: str) -> None:
    """Show values of an organisation in two views each."""
    for number in range(count):
        for view in ("one", "two"):
            value = f"{organisation}-{number}"
            dimension.govern(value, DAY, seen_in(view, organisation=organisation))


def test_organisation_has_at_most_half_of_the_places_beside_another() -> None:
    dimension = Dimension("player_id", Limit("allow", 100))
    fill(dimension, 1, "small")
    fill(dimension, 1_000, "large")
    assert dimension.count_values(DAY) == 51
    fill(dimension, 40, "small")
    assert dimension.govern("small-39", DAY, seen_in("one")) == "small-39"


def test_only_organisation_has_all_places() -> None:
    dimension = Dimension("player_id", Limit("allow", 100))
    fill(dimension, 1_000, "only")
    assert dimension.count_values(DAY) == 100


def test_allowed_value_needs_no_place_and_denied_value_gets_none() -> None:
    limit = Limit("allow", 1, allow=frozenset({"ours"}), deny=frozenset({"spam"}))
    dimension = Dimension("app_version", limit)
    assert dimension.govern("spam", DAY) == overflow_label("spam")
    assert dimension.govern("first", DAY) == "first"
    assert dimension.govern("ours", DAY) == "ours"
    assert dimension.admitted_values(DAY) == ("first",)


def test_denied_value_loses_its_place_at_restore() -> None:
    state = DimensionState({"spam": DAY}, 0)
    after = Dimension("app_version", Limit("allow", 2, deny=frozenset({"spam"})))
    after.restore_state(state)
    assert after.admitted_values(DAY) == ()
    after.adopt_shared_values(["spam", "other"], DAY)
    assert after.admitted_values(DAY) == ("other",)
