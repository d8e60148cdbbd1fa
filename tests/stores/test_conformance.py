"""What any store does, whichever keeps it: memory, a real Redis by both of its clients."""

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
from tests.support.memory_store import MemoryStore

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


def test_set_is_returned_completely_oldest_member_first(store: Store) -> None:
    assert add(store, "") == ""
    assert add(store, "ba") == "ba"
    assert add(store, "cad") == "bacd"


def test_replies_are_in_order_of_operations(store: Store) -> None:
    operations = tuple(
        AddMembers(key, members, None, DAY)
        for key, members in (("x", ("a",)), ("y", ("b",)), ("x", ("c",)))
    )
    replies = store.run(operations)
    assert replies == (Members(0, 0, ("a",)), Members(0, 0, ("b",)), Members(0, 0, ("a", "c")))


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, ""), (1, "a"), (2, "ab"), (4, "abcd"), (9, "abcd"), (None, "abcd")]
)
def test_first_members_keep_their_place_within_limit(
    store: Store, limit: int | None, expected: str
) -> None:
    assert add(store, "abcd", limit=limit) == expected
    assert add(store, "dcba", limit=limit) == expected


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "ab"), (1, "ab"), (2, "b"), (50, "b"), (-1, "ab")]
)
def test_member_expires_after_a_day_without_addition(
    store: Store, days: int, expected: str
) -> None:
    add(store, "a")
    assert add(store, "b", day=DAY + days) == expected


def test_expired_member_frees_a_place_and_returns_last(store: Store) -> None:
    add(store, "ab", limit=2)
    add(store, "b", limit=2, day=DAY + 1)
    assert add(store, "ca", limit=2, day=DAY + 2) == "bc"


def test_late_clock_does_not_expire_member_early(store: Store) -> None:
    add(store, "a", day=DAY + 1)
    add(store, "a", day=DAY)
    assert add(store, "", day=DAY + 2) == "a"


def test_current_version_returns_only_new_members(store: Store) -> None:
    known = ask(store, AddMembers("k", ("a", "b"), None, DAY))
    add(store, "c")
    operation = AddMembers("k", ("d",), None, DAY, known.version, len(known.members))
    assert ask(store, operation) == Members(known.version, 2, ("c", "d"))


def test_older_version_returns_all_members(store: Store) -> None:
    known = ask(store, AddMembers("k", ("a", "b"), None, DAY))
    later = ask(store, AddMembers("k", ("c",), None, DAY + 2, known.version, 2))
    assert later == Members(known.version + 1, 0, ("c",))


@pytest.mark.parametrize("member", ["", "ü", "{a}:b", "\n\0", "x" * 2048, "\N{PILE OF POO}"])
def test_member_may_be_any_text(store: Store, member: str) -> None:
    assert ask(store, AddMembers(f"set:{member}", (member,), None, DAY)).members == (member,)


# Claims


def test_first_claim_gets_ownership(store: Store) -> None:
    assert ask(store, Claim("k", "a", None)) == "a"
    assert ask(store, Claim("k", "b", None)) == "a"
    assert ask(store, Claim("k", "a", HOUR)) == "a"
    assert ask(store, Claim("other", "b", HOUR)) == "b"


def test_claim_expires_unless_owner_renews_it(store: Store) -> None:
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


def test_log_keeps_order_of_entries(store: Store) -> None:
    for number in (3, 1, 2):
        tail = extend(store, number)
    assert tail == Tail(0, None, (entry(3), entry(1), entry(2)), 3)


def test_extend_returns_entries_after_known_position(store: Store) -> None:
    for number in (1, 2):
        extend(store, number)
    assert extend(store, 3, after=2) == Tail(2, None, (entry(3),), 3)
    assert extend(store, 3, after=3) == Tail(3, None, (), 3)


def test_existing_entry_is_not_added_again(store: Store) -> None:
    extend(store, 1)
    assert ask(store, Extend("log", entry(1, by="other"), 0, None, HOUR)) == Tail(
        0, None, (entry(1),), 1
    )


def test_entry_is_added_only_at_requested_position(store: Store) -> None:
    extend(store, 1)
    assert extend(store, 2, after=1, only_at=0) == Tail(1, None, (), 1)
    assert extend(store, 2, after=1, only_at=2) == Tail(1, None, (), 1)
    assert extend(store, 2, after=1, only_at=1) == Tail(1, None, (entry(2),), 2)


def test_summary_replaces_oldest_entries(store: Store) -> None:
    for number in range(1, 7):
        extend(store, number)
    ask(store, Summarize("log", 5, b"five", 2, HOUR))
    assert extend(store, 6) == Tail(5, b"five", (entry(6),), 3)
    assert extend(store, 6, after=2) == Tail(5, b"five", (entry(6),), 3)
    # A client that knows all removed entries gets the kept ones.
    assert extend(store, 6, after=3) == Tail(3, None, (entry(4), entry(5), entry(6)), 3)


@pytest.mark.parametrize("length", [3, 4, 8])
def test_summary_of_wrong_length_is_ignored(store: Store, length: int) -> None:
    for number in range(1, 8):
        extend(store, number)
    ask(store, Summarize("log", 4, b"four", 0, HOUR))
    ask(store, Summarize("log", length, b"another", 0, HOUR))
    assert extend(store, 7) == Tail(4, b"four", (entry(5), entry(6), entry(7)), 3)


def test_log_expires_without_extension(store: Store) -> None:
    extend(store, 1, lifetime=300)
    time.sleep(0.2)
    extend(store, 2, lifetime=300)
    time.sleep(0.2)
    assert len(extend(store, 3, lifetime=300).entries) == 3
    time.sleep(0.4)
    assert extend(store, 4) == Tail(0, None, (entry(4),), 1)


# Recent members


def mark(store: Store, *marks: tuple[str, int], since: int = AT) -> int:
    count = ask(store, Mark("k", marks, since, HOUR))
    assert isinstance(count, int)
    return count


def test_members_are_counted_by_latest_mark(store: Store) -> None:
    assert mark(store, ("a", AT), ("b", AT + 1), ("c", -AT - 1)) == 2
    assert mark(store, ("a", -AT - 5), ("c", AT + 2)) == 2
    assert mark(store, ("a", AT + 4), ("b", -AT)) == 2  # both come too late
    assert ask(store, ListRecent("k", AT)) == ("b", "c")
    assert ask(store, ListRecent("k", AT + 2)) == ("c",)
    assert ask(store, ListRecent("other", AT)) == ()


def test_gone_mark_wins_at_equal_time(store: Store) -> None:
    assert mark(store, ("a", AT), ("b", -AT)) == 1
    assert mark(store, ("a", -AT), ("b", AT)) == 0


def test_old_marks_are_removed(store: Store) -> None:
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
    """Give an operation a key of its example and kind: the store is not emptied in between."""
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
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.lists(OPERATIONS, max_size=5)), max_size=25))
def test_interleaved_clients_match_memory_store(
    three: list[Store], turns: list[tuple[int, list[Operation]]]
) -> None:
    example, model = str(next(EXAMPLES)), MemoryStore()
    for client, operations in turns:
        own = tuple(_own_key(operation, example) for operation in operations)
        assert three[client].run(own) == model.run(own)


def test_large_update_matches_memory_store(three: list[Store]) -> None:
    """500 batches of 200 views at once. Some are another worker's, and some are repeated."""

    def batch(number: int, by: str) -> tuple[Operation, ...]:
        id, log = b"%d" % number, f"view-{number % 200}"
        known = number // 200
        entry = Entry(id, by, b"data of %d" % number)
        return Claim(f"batch-{number}", by, HOUR), Extend(log, entry, known, None, HOUR)

    def batches(numbers: range, by: str) -> tuple[Operation, ...]:
        return tuple(operation for number in numbers for operation in batch(number, by))

    summary = (Summarize("view-3", 2, b"summary", 1, HOUR),)
    model = MemoryStore()
    for client, operations in (
        (0, batches(range(0, 500, 7), "a")),
        (1, (*batches(range(300), "b"), *summary, *batches(range(290, 500), "b"))),
        (2, batches(range(500), "c")),
    ):
        assert three[client].run(operations) == model.run(operations)


def test_concurrent_clients_lose_no_operation(
    clients: Clients,
) -> None:
    """Each client extends one log 40 times, adds to one set and claims the same keys."""

    def run(number: int) -> tuple[list[str], list[tuple[Entry, ...]], Members]:
        own = clients()
        owners, tails = [], []
        for turn in range(40):
            put = Extend("log", Entry(b"%d-%d" % (number, turn), str(number), b""), 0, None, HOUR)
            members = AddMembers("set", (f"{number}-{turn}",), 100, DAY)
            owner, tail, reply = own.run((Claim(f"claim-{turn}", str(number), HOUR), put, members))
            assert isinstance(owner, str) and isinstance(tail, Tail)
            owners.append(owner)
            tails.append(tail.entries)
        assert isinstance(reply, Members)
        return owners, tails, reply

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert len({tuple(owners) for owners, _, _ in results}) == 1
    longest = max((tails[-1] for _, tails, _ in results), key=len)
    assert len(longest) == len({one.id for one in longest}) == 160
    for _, tails, reply in results:
        assert all(tail == longest[: len(tail)] for tail in tails)
        assert len(reply.members) == len(set(reply.members)) <= 100
    assert max(len(reply.members) for _, _, reply in results) == 100
