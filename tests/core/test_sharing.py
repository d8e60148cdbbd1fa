"""The exchange with the shared store: one update at a time, and none is lost."""

import pytest

from openqoe.core.config import Config
from openqoe.core.effects import AddMembers, KvResult, KvUpdate, NetworkFailure
from openqoe.core.governance.governor import DAY, Governor
from openqoe.core.governance.limits import Limit
from openqoe.core.sharing import Sharing
from openqoe.core.worker import Worker
from openqoe.shells.stores import MemoryStore
from tests.support.events import NOW, event, post

INTERVAL = 5_000
TODAY = NOW // DAY
FAILED = NetworkFailure("the store is down")


class Side:
    """One worker's share in the exchange."""

    def __init__(self, limit: int = 10) -> None:
        self.governor = Governor({"env": Limit("allow", limit), "org_id": Limit("allow", limit)})
        self.sharing = Sharing(self.governor, INTERVAL)
        self.sharing.begin(NOW)

    def sees(self, *values: str, name: str = "env") -> None:
        for value in values:
            self.governor.govern(name, value, NOW)


def added(*members: str, name: str = "env", limit: int = 10) -> AddMembers:
    return AddMembers(f"cardinality:{name}", members, limit, TODAY)


def test_nothing_to_tell_is_nothing_to_do() -> None:
    side = Side()
    assert side.sharing.next_poll() is None
    assert side.sharing.due(1, NOW + 10 * INTERVAL) is None


def test_what_was_admitted_is_told_when_the_interval_is_over() -> None:
    side = Side()
    side.sees("prod", "test")
    side.sees("acme", name="org_id")
    assert side.sharing.next_poll() == NOW + INTERVAL
    assert side.sharing.due(1, NOW + INTERVAL - 1) is None
    assert side.sharing.due(1, NOW + INTERVAL) == KvUpdate(
        1, (added("prod", "test"), added("acme", name="org_id"))
    )


def test_one_update_at_a_time() -> None:
    side = Side()
    side.sees("a")
    assert side.sharing.due(1, NOW + INTERVAL) is not None
    side.sees("b")
    assert side.sharing.next_poll() is None  # it waits for the answer first
    assert side.sharing.due(2, NOW + 2 * INTERVAL) is None
    side.sharing.complete(1, KvResult((("a",),)), NOW + 2 * INTERVAL)
    assert side.sharing.next_poll() == NOW + 2 * INTERVAL
    assert side.sharing.due(2, NOW + 2 * INTERVAL) == KvUpdate(2, (added("b"),))


def test_what_was_not_answered_is_told_again_with_what_came_meanwhile() -> None:
    side = Side()
    side.sees("a")
    side.sharing.due(1, NOW + INTERVAL)
    side.sees("b")
    assert side.sharing.complete(1, FAILED, NOW + INTERVAL) is False
    assert side.sharing.due(2, NOW + 2 * INTERVAL - 1) is None  # not sooner than ever
    assert side.sharing.due(2, NOW + 2 * INTERVAL) == KvUpdate(2, (added("a", "b"),))
    assert side.sharing.complete(2, KvResult((("a", "b"),)), NOW) is False
    assert side.sharing.next_poll() is None


def test_what_was_not_answered_is_told_again_even_if_nothing_came() -> None:
    side = Side()
    side.sees("a")
    side.sharing.due(1, NOW + INTERVAL)
    side.sharing.complete(1, FAILED, NOW + INTERVAL)
    assert side.sharing.next_poll() == NOW + 2 * INTERVAL
    assert side.sharing.due(2, NOW + 2 * INTERVAL) == KvUpdate(2, (added("a"),))


def test_admission_goes_on_without_the_store() -> None:
    side = Side(limit=2)
    side.sees("a")
    side.sharing.due(1, NOW + INTERVAL)
    side.sharing.complete(1, FAILED, NOW + INTERVAL)
    side.sees("b", "c")
    assert side.governor.values("env", NOW) == ("a", "b")


@pytest.mark.parametrize(
    ("reply", "void", "values"),
    [
        (("a", "b"), False, ("a", "b")),
        (("b", "a"), False, ("b", "a")),
        (("x", "a", "b"), True, ("x", "a", "b")),
        (("x", "a"), True, ("x", "a")),
        (("x", "y"), True, ("x", "y")),
    ],
)
def test_an_answer_that_changes_anything_makes_labels_void(
    reply: tuple[str, ...], void: bool, values: tuple[str, ...]
) -> None:
    side = Side()
    side.sees("a", "b")
    side.sharing.due(7, NOW + INTERVAL)
    assert side.sharing.complete(7, KvResult((reply,)), NOW + INTERVAL) is void
    assert side.governor.values("env", NOW) == values


def test_the_answer_to_something_else_is_none_of_its_business() -> None:
    side = Side()
    side.sees("a")
    side.sharing.due(7, NOW + INTERVAL)
    assert side.sharing.complete(8, KvResult((("x",),)), NOW) is False
    assert side.governor.values("env", NOW) == ("a",)
    assert side.sharing.complete(7, KvResult((("a", "x"),)), NOW) is True
    assert side.sharing.complete(7, KvResult((("y",),)), NOW) is False  # it came twice
    assert side.governor.values("env", NOW) == ("a", "x")


# Whole workers


def exchange(worker: Worker, store: MemoryStore, now: int) -> None:
    for effect in worker.poll(now):
        if isinstance(effect, KvUpdate):
            worker.complete(effect.id, KvResult(store.run(effect.operations)), now)


def test_workers_agree_on_labels_through_the_store() -> None:
    limits = {"env": Limit("allow", 1)}
    config = Config(cardinality_limits=limits, flush_interval=60_000)
    store = MemoryStore()
    workers = {env: Worker(config, instance=env) for env in ("prod", "test")}
    for env, worker in workers.items():
        worker.handle(post(event(env=env)), NOW)
        assert worker.next_poll() == NOW + config.kv_sync_interval
    for worker in workers.values():
        exchange(worker, store, NOW + config.kv_sync_interval)
    for worker in workers.values():
        stats = worker.handle(post(event(env="more")), NOW).response
        assert stats.status == 202
        assert worker._ingest.governor.values("env", NOW) == ("prod",)


def test_a_worker_keeps_time_by_a_clock_that_was_put_back() -> None:
    hour = 3_600_000
    worker = Worker(Config(), instance="a")
    worker.handle(post(event()), NOW)
    worker.handle(post(event(view_id="b")), NOW - hour)
    due = worker.next_poll()
    assert due is not None
    assert due <= NOW - hour + Config().flush_interval
