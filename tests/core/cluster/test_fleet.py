"""Workers that share a store count as one, whichever of them gets the batches of a view."""

import json
import random
from collections.abc import Callable

import pytest

from openqoe.core.cluster.shared_views import MAX_ENTRIES
from openqoe.core.cluster.view_log import KEPT, LONG
from openqoe.core.http.messages import Request
from openqoe.core.qoe.recorder import Recorder
from openqoe.core.qoe.view import View
from tests.support.captures import NAMES, CapturedRequest, load
from tests.support.cmcd_accuracy import HEADERS, target
from tests.support.cmcd_captures import NAMES as CMCD_NAMES
from tests.support.cmcd_captures import pages, shifted, times_of
from tests.support.event_builders import NOW
from tests.support.fleet import Fleet
from tests.support.memory_store import MemoryStore
from tests.support.rig import HOUR, MINUTE, SECOND, player_event

PLAYING_TIME = "openqoe_playing_time_seconds"


def total_playing_time(fleet: Fleet) -> float:
    return fleet.receiver.total(PLAYING_TIME)


# Equal to one worker


def load_posts(name: str) -> list[CapturedRequest]:
    """Load the requests of a recording that have a body."""
    return [request for request in load(name).shifted(NOW) if request.body]


def replay(fleet: Fleet, requests: list[CapturedRequest], pick: Callable[[], int]) -> None:
    """Send recorded requests at their times, then wait until all views have ended."""
    first = min(request.t for request in requests)
    for request in requests:
        fleet.pass_time(max(0, NOW + request.t - first - fleet.now))
        headers = {key.lower(): value for key, value in request.headers.items()}
        fleet.handle(
            pick(),
            Request(
                "POST", request.path, headers=headers, body=request.body, first_byte_at=fleet.now
            ),
        )
    for minutes in (1, 30, 1):
        fleet.pass_time(minutes * MINUTE)


@pytest.mark.parametrize("name", NAMES)
def test_real_players_spread_over_four_workers_count_as_on_one(name: str) -> None:
    chance = random.Random(name)
    one = Fleet(1, shared=False, OPENQOE_FLUSH_INTERVAL="60")
    replay(one, load_posts(name), lambda: 0)
    four = Fleet(4, OPENQOE_FLUSH_INTERVAL="60", OPENQOE_KV_SYNC_INTERVAL="30")
    replay(four, load_posts(name), lambda: chance.randrange(4))
    assert four.counts() == one.counts()
    assert sum(four.counts().values()) > 0
    lines = sorted(entry.line for entry in four.loki.entries())
    assert lines == sorted(entry.line for entry in one.loki.entries())


def test_batch_sent_to_several_workers_counts_once() -> None:
    fleet = Fleet(3)
    batch = (player_event(0, "playing", 0.0), player_event(9, "heartbeat", 9.0, playing_time=9_000))
    for number in (0, 1, 2, 1):
        fleet.post(number, *batch)
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_events_total") == 2
    assert fleet.receiver.total("openqoe_views_started_total") == 1
    assert total_playing_time(fleet) == 9
    assert len(fleet.loki.entries()) == 2
    assert fleet.receiver.total("openqoe_worker_batches_duplicate_total") == 3


def test_worker_that_knows_a_view_from_a_repeated_batch_ends_it_with_its_labels() -> None:
    fleet = Fleet(2)
    for number in (0, 1):
        fleet.post(number, player_event(0, "playing", 0.0), player_event(9, "heartbeat", 9.0))
    fleet.pass_time(MINUTE)
    fleet.stop(0)
    fleet.pass_time(HOUR)
    assert fleet.receiver.total("openqoe_view_outcomes_total") == 1
    assert fleet.receiver.total("openqoe_view_outcomes_total", org_id="acme") == 1


@pytest.mark.parametrize("workers", [(0, 0), (0, 1)], ids=["one worker", "two workers"])
def test_view_ends_although_its_stall_is_decided_by_the_same_flush(
    workers: tuple[int, int],
) -> None:
    fleet = Fleet(2, OPENQOE_FLUSH_INTERVAL="300")
    first, second = workers
    fleet.post(first, player_event(0, "playing", 0.0), player_event(0, "stall_start", 0.0))
    fleet.post(second, player_event(5, "moveaway", 0.0))
    fleet.pass_time(HOUR)
    assert fleet.receiver.total("openqoe_view_outcomes_total", outcome="exit_before_start") == 1


def test_stall_is_a_seek_when_another_worker_gets_the_seek() -> None:
    fleet = Fleet(2)
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(20, "heartbeat", 20.0, playing_time=20_000)
    )
    fleet.post(0, player_event(21, "stallstart", 90.0))
    fleet.post(1, player_event(21.2, "seek", 90.0, to=90_000), player_event(22, "stallend", 90.0))
    fleet.pass_time(30 * SECOND)
    assert fleet.receiver.total("openqoe_rebuffer_events_total", cause="seek") == 1
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1


def test_unexplained_stall_is_counted_by_one_worker() -> None:
    fleet = Fleet(3)
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(20, "heartbeat", 20.0, playing_time=20_000)
    )
    fleet.post(1, player_event(21, "stallstart", 21.0))
    fleet.post(2, player_event(22, "custom"))
    fleet.pass_time(60 * SECOND)
    assert fleet.receiver.total("openqoe_rebuffer_events_total", cause="rebuffer") == 1


def test_ended_view_is_completed_by_one_worker() -> None:
    fleet = Fleet(3, OPENQOE_FLUSH_INTERVAL="60")
    for number, quartile in enumerate((25, 50, 75)):
        fleet.post(number, player_event(10 * number, "quartile", 15.0, quartile=quartile))
    fleet.pass_time(35 * MINUTE)
    assert fleet.receiver.total("openqoe_completion_rate_count") == 1
    assert fleet.receiver.total("openqoe_completion_rate_sum") == 0.75


def test_last_worker_to_stop_counts_pending_stalls() -> None:
    fleet = Fleet(2)
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(20, "heartbeat", 20.0, playing_time=20_000)
    )
    fleet.post(1, player_event(21, "stallstart", 21.0))
    fleet.close(1, 0)
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1


def test_log_of_a_long_view_is_summarized() -> None:
    fleet = Fleet(2)
    for second in range(LONG + 20):
        heartbeat = player_event(second, "heartbeat", second, playing_time=second * 1000)
        fleet.post(second % 2, heartbeat)
        fleet.pass_time(100)
    store = fleet.store
    assert isinstance(store, MemoryStore)
    (log,) = store._logs.values()
    assert KEPT <= len(log.entries) <= LONG + 1
    fleet.workers.append(fleet.start_worker(2))  # it has never seen the view
    fleet.post(2, player_event(100, "heartbeat", 100.0, playing_time=100_000))
    fleet.pass_time(15 * SECOND)
    assert total_playing_time(fleet) == 100


def test_two_batches_of_a_long_view_in_one_update_are_applied_in_order() -> None:
    fleet = Fleet(2)
    for second in range(2 * LONG):
        heartbeat = player_event(second, "heartbeat", second, playing_time=second * 1000)
        fleet.post(0, heartbeat)
        fleet.pass_time(100)
    fleet.store_is_down = True
    fleet.post(
        1,
        player_event(99, "heartbeat", 99.0, playing_time=99_000),
        player_event(100, "stallstart", 100.0),
    )
    fleet.post(
        1,
        player_event(104, "stallend", 100.0),
        player_event(110, "heartbeat", 106.0, playing_time=105_000),
    )
    fleet.store_is_down = False
    fleet.pass_time(60 * SECOND)  # the stall waits for what may explain it, then for the store
    assert total_playing_time(fleet) == 105
    assert fleet.receiver.total("openqoe_rebuffer_events_total", cause="rebuffer") == 1


def test_worker_that_missed_many_entries_continues_from_the_summary() -> None:
    fleet = Fleet(2)
    fleet.post(0, player_event(0, "playing", 0.0))
    for second in range(1, 3 * LONG):
        fleet.post(1, player_event(second, "heartbeat", second, playing_time=second * 1000))
        fleet.pass_time(100)
    fleet.post(0, player_event(200, "heartbeat", 200.0, playing_time=200_000))
    fleet.pass_time(15 * SECOND)
    assert total_playing_time(fleet) == 200


def test_restarted_worker_continues_from_its_snapshot() -> None:
    fleet = Fleet(2, CARDINALITY_LIMITS='{"env":{"max_cardinality":2}}')
    for second in range(4):
        heartbeat = player_event(second, "heartbeat", second, playing_time=second * 1000)
        fleet.post(second % 2, heartbeat | {"env": f"env-{second}"})
    fleet.pass_time(15 * SECOND)
    fleet.restart(0)
    fleet.post(0, player_event(4, "heartbeat", 4.0, playing_time=4_000) | {"env": "env-0"})
    fleet.pass_time(15 * SECOND)
    assert total_playing_time(fleet) == 4
    (cardinality,) = {json.loads(fleet.stats(n))["cardinality"]["env"] for n in (0, 1)}
    assert cardinality == 2
    assert fleet.receiver.total("openqoe_events_total", env="env-0") == 2


# Concurrent views


def test_concurrent_views_that_move_between_workers_count_once() -> None:
    fleet = Fleet(3, OPENQOE_KV_SYNC_INTERVAL="1")
    for turn in range(8):
        for view in range(10):
            beat = player_event(turn * 10, "heartbeat", turn * 10.0, view=f"v-{view}")
            fleet.post((turn + view) % 3, beat)
        fleet.pass_time(10 * SECOND)
        if turn > 2:
            assert fleet.concurrent_views() == 10
    fleet.post(2, player_event(80, "ended", 80.0, view="v-0"))
    fleet.pass_time(16 * SECOND)
    assert fleet.concurrent_views() == 9
    fleet.pass_time(MINUTE)
    assert fleet.concurrent_views() == 0


def test_another_worker_reports_concurrent_views_when_the_reporter_stops() -> None:
    fleet = Fleet(2, OPENQOE_KV_SYNC_INTERVAL="1")

    def beat(turn: int) -> None:
        fleet.post(1, player_event(turn, "heartbeat", float(turn)))
        fleet.pass_time(5 * SECOND)

    for turn in range(4):
        beat(turn)
    assert fleet.concurrent_views() == 1
    fleet.close(0)
    fleet.workers[0] = fleet.workers[1]
    for turn in range(4, 10):
        beat(turn)
    assert fleet.concurrent_views() == 1


# Outages of the store


def test_store_outage_within_the_patience_changes_no_count() -> None:
    fleet = Fleet(2)
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(10, "heartbeat", 10.0, playing_time=10_000)
    )
    fleet.store_is_down = True
    fleet.post(1, player_event(20, "heartbeat", 20.0, playing_time=20_000))
    fleet.pass_time(20 * SECOND)
    assert total_playing_time(fleet) == 10
    assert json.loads(fleet.stats(1))["shared_store"] == {
        "state": "waiting",
        "failure": "unreachable",
        "failing_since": NOW,
        "waiting_batches": 1,
        "batches_counted_alone": 0,
    }
    fleet.store_is_down = False
    fleet.pass_time(20 * SECOND)
    assert total_playing_time(fleet) == 20
    assert json.loads(fleet.stats(1))["shared_store"]["state"] == "shared"
    assert [notice.event for notice in fleet.notices] == [
        "shared store is unavailable",
        "shared store is unavailable",  # of the other worker
        "shared store is available again",
        "shared store is available again",
    ]


def test_batches_are_applied_alone_when_the_patience_expires() -> None:
    fleet = Fleet(2, OPENQOE_KV_PATIENCE="5")
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(10, "heartbeat", 10.0, playing_time=10_000)
    )
    fleet.post(1, player_event(20, "heartbeat", 20.0, playing_time=20_000))
    fleet.store_is_down = True
    fleet.post(0, player_event(30, "heartbeat", 30.0, playing_time=30_000))
    fleet.pass_time(30 * SECOND)
    # Worker 0 knows the view up to 10 s, so it counts the 10 s of worker 1 a second time.
    assert total_playing_time(fleet) == 40
    text = fleet.handle(0, Request("GET", "/metrics")).body.decode()
    assert "openqoe_worker_kv_ok 0" in text
    assert "openqoe_worker_kv_batches_alone_total 1" in text
    fleet.store_is_down = False
    fleet.pass_time(30 * SECOND)
    # Worker 1 has the entries of worker 0 now: nothing more is counted twice.
    fleet.post(1, player_event(40, "heartbeat", 40.0, playing_time=40_000))
    fleet.pass_time(30 * SECOND)
    assert total_playing_time(fleet) == 50
    text = fleet.handle(0, Request("GET", "/metrics")).body.decode()
    assert "openqoe_worker_kv_ok 1" in text


def test_requests_are_accepted_and_flushed_during_a_long_store_outage() -> None:
    fleet = Fleet(1, OPENQOE_KV_PATIENCE="1", OPENQOE_FLUSH_INTERVAL="5")
    fleet.store_is_down = True
    for second in range(200):
        beat = player_event(second, "heartbeat", second, playing_time=second * 1000)
        assert fleet.post(0, beat).status == 202
        fleet.pass_time(SECOND)
    assert total_playing_time(fleet) >= 190
    assert fleet.concurrent_views() == 1


def test_views_are_summarized_again_when_the_store_was_emptied() -> None:
    fleet = Fleet(2, OPENQOE_KV_SYNC_INTERVAL="1")
    for number in (1, 0):
        fleet.post(number, player_event(0, "heartbeat", 5.0, playing_time=60_000 - number))
    fleet.store = MemoryStore(lambda: fleet.now)
    fleet.pass_time(5 * SECOND)
    assert "shared store was reset; republishing" in {n.event for n in fleet.notices}
    fleet.post(0, player_event(20, "heartbeat", 20.0, playing_time=80_000))
    fleet.workers.append(fleet.start_worker(2))  # it has never seen the view
    fleet.post(2, player_event(30, "heartbeat", 30.0, playing_time=90_000))
    fleet.post(1, player_event(40, "heartbeat", 40.0, playing_time=100_000))
    fleet.pass_time(20 * SECOND)
    assert total_playing_time(fleet) == 100


def test_timeouts_that_wait_for_the_store_survive_a_restart() -> None:
    fleet = Fleet(1)
    for number, quartile in enumerate((25, 50, 75)):
        fleet.post(0, player_event(10 * number, "quartile", 15.0, quartile=quartile))
    fleet.pass_time(30 * MINUTE - 10 * SECOND)
    fleet.post(0, player_event(1_789, "playing", 0.0, view="another"))
    fleet.post(0, player_event(1_790, "stallstart", 1.0, view="another"))
    fleet.store_is_down = True
    fleet.pass_time(20 * SECOND)  # one view ends, and the stall of the other stays unexplained
    assert fleet.receiver.total("openqoe_completion_rate_count") == 0
    fleet.restart(0)
    fleet.store_is_down = False
    fleet.pass_time(30 * SECOND)
    assert fleet.receiver.total("openqoe_completion_rate_count") == 1
    assert fleet.receiver.total("openqoe_completion_rate_sum") == 0.75
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1


# Shutdown


def test_replies_of_a_slow_store_count_while_workers_stop() -> None:
    fleet = Fleet(2)
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(20, "heartbeat", 20.0, playing_time=20_000)
    )
    fleet.store_is_slow = True
    fleet.post(1, player_event(21, "stallstart", 21.0))
    fleet.close(0, 1)
    fleet.pass_time(4 * SECOND)
    fleet.run_store_updates()
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1
    assert all(worker.drained for worker in fleet.workers)
    assert fleet.notices == []
    fleet.pass_time(MINUTE)
    for worker in fleet.workers:  # it is not polled without pause while it delivers
        due = worker.next_poll()
        assert due is None or due > fleet.now


def test_stopping_worker_applies_batches_alone_when_a_slow_store_misses_the_deadline() -> None:
    fleet = Fleet(1)
    fleet.store_is_slow = True
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(10, "heartbeat", 10.0, playing_time=10_000)
    )
    fleet.post(0, player_event(11, "stallstart", 11.0))  # no update has this batch yet
    fleet.close(0)
    fleet.pass_time(4 * SECOND)
    assert not fleet.workers[0].drained
    fleet.pass_time(1 * SECOND)
    assert fleet.workers[0].drained
    assert total_playing_time(fleet) == 10
    assert fleet.receiver.total("openqoe_rebuffer_events_total") == 1
    (notice,) = fleet.notices
    assert notice.event == "shared store did not answer before shutdown; batches applied alone"
    assert dict(notice.fields) == {"reason": "too slow", "batches": 2}


def test_stopping_worker_waits_two_seconds_for_an_unavailable_store() -> None:
    fleet = Fleet(1)
    fleet.store_is_down = True
    fleet.post(
        0, player_event(0, "playing", 0.0), player_event(10, "heartbeat", 10.0, playing_time=10_000)
    )
    fleet.close(0)
    fleet.pass_time(1 * SECOND)
    assert not fleet.workers[0].drained
    fleet.pass_time(1 * SECOND)
    assert fleet.workers[0].drained
    assert total_playing_time(fleet) == 10
    due = fleet.workers[0].next_poll()
    assert due is None or due > fleet.now  # it is not polled without pause meanwhile


def test_log_of_a_view_is_kept_while_its_events_may_arrive() -> None:
    fleet = Fleet(2, OPENQOE_FLUSH_INTERVAL="60", OPENQOE_KV_SYNC_INTERVAL="30")
    fleet.post(0, player_event(0, "heartbeat", 10.0, playing_time=10_000))
    fleet.pass_time(2 * HOUR)
    fleet.post(1, player_event(7_200, "heartbeat", 20.0, playing_time=20_000))
    fleet.pass_time(MINUTE)
    assert total_playing_time(fleet) == 20


def test_internal_fault_in_one_view_stops_no_other_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(2)

    def fail_for_view_a(recorder: Recorder, view: View, events: object, now: int) -> None:
        if view.key.view_id == "a":
            raise ZeroDivisionError
        record(recorder, view, events, now)  # type: ignore[arg-type]

    record = Recorder.record_view_events
    monkeypatch.setattr(Recorder, "record_view_events", fail_for_view_a)
    for view in ("a", "b"):
        fleet.post(0, player_event(0, "playing", 0.0, view=view))
    fleet.pass_time(15 * SECOND)
    assert fleet.receiver.total("openqoe_views_started_total") == 1
    assert "batch could not be applied" in {notice.event for notice in fleet.notices}
    assert fleet.receiver.total("openqoe_worker_batches_rejected_total", reason="fault") == 1


# A view that is all viewers


def test_hot_view_has_a_bounded_log_and_all_its_events_are_counted() -> None:
    """A page that sent ``view_id: "undefined"`` for all viewers stalled a fleet for minutes."""
    store = MemoryStore()
    fleet = Fleet(2, store=store)
    fleet.store_is_slow = True
    for number in range(1_000):
        fleet.post(number % 2, player_event(number / 1_000, "seek", 1.0, view="undefined"))
    fleet.store_is_slow = False
    fleet.run_store_updates()
    fleet.pass_time(MINUTE)
    assert sum(len(log.entries) for log in store._logs.values()) <= 2 * MAX_ENTRIES
    assert fleet.receiver.total("openqoe_events_total") == 1_000
    unfollowed = fleet.receiver.total("openqoe_worker_view_events_unfollowed_total")
    assert unfollowed == 1_000 - 2 * MAX_ENTRIES


def test_view_with_usual_traffic_is_followed_completely() -> None:
    fleet = Fleet(2)
    for second in range(0, 120, 2):
        fleet.post(second % 4 // 2, player_event(second, "heartbeat", float(second)))
        fleet.pass_time(2 * SECOND)
    fleet.pass_time(MINUTE)
    assert fleet.receiver.total("openqoe_worker_view_events_unfollowed_total") == 0


@pytest.mark.parametrize("name", CMCD_NAMES)
def test_views_of_recorded_cmcd_players_are_followed_completely(name: str) -> None:
    """Players with CMCD send a body for each media request: Shaka 80 in ten seconds."""
    fleet = Fleet(1)
    for page in pages(name):
        begin = fleet.now
        for sent in page.accepted:
            fleet.pass_time(max(0, begin + sent.t - page.accepted[0].t - fleet.now))
            body = shifted(sent.body, fleet.now - max(times_of(sent.body)))
            request = Request("POST", "/v1/cmcd", target(page), HEADERS, body, fleet.now)
            assert fleet.handle(0, request).status == 204
    fleet.close()
    assert fleet.receiver.total("openqoe_worker_view_events_unfollowed_total") == 0
