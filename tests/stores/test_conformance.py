"""What any store does, whichever keeps it: memory, SQLite, a real Redis by both of its clients."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openqoe.core.kv import (
    AddMembers,
    Claim,
    Entry,
    Extend,
    ListRecent,
    Mark,
    Members,
    Operation,
    Summarize,
    Tail,
)
from openqoe.shells.stores import Store
from tests.stores.conftest import Clients
from tests.stores.model import Model

DAY = 20_000
HOUR = 3_600_000
AT = 1_760_000_000_000


def ask(store: Store, operation: Operation) -> Any:
    (reply,) = store.run((operation,))
    return reply


# Sets


def add(
    store: Store, members: str, *, limit: int | None = None, day: int = DAY, key: str = "k"
) -> str:
    reply = ask(store, AddMembers(key, tuple(members), limit, day))
    assert reply.start == 0
    return "".join(reply.members)


def test_a_set_is_told_whole_and_oldest_first(store: Store) -> None:
    assert add(store, "") == ""
    assert add(store, "ba") == "ba"
    assert add(store, "cad") == "bacd"


def test_replies_stand_in_the_order_of_the_operations(store: Store) -> None:
    operations = tuple(
        AddMembers(key, members, None, DAY)
        for key, members in (("x", ("a",)), ("y", ("b",)), ("x", ("c",)))
    )
    replies = store.run(operations)
    assert replies == (Members(0, 0, ("a",)), Members(0, 0, ("b",)), Members(0, 0, ("a", "c")))


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, ""), (1, "a"), (2, "ab"), (4, "abcd"), (9, "abcd"), (None, "abcd")]
)
def test_those_that_came_first_keep_their_place(
    store: Store, limit: int | None, expected: str
) -> None:
    assert add(store, "abcd", limit=limit) == expected
    assert add(store, "dcba", limit=limit) == expected


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "ab"), (1, "ab"), (2, "b"), (50, "b"), (-1, "ab")]
)
def test_a_member_not_added_on_this_day_or_the_day_before_has_left(
    store: Store, days: int, expected: str
) -> None:
    add(store, "a")
    assert add(store, "b", day=DAY + days) == expected


def test_a_member_that_left_makes_room_and_comes_back_last(store: Store) -> None:
    add(store, "ab", limit=2)
    add(store, "b", limit=2, day=DAY + 1)
    assert add(store, "ca", limit=2, day=DAY + 2) == "bc"


def test_a_clock_that_is_behind_does_not_shorten_a_stay(store: Store) -> None:
    add(store, "a", day=DAY + 1)
    add(store, "a", day=DAY)
    assert add(store, "", day=DAY + 2) == "a"


def test_who_knows_a_set_is_told_only_what_is_new(store: Store) -> None:
    known = ask(store, AddMembers("k", ("a", "b"), None, DAY))
    add(store, "c")
    operation = AddMembers("k", ("d",), None, DAY, known.version, len(known.members))
    assert ask(store, operation) == Members(known.version, 2, ("c", "d"))


def test_who_knows_an_older_version_is_told_all(store: Store) -> None:
    known = ask(store, AddMembers("k", ("a", "b"), None, DAY))
    later = ask(store, AddMembers("k", ("c",), None, DAY + 2, known.version, 2))
    assert later == Members(known.version + 1, 0, ("c",))


@pytest.mark.parametrize("member", ["", "ü", "{a}:b", "\n\0", "x" * 2048, "\N{PILE OF POO}"])
def test_a_member_is_any_text(store: Store, member: str) -> None:
    assert ask(store, AddMembers(f"set:{member}", (member,), None, DAY)).members == (member,)


# Claims


def test_the_first_to_claim_is_the_owner(store: Store) -> None:
    assert ask(store, Claim("k", "a", None)) == "a"
    assert ask(store, Claim("k", "b", None)) == "a"
    assert ask(store, Claim("k", "a", HOUR)) == "a"
    assert ask(store, Claim("other", "b", HOUR)) == "b"


def test_a_claim_ends_unless_its_owner_renews_it(store: Store) -> None:
    assert ask(store, Claim("k", "a", 400)) == "a"
    for _ in range(4):
        time.sleep(0.15)
        assert ask(store, Claim("k", "a", 400)) == "a"
        assert ask(store, Claim("k", "b", 400)) == "a"
    time.sleep(0.5)
    assert ask(store, Claim("k", "b", HOUR)) == "b"
    assert ask(store, Claim("k", "a", HOUR)) == "b"


# Logs


def entry(number: int, by: str = "w") -> Entry:
    return Entry(b"id-%d" % number, by, bytes([number]) * 3)


def extend(
    store: Store, number: int, *, after: int = 0, only_at: int | None = None, lifetime: int = HOUR
) -> Tail:
    tail = ask(store, Extend("log", entry(number), after, only_at, lifetime))
    assert isinstance(tail, Tail)
    return tail


def test_a_log_keeps_the_order_of_its_entries(store: Store) -> None:
    for number in (3, 1, 2):
        tail = extend(store, number)
    assert tail == Tail(0, None, (entry(3), entry(1), entry(2)), 3)


def test_who_knows_the_beginning_is_told_the_rest(store: Store) -> None:
    for number in (1, 2):
        extend(store, number)
    assert extend(store, 3, after=2) == Tail(2, None, (entry(3),), 3)
    assert extend(store, 3, after=3) == Tail(3, None, (), 3)


def test_an_entry_that_is_there_is_not_put_again(store: Store) -> None:
    extend(store, 1)
    assert ask(store, Extend("log", entry(1, by="other"), 0, None, HOUR)) == Tail(
        0, None, (entry(1),), 1
    )


def test_an_entry_can_be_put_only_at_its_place(store: Store) -> None:
    extend(store, 1)
    assert extend(store, 2, after=1, only_at=0) == Tail(1, None, (), 1)
    assert extend(store, 2, after=1, only_at=2) == Tail(1, None, (), 1)
    assert extend(store, 2, after=1, only_at=1) == Tail(1, None, (entry(2),), 2)


def test_a_summary_stands_for_the_beginning(store: Store) -> None:
    for number in range(1, 7):
        extend(store, number)
    ask(store, Summarize("log", 5, b"five", 2, HOUR))
    assert extend(store, 6) == Tail(5, b"five", (entry(6),), 3)
    assert extend(store, 6, after=2) == Tail(5, b"five", (entry(6),), 3)
    # Who knows all that is gone gets the entries that are kept.
    assert extend(store, 6, after=3) == Tail(3, None, (entry(4), entry(5), entry(6)), 3)


@pytest.mark.parametrize("length", [3, 4, 8])
def test_a_summary_of_less_or_of_more_than_there_is_changes_nothing(
    store: Store, length: int
) -> None:
    for number in range(1, 8):
        extend(store, number)
    ask(store, Summarize("log", 4, b"four", 0, HOUR))
    ask(store, Summarize("log", length, b"another", 0, HOUR))
    assert extend(store, 7) == Tail(4, b"four", (entry(5), entry(6), entry(7)), 3)


def test_a_log_ends_when_nobody_extends_it(store: Store) -> None:
    extend(store, 1, lifetime=300)
    time.sleep(0.2)
    extend(store, 2, lifetime=300)
    time.sleep(0.2)
    assert len(extend(store, 3, lifetime=300).entries) == 3
    time.sleep(0.4)
    assert extend(store, 4) == Tail(0, None, (entry(4),), 1)


# What was seen lately


def mark(store: Store, *marks: tuple[str, int], since: int = AT) -> int:
    count = ask(store, Mark("k", marks, since, HOUR))
    assert isinstance(count, int)
    return count


def test_members_are_counted_by_their_latest_mark(store: Store) -> None:
    assert mark(store, ("a", AT), ("b", AT + 1), ("c", -AT - 1)) == 2
    assert mark(store, ("a", -AT - 5), ("c", AT + 2)) == 2
    assert mark(store, ("a", AT + 4), ("b", -AT)) == 2  # both come too late
    assert ask(store, ListRecent("k", AT)) == ("b", "c")
    assert ask(store, ListRecent("k", AT + 2)) == ("c",)
    assert ask(store, ListRecent("other", AT)) == ()


def test_of_two_marks_of_one_time_the_member_is_gone(store: Store) -> None:
    assert mark(store, ("a", AT), ("b", -AT)) == 1
    assert mark(store, ("a", -AT), ("b", AT)) == 0


def test_old_marks_are_forgotten(store: Store) -> None:
    mark(store, ("a", AT), ("b", AT + 10), ("c", -AT))
    assert mark(store, since=AT + 1) == 1
    assert mark(store, since=AT) == 1


# All together

KEYS = st.sampled_from(["k", "l"])
WORKERS = st.sampled_from(["a", "b", "c"])
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(
        AddMembers,
        KEYS,
        st.lists(st.sampled_from("abcdef"), max_size=4).map(tuple),
        st.none() | st.integers(0, 4),
        st.integers(DAY, DAY + 3),
        st.integers(-1, 2),
        st.integers(0, 4),
    ),
    st.builds(Claim, KEYS, WORKERS, st.none() | st.just(HOUR)),
    st.builds(
        Extend,
        KEYS,
        st.builds(
            Entry, st.sampled_from([b"1", b"2", b"3", b"4", b"5", b"6"]), WORKERS, st.binary()
        ),
        st.integers(0, 6),
        st.none() | st.integers(0, 6),
        st.just(HOUR),
    ),
    st.builds(Summarize, KEYS, st.integers(1, 7), st.binary(), st.integers(0, 3), st.just(HOUR)),
    st.builds(
        Mark,
        KEYS,
        st.lists(
            st.tuples(
                st.sampled_from("xyz"),
                st.integers(AT, AT + 5).flatmap(lambda at: st.sampled_from([at, -at])),
            ),
            max_size=4,
        ).map(tuple),
        st.integers(AT, AT + 3),
        st.just(HOUR),
    ),
    st.builds(ListRecent, KEYS, st.integers(AT, AT + 3)),
)


def _own_key(operation: Operation, example: str) -> Operation:
    """Under a key of this example, and of its kind: a store is not emptied in between."""
    kind = {Summarize: "Extend", ListRecent: "Mark"}.get(type(operation), type(operation).__name__)
    return type(operation)(f"{example}:{kind}:{operation.key}", *_rest(operation))


def _rest(operation: Operation) -> list[Any]:
    return [getattr(operation, name) for name in type(operation).__slots__ if name != "key"]


EXAMPLES = count()


@pytest.fixture
def three(clients: Clients) -> list[Store]:
    """Three clients of a new store."""
    return [clients() for _ in range(3)]


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.lists(OPERATIONS, max_size=5)), max_size=25))
def test_any_interleaving_of_several_clients_is_as_one_after_the_other(
    three: list[Store], turns: list[tuple[int, list[Operation]]]
) -> None:
    example, model = str(next(EXAMPLES)), Model()
    for client, operations in turns:
        own = tuple(_own_key(operation, example) for operation in operations)
        assert three[client].run(own) == model.run(own)


def test_a_large_update_is_as_its_operations_one_after_the_other(three: list[Store]) -> None:
    """500 batches of 200 views at once. Some are another worker's, and some are told again."""

    def batch(number: int, by: str) -> tuple[Operation, ...]:
        id, log = b"%d" % number, f"view-{number % 200}"
        known = number // 200
        entry = Entry(id, by, b"data of %d" % number)
        return Claim(f"batch-{number}", by, HOUR), Extend(log, entry, known, None, HOUR)

    def batches(numbers: range, by: str) -> tuple[Operation, ...]:
        return tuple(operation for number in numbers for operation in batch(number, by))

    summary = (Summarize("view-3", 2, b"summary", 1, HOUR),)
    model = Model()
    for client, operations in (
        (0, batches(range(0, 500, 7), "a")),
        (1, (*batches(range(300), "b"), *summary, *batches(range(290, 500), "b"))),
        (2, batches(range(500), "c")),
    ):
        assert three[client].run(operations) == model.run(operations)


def test_clients_at_the_same_time_lose_nothing_of_each_other(
    clients: Clients,
) -> None:
    """Each extends one log 40 times, adds to one set and claims what all claim."""

    def run(number: int) -> tuple[list[str], list[tuple[Entry, ...]], Members]:
        own = clients()
        owners, tails = [], []
        for turn in range(40):
            put = Extend("log", Entry(b"%d-%d" % (number, turn), str(number), b""), 0, None, HOUR)
            members = AddMembers("set", (f"{number}-{turn}",), 100, DAY)
            owner, tail, told = own.run((Claim(f"claim-{turn}", str(number), HOUR), put, members))
            assert isinstance(owner, str) and isinstance(tail, Tail)
            owners.append(owner)
            tails.append(tail.entries)
        assert isinstance(told, Members)
        return owners, tails, told

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert len({tuple(owners) for owners, _, _ in results}) == 1
    longest = max((tails[-1] for _, tails, _ in results), key=len)
    assert len(longest) == len({one.id for one in longest}) == 160
    for _, tails, told in results:
        assert all(tail == longest[: len(tail)] for tail in tails)
        assert len(told.members) == len(set(told.members)) <= 100
    assert max(len(told.members) for _, _, told in results) == 100
