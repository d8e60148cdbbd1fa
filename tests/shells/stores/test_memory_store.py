"""The store in memory: sets of bounded size whose members leave when nobody adds them again."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from openqoe.core.effects import AddMembers
from openqoe.shells.stores import MemoryStore

DAY = 20_000


def add(
    store: MemoryStore, members: str, *, limit: int | None = None, day: int = DAY, key: str = "k"
) -> str:
    (reply,) = store.run((AddMembers(key, tuple(members), limit, day),))
    return "".join(reply)


def test_the_reply_is_the_whole_set_oldest_first() -> None:
    store = MemoryStore()
    assert add(store, "") == ""
    assert add(store, "ba") == "ba"
    assert add(store, "cad") == "bacd"


def test_replies_stand_in_the_order_of_the_operations() -> None:
    operations = (
        AddMembers("x", ("a",), None, DAY),
        AddMembers("y", ("b",), None, DAY),
        AddMembers("x", ("c",), None, DAY),
    )
    assert MemoryStore().run(operations) == (("a",), ("b",), ("a", "c"))
    assert MemoryStore().run(()) == ()


@pytest.mark.parametrize(
    ("limit", "expected"), [(0, ""), (1, "a"), (2, "ab"), (4, "abcd"), (9, "abcd"), (None, "abcd")]
)
def test_those_that_came_first_keep_their_place(limit: int | None, expected: str) -> None:
    store = MemoryStore()
    assert add(store, "abcd", limit=limit) == expected
    assert add(store, "dcba", limit=limit) == expected


@pytest.mark.parametrize(
    ("days", "expected"), [(0, "ab"), (1, "ab"), (2, "b"), (50, "b"), (-1, "ab")]
)
def test_a_member_not_added_on_this_day_or_the_day_before_has_left(
    days: int, expected: str
) -> None:
    store = MemoryStore()
    add(store, "a")
    assert add(store, "b", day=DAY + days) == expected


def test_a_member_that_left_makes_room_and_comes_back_last() -> None:
    store = MemoryStore()
    add(store, "ab", limit=2)
    add(store, "b", limit=2, day=DAY + 1)
    assert add(store, "ca", limit=2, day=DAY + 2) == "bc"


def test_a_clock_that_is_behind_does_not_shorten_a_stay() -> None:
    store = MemoryStore()
    add(store, "a", day=DAY + 1)
    add(store, "a", day=DAY)
    assert add(store, "", day=DAY + 2) == "a"


class SlowSets(dict[str, dict[str, int]]):
    """Lets another thread run between the reading of a set and its writing."""

    def __setitem__(self, key: str, members: dict[str, int]) -> None:
        time.sleep(0.001)
        super().__setitem__(key, members)


def test_threads_lose_nothing_of_each_other() -> None:
    store = MemoryStore()
    store._sets = SlowSets()

    def run(number: int) -> tuple[str, ...]:
        return store.run((AddMembers("k", (str(number),), 10, DAY),))[0]

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(run, range(40)))
    longest = max(replies, key=len)
    assert len(longest) == 10
    assert all(reply == longest[: len(reply)] for reply in replies)
